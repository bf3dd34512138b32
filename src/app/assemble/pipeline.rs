use tokio::sync::watch;

use super::images;
use crate::engine::{ContainerLimits, PatternBounds};
use crate::logs::Masks;
use crate::model::{RepoGlob, Sharing, TagTemplate};
use crate::pipeline::{ComposeConfig, ConveyorConfig, PipelineConfig, TestConfig};
use crate::settings::{FileSource, Settings};

/// Returns the configuration of the pipeline. No build may be given one of the `refused` secrets.
pub fn config(settings: &Settings, refused: Masks) -> PipelineConfig {
    PipelineConfig {
        git_url: settings.git_url.as_ref().map(|url| url.0.clone()),
        tarballs: settings.source == FileSource::Tarball,
        dockerfile: settings.dockerfile.clone(),
        context: settings.context.clone(),
        repo_base: settings.docker_repo_base.clone(),
        sharing: Sharing {
            scope: settings.cache_scope,
            protected: settings.protected.0.clone(),
            proxies: Sharing::proxy_arguments(
                settings.build_proxy.as_ref().map(|url| url.0.as_str()),
                settings.build_no_proxy.as_deref(),
            ),
        },
        network: settings.build_network.clone(),
        add_hosts: settings.add_hosts_allowed.clone(),
        pull: settings.pull,
        keep_git_dir: settings.keep_git_dir.0,
        skip_words: settings.skip_words.0.into(),
        image_tags: settings.image_tags.clone(),
        conveyor: ConveyorConfig {
            tags: TagTemplate::of_conveyor(settings.latest),
            dry_run: settings.dry.0,
            inline_cache: settings.inline_cache.0,
        },
        test: TestConfig {
            hook: settings.hook.0.clone(),
            build_image: settings.build_image.clone(),
            env: settings.hook_env.values.clone(),
            keep: !settings.garbage_collect.0,
            timeout: settings.test_timeout,
            compose: ComposeConfig {
                files: settings.compose_file.0.clone(),
                repos: settings.hook_socket.0.iter().filter_map(|glob| RepoGlob::new(glob).ok()).collect(),
                destinations: watch::Sender::new(images::destinations(settings)),
            },
            limits: ContainerLimits {
                memory: settings.test_memory.map(|bytes| bytes.0),
                nano_cpus: settings.test_cpus.map(|cpus| cpus.nano),
                processes: Some(settings.test_processes.0).filter(|number| *number > 0),
            },
        },
        pattern_bounds: PatternBounds {
            each: settings.pattern_memory.0,
            all: settings.patterns_memory.0,
            time: settings.patterns_time,
        },
        clone_timeout: settings.clone_timeout,
        checkout_timeout: settings.checkout_timeout,
        build_timeout: settings.build_timeout,
        push_timeout: settings.push_timeout,
        push_retries: settings.push_retries,
        push_retry_wait: settings.push_retry_wait,
        stall_timeout: settings.stall_timeout,
        job_timeout: settings.job_timeout,
        refused,
    }
}
