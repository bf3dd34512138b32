//! The daemon against real parts: etcd, registries, sshd with Git, and the engine.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

/// Makes of each of these functions, `async fn(Docker)`, a test on each engine: `docker_20::NAME`, `podman::NAME`.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        on_each_docker!($($test),+);
        on_newer_engine!(podman Podman $($test)+);
        on_newer_engine!(podman_next PodmanNext $($test)+);
    };
}

/// Does the same without Podman, for what it lacks by nature, see [`harness::Feature`].
macro_rules! on_each_docker {
    ($($test:ident),+ $(,)?) => {
        mod docker_20 {
            $(#[test] fn $test() { crate::harness::on(crate::harness::Docker::V20, super::$test) })+
        }
        mod docker_26 {
            $(#[test] fn $test() { crate::harness::on(crate::harness::Docker::V26, super::$test) })+
        }
        on_newer_engine!(docker_new New $($test)+);
        on_newer_engine!(docker_containerd Containerd $($test)+);
        on_newer_engine!(docker_min_api MinApi $($test)+);
    };
}

/// Does the same in a module that has tests on each engine, too.
macro_rules! on_docker {
    ($($test:ident),+ $(,)?) => {
        mod docker {
            #[allow(unused_imports, reason = "tests are named without their module")]
            use super::{$($test),+};

            on_each_docker!($($test),+);
        }
    };
}

/// Does the same on Podman alone, in a module that has tests on each engine, too.
macro_rules! on_podman {
    ($($test:ident),+ $(,)?) => {
        mod on_podman {
            #[allow(unused_imports, reason = "tests are named without their module")]
            use super::{$($test),+};

            on_newer_engine!(podman Podman $($test)+);
            on_newer_engine!(podman_next PodmanNext $($test)+);
        }
    };
}

/// Does the same on an engine that `make test` does not start.
macro_rules! on_newer_engine {
    ($module:ident $engine:ident $($test:ident)+) => {
        mod $module {
            $(
                #[test]
                #[ignore = "is run by ENGINES=all make test"]
                fn $test() { crate::harness::on(crate::harness::Docker::$engine, super::$test) }
            )+
        }
    };
}

mod bases;
mod bounds;
mod canary;
mod chat;
mod classes;
mod cli;
mod commits;
mod compose_ci;
mod compose_way;
mod container;
mod contents;
mod context;
mod conveyor;
mod conveyor_builds;
mod crash;
mod deliveries;
mod doctor;
mod documents;
mod engine;
mod engines;
mod etcd;
mod failures;
mod faults;
mod fixtures;
mod followers;
mod forges;
mod generator;
mod git;
mod github;
mod harness;
mod hostile_clients;
mod images;
mod known_hosts;
mod live_secrets;
mod logins;
mod mail;
mod main_path;
mod makina;
mod metrics;
mod missed;
mod network;
mod notifications;
mod operators;
mod options;
mod packaging;
mod private_servers;
mod queue;
mod rebuild;
mod registry;
mod reload;
mod sbom;
mod secrets;
mod sharing;
mod spelling;
mod sshd;
mod start;
mod supersede;
mod surviving;
mod syslog;
mod systemd;
mod tags;
mod test_stage;
mod tidy;
mod tls;
mod tokens;
