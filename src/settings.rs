//! Every setting once: name, type, default and meaning. docs/settings.md and `etc/` are checked
//! against [`TABLE`].
//!
//! Flags beat the environment, which beats the file. An empty value counts as not set.

mod channels;
mod etcd;
mod order;
mod secret;
mod sources;
mod value;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::model::{ApiToken, ContextPath, DockerfilePath, ImageGrants, ImageName, Percent, TagTemplate};
pub use channels::{Occasions, SigningKey, SmtpTls, Syslog, Urls};
use etcd::{Endpoints, HostName};
pub use order::{Priorities, Supersede, Switch};
use secret::Secret;
pub use sources::Flags;
use sources::Sources;
use value::Value;
pub use value::{ApiAuth, BuilderChoice, Bytes, EtcdApi, FileTimes, GitUrl, Globs, HttpUrl, List, RepoCaseChoice};

/// The file of settings that is read when there is one and `--config` names no other.
pub const DEFAULT_FILE: &str = "/etc/image-factory/image-factory.toml";

/// A setting as the documents describe it.
pub struct Spec {
    /// As in the environment; the flag is its lower-case form with `-`, the file's key with `_`.
    pub name: &'static str,
    /// Other names, from the programs that we replace.
    pub aliases: &'static [&'static str],
    /// As it would be written; empty if there is none, or if the meaning tells it.
    pub default: &'static str,
    /// Never a flag, never in the file, never shown.
    pub secret: bool,
    pub meaning: &'static str,
}

/// What is wrong with one setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

macro_rules! settings {
    ($($(#[doc = $meaning:literal])+ $name:ident $(= $alias:ident)* => $field:ident: $type:ty, $default:literal $($secret:ident)?;)+) => {
        /// The settings, checked.
        #[derive(Clone)]
        pub struct Settings {
            $($(#[doc = $meaning])+ pub $field: $type,)+
        }

        /// Every setting, in the order of the documents.
        pub const TABLE: &[Spec] = &[$(Spec {
            name: stringify!($name),
            aliases: &[$(stringify!($alias)),*],
            default: $default,
            secret: settings!(@secret $($secret)?),
            meaning: concat!($($meaning),+),
        }),+];

        impl Settings {
            /// What of all the secrets must not be shown.
            pub fn secrets(&self) -> Vec<Zeroizing<String>> {
                let mut secrets = Vec::new();
                $($(settings!(@hidden $secret); secrets.extend(self.$field.masks());)?)+
                secrets
            }

            fn read(sources: &Sources, errors: &mut Vec<SettingError>) -> Option<Self> {
                let mut specs = TABLE.iter();
                $(let $field: Option<$type> = specs.next().and_then(|spec| sources.value(spec, errors));)+
                Some(Self { $($field: $field?,)+ })
            }
        }
    };
    (@hidden secret) => {};
    (@secret) => { false };
    (@secret secret) => { true };
}

settings! {
    /// Address and port to listen on.
    LISTEN => listen: SocketAddr, "127.0.0.1:8080";
    /// The address that users and hooks see: links and the accepted Host names come from it.
    BASE_URL => base_url: HttpUrl, "http://localhost:8080";
    /// Folder of jobs, logs and Git mirrors. Default: `/var/lib/image-factory` for root, a service or its
    /// owner, else `$XDG_STATE_HOME/image-factory`.
    DATA_DIR => data_dir: Option<PathBuf>, "";
    /// How many builds run at once; 0 accepts jobs and runs none.
    CONCURRENCY = WORKERS => concurrency: u32, "2";
    /// How long running jobs may go on after SIGTERM before they go back to pending.
    DRAIN_TIMEOUT => drain_timeout: Duration, "60s";

    /// The secret that signs GitHub's webhooks. Without it webhooks are refused.
    HOOK_SECRET = GITHUB_SECRET => hook_secret: Option<Zeroizing<String>>, "" secret;
    /// Where the post-build hook is sent: one address or several, comma-separated.
    HOOK_POST_URL => hook_post_url: Urls, "";
    /// The secret that signs our post-build hooks. Default: HOOK_SECRET; with one of its own, who verifies our hooks cannot forge
    /// GitHub's webhooks.
    HOOK_POST_SECRET => hook_post_secret: Option<Zeroizing<String>>, "" secret;
    /// Key of the Standard Webhooks signature beside it, `whsec_` and base64. A receiver can refuse replays by it.
    HOOK_SIGNING_KEY => hook_signing_key: Option<SigningKey>, "" secret;
    /// Access tokens, `name:role:token`, comma-separated; roles: read, build, admin. A token has 16
    /// characters or more.
    API_TOKENS => api_tokens: Vec<ApiToken>, "" secret;
    /// `token`, or `none` to let in everyone who reaches the port.
    API_AUTH => api_auth: ApiAuth, "token";
    /// Which repositories are built: globs over `owner/repo`, comma-separated.
    ALLOW_REPOS => allow_repos: Globs, "*";
    /// Origins whose pages may call the API (CORS), comma-separated.
    CORS_ORIGINS => cors_origins: List, "";

    /// Host of etcd; without it and ETCD_ENDPOINTS, secrets come from SECRETS_DIR.
    ETCD_HOST => etcd_host: Option<HostName>, "";
    /// Port of etcd.
    ETCD_PORT => etcd_port: NonZeroU16, "4001";
    /// Addresses of an etcd cluster, `http://host:port` or `https://host:port`, comma-separated, instead of ETCD_HOST.
    ETCD_ENDPOINTS => etcd_endpoints: Endpoints, "";
    /// Which API of etcd: `v3`, `v2` (clusters of before 2022), or `auto`: what v3 has, else what v2 has.
    ETCD_API => etcd_api: EtcdApi, "auto";
    /// User of etcd, if it asks for one.
    ETCD_USER => etcd_user: Option<String>, "";
    /// Password of ETCD_USER.
    ETCD_PASSWORD => etcd_password: Option<Zeroizing<String>>, "" secret;
    /// PEM file of the authorities that sign etcd's certificate, instead of the system's; with it, ETCD_HOST is spoken
    /// to by TLS.
    ETCD_CACERT => etcd_cacert: Option<PathBuf>, "";
    /// PEM file of the certificate that we show to etcd.
    ETCD_CERT => etcd_cert: Option<PathBuf>, "";
    /// PEM file of the key of ETCD_CERT.
    ETCD_KEY => etcd_key: Option<PathBuf>, "";
    /// The key in etcd below which the secrets are.
    ETCD_TOTEM_BASE => etcd_totem_base: String, "/totem";
    /// Folder of secrets when there is no etcd. Default: `DATA_DIR/secrets`; it may be empty.
    SECRETS_DIR => secrets_dir: Option<PathBuf>, "";
    /// Decrypts the deploy keys and the dockercfg.
    ENC_PASSPHRASE => enc_passphrase: Option<Zeroizing<String>>, "" secret;
    /// File that the valid authorized keys are written to, for an sshd.
    AUTHORIZED_KEYS_FILE => authorized_keys_file: Option<PathBuf>, "";

    /// Address of a repository, with `{owner}` and `{repo}`. Default: `git@github.com:{owner}/{repo}.git`
    /// with a deploy key, else `https://github.com/{owner}/{repo}.git`.
    GIT_URL => git_url: Option<GitUrl>, "";
    /// `ignore` if the Git server takes `Acme/Hello` and `acme/hello` for one repository (every GitLab, Gitea, Forgejo and
    /// GitHub Enterprise does), `keep` if not; `auto` knows github.com, gitlab.com, bitbucket.org and codeberg.org, and
    /// keeps case elsewhere.
    REPO_CASE => repo_case: RepoCaseChoice, "auto";
    /// Token, or `user:password`, for https: clones and LFS files from the host of GIT_URL (or github.com), and from no
    /// other.
    GIT_TOKEN => git_token: Option<Zeroizing<String>>, "" secret;
    /// PEM file of the authorities that sign the certificates of the Git server and of GITHUB_API, beside the system's.
    GIT_CACERT => git_cacert: Option<PathBuf>, "";
    /// How much disk the Git mirrors and LFS files may take; the least recently used go first, never one in use.
    MIRROR_BUDGET => mirror_budget: Bytes, "20GiB";
    /// Host keys that ssh accepts. Default: `/etc/image-factory/known_hosts` if it is there, else GitHub's.
    KNOWN_HOSTS => known_hosts: Option<PathBuf>, "";
    /// Times of the files in a build: `stable` (a changed file is always newer) or `history` (of the last commit).
    FILE_TIMES => file_times: FileTimes, "stable";
    /// Longest time for `clone`, and for what `checkout` fetches (submodules, LFS files), each try.
    CLONE_TIMEOUT => clone_timeout: Duration, "15m";
    /// Longest time for `checkout` to find the commit, and to make a `.git` for the build.
    CHECKOUT_TIMEOUT => checkout_timeout: Duration, "4m";

    /// The Docker Engine: `unix:///path`, or `tcp://` on a loopback address, or with DOCKER_TLS_VERIFY on any.
    DOCKER_HOST => docker_host: String, "unix:///var/run/docker.sock";
    /// Several engines instead of DOCKER_HOST, comma-separated. A repository keeps to one of them, where its layers are,
    /// as long as that is well and not busy.
    DOCKER_HOSTS => docker_hosts: List, "";
    /// Anything: speak TLS to an engine at `tcp://`, with the files in DOCKER_CERT_PATH.
    DOCKER_TLS_VERIFY => docker_tls_verify: Option<String>, "";
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`. Default: `~/.docker`.
    DOCKER_CERT_PATH => docker_cert_path: Option<PathBuf>, "";
    /// `buildkit`, `classic`, or `auto`: BuildKit where the engine has it.
    BUILDER => builder: BuilderChoice, "auto";
    /// Path of the Dockerfile in a repository, unless the job names another one.
    DOCKERFILE => dockerfile: DockerfilePath, "Dockerfile";
    /// Folder of a repository that is the build context, unless the job names another one; DOCKERFILE is then a path in it.
    CONTEXT => context: ContextPath, ".";
    /// `1`: `.git` is in the build context, 50 commits deep with their tags, unless the job says otherwise.
    KEEP_GIT_DIR => keep_git_dir: Switch, "0";
    /// Registry and path of the images: `{DOCKER_REPO_BASE}/{IMAGE_NAME}:{tag}`; without a registry, Docker Hub.
    DOCKER_REPO_BASE => docker_repo_base: String, "quay.io/totem";
    /// Name of an image below DOCKER_REPO_BASE, with `{owner}` and `{repo}`.
    IMAGE_NAME => image_name: ImageName, "{owner}-{repo}";
    /// Images that a repository may name beside those below its own: `glob=glob` over `owner/repo` and the image's whole
    /// name, comma-separated, such as `acme/mono=quay.io/acme/*`.
    IMAGES_ALLOWED => images_allowed: ImageGrants, "";
    /// Tags that every image gets beside the job's own, comma-separated, with `{branch}`, `{sha}` and `{short_sha}`,
    /// such as `latest,{branch}`.
    IMAGE_TAGS => image_tags: Vec<TagTemplate>, "";
    /// Longest time for `build`.
    BUILD_TIMEOUT => build_timeout: Duration, "30m";
    /// Longest time for `push`, each try.
    PUSH_TIMEOUT => push_timeout: Duration, "30m";
    /// How often a push is tried again when the registry is in trouble.
    PUSH_RETRIES => push_retries: u32, "20";
    /// The wait before each of these tries.
    PUSH_RETRY_WAIT => push_retry_wait: Duration, "20s";

    /// Longest time in which a running stage may say and do nothing.
    STALL_TIMEOUT => stall_timeout: Duration, "20m";
    /// Longest time for a whole run of a job, without the wait in the queue.
    JOB_TIMEOUT => job_timeout: Duration, "3h";

    /// How many jobs of one repository run at once; 0: as many as there are slots.
    REPO_CONCURRENCY => repo_concurrency: u32, "0";
    /// Which jobs run first: `glob=number` over `owner/repo` or `owner/repo@branch`, comma-separated; the first that
    /// fits counts, without one it is 0, and higher ones run first.
    PRIORITIES => priorities: Priorities, "";
    /// Whether a newer commit takes the place of an older one of the same branch: `off`, `pending` (if that waits) or
    /// `running` (also if it runs).
    SUPERSEDE => supersede: Supersede, "off";
    /// `1`: at the start and every 15 minutes the heads of branches that were built before are looked at, and what no
    /// webhook told of is built.
    SWEEP_MISSED => sweep_missed: Switch, "0";
    /// How much disk must be free, in the data folder and at the engine, before a job starts.
    DISK_FLOOR => disk_floor: Bytes, "2GiB";
    /// How many of its inodes, in percent, must be free.
    INODE_FLOOR => inode_floor: Percent, "5";
    /// How much disk our images and the build cache may take in an engine, once the floor is reached; the least recently
    /// used go first.
    ENGINE_BUDGET => engine_budget: Bytes, "20GiB";

    /// Token for GitHub's API (commit statuses); without GIT_TOKEN also for https clones.
    GITHUB_TOKEN => github_token: Option<Zeroizing<String>>, "" secret;
    /// Address of GitHub's API.
    GITHUB_API => github_api: HttpUrl, "https://api.github.com";
    /// Id of a GitHub App, which then sets the commit statuses instead of GITHUB_TOKEN.
    GITHUB_APP_ID => github_app_id: Option<String>, "";
    /// Id of the App's installation. Default: the one that the repository has.
    GITHUB_INSTALLATION_ID => github_installation_id: Option<String>, "";
    /// The App's private key, PEM; in one line, `\n` stands for a line's end.
    GITHUB_PRIVATE_KEY => github_private_key: Option<Zeroizing<String>>, "" secret;
    /// Token of a HipChat room. With it and HIPCHAT_ROOM the room is told.
    HIPCHAT_TOKEN => hipchat_token: Option<Zeroizing<String>>, "" secret;
    /// Id or name of the HipChat room.
    HIPCHAT_ROOM => hipchat_room: Option<String>, "";
    /// Address of a server that speaks HipChat's API, version 2.
    HIPCHAT_API => hipchat_api: HttpUrl, "https://api.hipchat.com";
    /// Incoming webhook of Slack, or of Mattermost.
    SLACK_URL => slack_url: Option<Zeroizing<String>>, "" secret;
    /// Slack's channel. Default: the webhook's own.
    SLACK_ROOM => slack_room: Option<String>, "";
    /// What HipChat, Slack and mail are told of: `failure`, `fixed` (the first success after a failure) and `success`,
    /// comma-separated. Mail is told of all unless this is set.
    NOTIFY_ON => notify_on: Option<Occasions>, "";
    /// Name of this environment in notifications.
    TOTEM_ENV => totem_env: String, "local";
    /// Server for outgoing mail. With it, SMTP_FROM and SMTP_TO mail is sent.
    SMTP_HOST => smtp_host: Option<String>, "";
    /// Its port. Default: 465 with TLS from the first byte, 587 with STARTTLS, 25 without TLS.
    SMTP_PORT => smtp_port: Option<NonZeroU16>, "";
    /// `tls` (from the first byte), `starttls`, or `none`, which sends no password and is for servers of this machine.
    SMTP_TLS => smtp_tls: SmtpTls, "tls";
    /// PEM file of the authorities that sign its certificate, beside the system's.
    SMTP_CACERT => smtp_cacert: Option<PathBuf>, "";
    /// User, if it asks for one.
    SMTP_USER => smtp_user: Option<String>, "";
    /// Password of SMTP_USER.
    SMTP_PASS => smtp_pass: Option<Zeroizing<String>>, "" secret;
    /// Sender of the mail.
    SMTP_FROM => smtp_from: Option<String>, "";
    /// Who gets it, comma-separated.
    SMTP_TO => smtp_to: List, "";

    /// Name in the system log.
    LOG_IDENTIFIER => log_identifier: String, "image-factory";
    /// Where log lines go beside standard error: `udp://host:port` or `tcp://host:port` (RFC 5424), `local` (`/dev/log`;
    /// `unix:///path` is another socket), or `off`. Default: to the host in etcd's `syslog/host`, by UDP, if there is one.
    SYSLOG => syslog: Option<Syslog>, "";
    /// What is logged: a level, or `tracing` directives.
    RUST_LOG => rust_log: String, "info";
    /// Anything: no colours.
    NO_COLOR => no_color: Option<String>, "";
}

impl Settings {
    /// Reads the sources. `file` is `--config`; `env` looks up a variable.
    ///
    /// # Errors
    /// Every setting that is wrong, each with its name, its value unless it is secret, and what is allowed.
    pub fn load(
        flags: &Flags,
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<SettingError>> {
        let mut errors = Vec::new();
        let sources = Sources::read(flags, file, env, &mut errors);
        let settings = Self::read(&sources, &mut errors);
        if let Some(settings) = &settings {
            settings.check_together(&mut errors);
        }
        match settings {
            Some(settings) if errors.is_empty() => Ok(settings),
            _ => Err(errors),
        }
    }

    /// Rules over more than one setting.
    fn check_together(&self, errors: &mut Vec<SettingError>) {
        let secrets = [
            ("HOOK_SECRET", &self.hook_secret, "GitHub's webhook"),
            ("HOOK_POST_SECRET", &self.hook_post_secret, "what receives our hooks"),
        ];
        for (name, secret, other_side) in secrets {
            let is_default = secret.as_ref().is_some_and(|secret| secret.as_str() == "changeit");
            if is_default && !self.listen.ip().is_loopback() {
                errors.push(SettingError(format!(
                    "{name} has its well-known old default and LISTEN is not a loopback address: set a secret of your \
                     own, in {other_side} too"
                )));
            }
        }
        if self.git_token.is_some() && self.git_url.as_ref().is_some_and(|url| url.0.starts_with("http://")) {
            errors.push(SettingError(
                "GIT_TOKEN is set and GIT_URL is a http:// address: a token goes by https alone".into(),
            ));
        }
        for (name, limit) in [
            ("CLONE_TIMEOUT", self.clone_timeout),
            ("CHECKOUT_TIMEOUT", self.checkout_timeout),
            ("BUILD_TIMEOUT", self.build_timeout),
            ("PUSH_TIMEOUT", self.push_timeout),
            ("STALL_TIMEOUT", self.stall_timeout),
            ("JOB_TIMEOUT", self.job_timeout),
        ] {
            if limit.is_zero() {
                errors.push(SettingError(format!(
                    "{name}=\"0s\" is not valid: no job could end in time; set 1s or more"
                )));
            }
        }
        self.check_etcd(errors);
        if let Err(why) = self.image_name.check_base(&self.docker_repo_base) {
            errors.push(SettingError(format!("DOCKER_REPO_BASE={:?} is not valid: {why}", self.docker_repo_base)));
        }
    }

    /// The secret that signs our post-build hooks.
    pub fn post_build_secret(&self) -> Option<&Zeroizing<String>> {
        self.hook_post_secret.as_ref().or(self.hook_secret.as_ref())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    pub fn secrets_dir(&self) -> PathBuf {
        self.secrets_dir.clone().unwrap_or_else(|| self.data_dir().join("secrets"))
    }

    /// The folder of the engine's certificates; none if TLS is not asked for.
    pub fn docker_certs(&self) -> Option<PathBuf> {
        self.docker_tls_verify.as_ref()?;
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        Some(self.docker_cert_path.clone().unwrap_or_else(|| home().join(".docker")))
    }
}

/// Where the data is when DATA_DIR is not set.
fn default_data_dir() -> PathBuf {
    let system = Path::new("/var/lib/image-factory");
    let is_service = std::env::var_os("STATE_DIRECTORY").is_some();
    let user = rustix::process::geteuid();
    // The service's user at a command line.
    let is_owner = || std::fs::metadata(system).is_ok_and(|dir| dir.uid() == user.as_raw());
    if is_service || user.is_root() || is_owner() {
        return system.into();
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.unwrap_or_else(|| "/var/lib".into()).join("image-factory")
}

#[cfg(test)]
mod tests;
