//! The table of the settings: the name, type, default, example and meaning of each one stand here, and nowhere else.
//! docs/settings.md, `etc/`, the flags and the checks are derived from it.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::SettingError;
use super::etcd_address::{Endpoints, HostName};
use super::secret::Secret;
use super::sources::SettingTexts;
use super::{
    ApiAuth, Branches, Bytes, ComposeFiles, ContainerKeep, Cpus, FileSource, FileTimes, GitTags, GitUrl, Globs,
    HookCommand, HookEnv, Hosts, HttpUrl, JobKeep, List, LogFormat, LogKeep, Networks, Occasions, OperatorList,
    Origins, PriorityList, ProcessLimit, RepoCaseChoice, SigningKey, Spec, SshdChoice, StatsTarget, Switch,
    SyslogTarget, TotemList, Urls,
};
use crate::model::{
    AllowedHosts, ApiToken, BasicLogin, BuildNetwork, Builder, CacheScope, ContextPath, Dialects, DockerfilePath,
    EtcdApi, ImageGrants, ImageName, Latest, ListenAddress, MailTls, Percent, PinnedImage, Pull, RepoName, Supersede,
    TagTemplate,
};

macro_rules! settings {
    ($($group:literal { $(
        $(#[doc = $meaning:literal])+
        $name:ident $(= $alias:ident)* => $field:ident: $type:ty, $default:literal, $example:literal $($mark:ident)*;
    )+ })+) => {
        /// The settings, checked.
        #[derive(Clone)]
        pub struct Settings {
            $($($(#[doc = $meaning])+ pub $field: $type,)+)+
        }

        /// Every setting, in the order of the documents.
        pub const TABLE: &[Spec] = &[$($(Spec {
            group: $group,
            name: stringify!($name),
            aliases: &[$(stringify!($alias)),*],
            default: $default,
            example: $example,
            secret: settings!(@is secret $($mark)*),
            live: settings!(@is live $($mark)*),
            meaning: concat!($($meaning),+),
        }),+),+];

        impl Settings {
            /// Returns the parts of the secret settings that must not be shown.
            pub fn secrets(&self) -> Vec<Zeroizing<String>> {
                let mut secrets = Vec::new();
                $($(settings!(@masks secrets, self.$field, $($mark)*);)+)+
                secrets
            }

            /// Returns these settings with the live ones of `new`, but for those whose names are `held`.
            pub fn with_live(&self, new: &Self, held: &[&str]) -> Self {
                let mut settings = self.clone();
                $($(settings!(@live settings, new, held, $name, $field, $($mark)*);)+)+
                settings
            }

            /// Reads the settings, each by its default if its text is wrong.
            pub(super) fn read(texts: &SettingTexts, errors: &mut Vec<SettingError>) -> Option<Self> {
                let mut specs = TABLE.iter();
                $($(let $field: Option<$type> = specs.next().and_then(|spec| texts.value(spec, errors));)+)+
                Some(Self { $($($field: $field?,)+)+ })
            }
        }
    };
    (@is secret secret $($rest:ident)*) => { true };
    (@is live live $($rest:ident)*) => { true };
    (@is $mark:ident $other:ident $($rest:ident)*) => { settings!(@is $mark $($rest)*) };
    (@is $mark:ident) => { false };
    (@masks $secrets:ident, $value:expr, secret $($rest:ident)*) => { $secrets.extend($value.masks()) };
    (@masks $secrets:ident, $value:expr, $($rest:ident)*) => {};
    (@live $settings:ident, $new:ident, $held:ident, $name:ident, $field:ident, live) => {
        if !$held.contains(&stringify!($name)) {
            $settings.$field = $new.$field.clone()
        }
    };
    (@live $settings:ident, $new:ident, $held:ident, $name:ident, $field:ident, secret live) => {
        settings!(@live $settings, $new, $held, $name, $field, live)
    };
    (@live $settings:ident, $new:ident, $held:ident, $name:ident, $field:ident, $($rest:ident)*) => {};
}

settings! {
    "Start here" {
        /// Address and port to listen on, or `unix:/path` for a socket that its user and group may use.
        LISTEN => listen: ListenAddress, "127.0.0.1:8080", "0.0.0.0:8080";
        /// Address at which users and forges reach the daemon. Links in notifications begin with it, and requests may name
        /// its host. With TLS the default begins with `https`; with TLS or PORT it has the port that is listened on.
        BASE_URL => base_url: HttpUrl, "http://localhost:8080", "https://builds.example.com";
        /// Folder of jobs, logs and Git mirrors. Default: `/var/lib/image-factory` for root, for a service and for the
        /// owner of that folder, else `$XDG_STATE_HOME/image-factory`.
        DATA_DIR => data_dir: Option<PathBuf>, "", "/srv/image-factory";
        /// Secret that signs the forges' webhooks. Webhooks are refused until it is set.
        HOOK_SECRET = GITHUB_SECRET => hook_secret: Option<Zeroizing<String>>, "", "output-of-openssl-rand-hex-32" secret live;
        /// Repositories that are built: globs over `owner/repo`, comma-separated.
        ALLOW_REPOS => allow_repos: Globs, "*", "acme/*,other/hello" live;
        /// Registry and path of the images, which are named `{DOCKER_REPO_BASE}/{IMAGE_NAME}:{tag}`. A path without a
        /// registry is one at Docker Hub.
        DOCKER_REPO_BASE => docker_repo_base: String, "quay.io/totem", "registry.example.com/builds";
        /// Number of builds that run at once, on all engines together. Default: the sum of the engines' `slots`, or 2
        /// where they have none. With 0 jobs are accepted, and none is run.
        CONCURRENCY = WORKERS => concurrency: Option<u32>, "", "4";
    }

    "Git" {
        /// Address of a repository, with `{owner}` and `{repo}`. Default: `git@github.com:{owner}/{repo}.git` with a deploy
        /// key, else `https://github.com/{owner}/{repo}.git`.
        GIT_URL => git_url: Option<GitUrl>, "", "https://git.example.com/{owner}/{repo}.git";
        /// `ignore`: case does not matter in a repository's name (GitHub, GitLab, Gitea, Forgejo), so `Acme/Hello` is
        /// `acme/hello`. `keep`: they are two repositories. `auto`: `ignore` on github.com, gitlab.com, bitbucket.org
        /// and codeberg.org, else `keep`.
        REPO_CASE => repo_case: RepoCaseChoice, "auto", "ignore";
        /// Token, or `user:password`, for https clones and LFS files from the host of GIT_URL (github.com if GIT_URL is not
        /// set). No other host gets it.
        GIT_TOKEN => git_token: Option<Zeroizing<String>>, "", "token-of-the-machine-user" secret live;
        /// PEM file of authorities that are trusted beside the system's for the Git server and for GITHUB_API.
        GIT_CACERT => git_cacert: Option<PathBuf>, "", "/etc/image-factory/git-ca.pem" live;
        /// File of the host keys that ssh accepts. Default: `/etc/image-factory/known_hosts` if it exists, else GitHub's keys,
        /// and with either `DATA_DIR/known_hosts`, to which `image-factory known-hosts add` adds.
        KNOWN_HOSTS => known_hosts: Option<PathBuf>, "", "/etc/image-factory/known_hosts";
        /// File times in a build: `stable` (a changed file is always newer) or `history` (the time of the last commit
        /// that changed the file).
        FILE_TIMES => file_times: FileTimes, "stable", "history";
        /// `1` looks at the heads of branches that a webhook named before, at the start and every 15 minutes, and builds the
        /// commits that no webhook reported.
        SWEEP_MISSED => sweep_missed: Switch, "0", "1";
        /// Branches whose pushes are built: globs, comma-separated, in which `*` takes slashes, too. Default: all. What a
        /// person asks for is built in any case.
        BRANCHES => branches: Branches, "", "main,release/*" live;
        /// Git tags whose pushes are built: globs, comma-separated, or `none`. Default: all.
        GIT_TAGS => git_tags: GitTags, "", "v*" live;
        /// `0` builds no push of a repository that its forge calls a fork.
        BUILD_FORKS => build_forks: Switch, "1", "0" live;
        /// `1` builds no push of a branch whose commit has `[skip ci]` or `[ci skip]` in its message.
        SKIP_WORDS => skip_words: Switch, "0", "1" live;
    }

    "Images and tags" {
        /// Name of an image below DOCKER_REPO_BASE, with `{owner}` and `{repo}`.
        IMAGE_NAME => image_name: ImageName, "{owner}-{repo}", "{owner}/{repo}";
        /// Tags that images get beside the job's own, comma-separated, with `{branch}`, `{sha}`, `{short_sha}`, and for Git
        /// tags such as `v1.2.3` `{version}`, `{major}` and `{minor}`. A tag with a condition, as in `latest@default` or
        /// `{branch}@release/*`, goes to the default branch alone, or to the branches that the glob names; `@version` to
        /// versions that are no pre-releases.
        IMAGE_TAGS => image_tags: Vec<TagTemplate>, "", "latest,{branch}";
        /// Images that a repository may name beside those below its own name: `glob=glob` over `owner/repo` and the image's
        /// whole name, comma-separated. `generator=glob` grants images to Dockerfiles that come without a repository; an
        /// owner of that name is `generator/*`.
        IMAGES_ALLOWED => images_allowed: ImageGrants, "", "acme/mono=quay.io/acme/*" live;
        /// Base images that are looked up in their registry: `missing` (those that the engine does not have) or `always`
        /// (all of them, so that one that has moved is used), unless the job says otherwise. Those that this factory
        /// pushes are always looked up.
        PULL => pull: Pull, "missing", "always";
        /// Path of the Dockerfile in a repository (in its folder CONTEXT, if that is set), unless the job names another one.
        DOCKERFILE => dockerfile: DockerfilePath, "Dockerfile", "docker/Dockerfile";
        /// Folder of a repository that is the build context, unless the job names another one.
        CONTEXT => context: ContextPath, ".", "app";
        /// `1` puts `.git` into the build context, 50 commits deep with their tags, unless the job says otherwise.
        KEEP_GIT_DIR => keep_git_dir: Switch, "0", "1";
    }

    "Jobs of Conveyor's API" {
        /// Jobs of Conveyor's API that move the tag `latest`: those of the `default` branch, or `always` all, as Conveyor did.
        LATEST => latest: Latest, "default", "always";
        /// `1` builds the jobs of Conveyor's API and pushes nothing. They succeed without a digest.
        DRY => dry: Switch, "0", "1";
        /// `1` has BuildKit write into the images of Conveyor's API from which steps their layers are. An engine that lacks
        /// the layers then takes them from the branch's last image. With the classic builder it does so in any case.
        INLINE_CACHE => inline_cache: Switch, "0", "1";
    }

    "Jobs of compose-ci's API" {
        /// Token in the address of compose-ci's webhooks, `BASE_URL/?token=TOKEN`, with 16 characters or more. Default:
        /// GITHUB_TOKEN, which compose-ci took for it.
        CI_TOKEN => ci_token: Option<Zeroizing<String>>, "", "output-of-openssl-rand-hex-32" secret live;
        /// Repository that a call of compose-ci's builds when it names none, `owner/repo`.
        GITHUB_REPO => github_repo: Option<RepoName>, "", "acme/hello";
        /// Source of the files that jobs of compose-ci's API build: `git` (GIT_URL), or `tarball` (GITHUB_API, with
        /// GITHUB_TOKEN).
        SOURCE => source: FileSource, "git", "tarball";
    }

    "Tests (jobs of compose-ci's API)" {
        /// Command that must succeed before an image is pushed, split as a shell splits it, without a shell. It runs in a
        /// container of its own, in `/workspace`, where the commit's files are.
        HOOK => hook: HookCommand, "", "make test";
        /// Image in which the test runs, instead of the image that was just built. The engine pulls it if it lacks it.
        BUILD_IMAGE => build_image: Option<PinnedImage>, "", "registry.example.com/tools/ci:1";
        /// Variables of the daemon's environment, or of its environment file, that tests are given: names, comma-separated.
        /// Their values are masked in the log. The daemon's own secrets are refused.
        HOOK_ENV => hook_env: HookEnv, "", "CODECOV_TOKEN";
        /// Repositories whose compose files may use the engine's socket, if HOOK is not set: globs over `owner/repo`. They are
        /// root on the engine's machine. Empty is none. BUILD_IMAGE has to be set, too.
        HOOK_SOCKET => hook_socket: Globs, "", "acme/*";
        /// Compose files in the repository, separated by `:`. Default: those that Docker Compose looks for.
        COMPOSE_FILE => compose_file: ComposeFiles, "", "docker-compose.yml:ci/docker-compose.ci.yml";
        /// `0` keeps the container of a job's newest test, under the job's id.
        GARBAGE_COLLECT => garbage_collect: Switch, "1", "0";
        /// Age in days from which kept containers are removed, or the number on each engine above which the oldest go, or
        /// both.
        KEEP_CONTAINERS => keep_containers: ContainerKeep, "7d,20", "1d,5";
        /// Longest time for `test`, the pull of BUILD_IMAGE included.
        TEST_TIMEOUT => test_timeout: Duration, "30m", "1h";
        /// Memory of a test's container. Default: no limit.
        TEST_MEMORY => test_memory: Option<Bytes>, "", "2GiB";
        /// Processors that a test's container may use, as in `0.5`. Default: all.
        TEST_CPUS => test_cpus: Option<Cpus>, "", "2";
        /// Number of processes and threads of a test's container. 0 sets no limit.
        TEST_PROCESSES => test_processes: ProcessLimit, "4096", "512";
    }

    "Engines" {
        /// Address of the Docker Engine: `unix:///path`, `ssh://user@host[:port][/path]` with the key `image-factory/engine-key`,
        /// `tcp://` on a loopback address, or `tcp://` on any address with DOCKER_TLS_VERIFY. `;slots=N` behind it is the number of jobs that it has at once.
        DOCKER_HOST => docker_host: String, "unix:///var/run/docker.sock", "tcp://engine.example.com:2376";
        /// Addresses of several engines, comma-separated, instead of DOCKER_HOST. A repository keeps to the engine that has
        /// its layers, as long as that engine is well and not busy. Either each has `;slots=N` behind it, or none has;
        /// without them CONCURRENCY is shared out evenly.
        DOCKER_HOSTS => docker_hosts: List, "", "tcp://engine-1.example.com:2376;slots=4,tcp://engine-2.example.com:2376;slots=2";
        /// Further arguments of the dockerd that `image-factory init` starts in a privileged container, separated by spaces.
        DOCKERD_ARGS => dockerd_args: Option<String>, "", "--mtu=1400 --dns=192.0.2.53";
        /// Registries that this dockerd may use without TLS, comma-separated.
        INSECURE_REGISTRIES => insecure_registries: List, "", "registry.example.com:5000";
        /// Mirror of Docker Hub that this dockerd asks first.
        REGISTRY_MIRROR => registry_mirror: Option<HttpUrl>, "", "https://mirror.example.com";
        /// File of containerops' generator that names the engines, `pool.json`, instead of DOCKER_HOST.
        POOL_FILE => pool_file: Option<PathBuf>, "", "/etc/image-factory/pool.json";
        /// Any value makes the daemon use TLS to an engine at `tcp://`, with the files in DOCKER_CERT_PATH.
        DOCKER_TLS_VERIFY => docker_tls_verify: Option<String>, "", "1";
        /// Folder with the `ca.pem`, `cert.pem` and `key.pem` for DOCKER_TLS_VERIFY. Default: `~/.docker`.
        DOCKER_CERT_PATH => docker_cert_path: Option<PathBuf>, "", "/etc/image-factory/docker";
        /// Builder of the engine: `buildkit`, `classic`, or `auto` (BuildKit where the engine has it).
        BUILDER => builder: Builder, "auto", "buildkit";
    }

    "What builds share" {
        /// Builds that share their cache mounts on an engine: those of one `repository`, of one `owner`, or all of the
        /// `engine`. No job chooses it.
        CACHE_SCOPE => cache_scope: CacheScope, "repository", "owner";
        /// Branches whose builds run every step and begin with empty cache mounts, so that they use nothing that a build of
        /// another ref has written, and whose tags only an admin sets from elsewhere: globs, comma-separated. Default: none.
        PROTECTED => protected: Branches, "", "main,release/*";
    }

    "What builds reach" {
        /// Network of the steps of builds, and of HOOK's containers: `none`, or with BUILDER=classic the name of a network of
        /// the engine. No job chooses it. Default: the engine's own.
        BUILD_NETWORK => build_network: Option<BuildNetwork>, "", "none";
        /// Hosts, addresses and networks from which `ADD` of a Dockerfile may fetch although they are private,
        /// comma-separated.
        ADD_HOSTS_ALLOWED => add_hosts_allowed: AllowedHosts, "", "files.internal,10.1.0.0/16";
        /// Proxy for the steps of builds. A job cannot name one, because a proxy is no part of a cached step's key.
        BUILD_PROXY => build_proxy: Option<HttpUrl>, "", "http://proxy.example.com:3128";
        /// Hosts that steps of builds reach without BUILD_PROXY, comma-separated.
        BUILD_NO_PROXY => build_no_proxy: Option<String>, "", "localhost,.internal.example.com";
    }

    "Queue" {
        /// Number of jobs of one repository that run at once. 0 sets no limit beside CONCURRENCY.
        REPO_CONCURRENCY => repo_concurrency: u32, "0", "1";
        /// Priorities of jobs: `glob=number` over `owner/repo` or `owner/repo@branch`, comma-separated. Higher numbers run
        /// first. The first glob that fits counts; a job that none fits has 0.
        PRIORITIES => priorities: PriorityList, "", "acme/*@main=10,acme/nightly=-5" live;
        /// Which older jobs of a branch a newer commit cancels: `off` (none), `pending` (those that wait) or `running`
        /// (those that wait or run).
        SUPERSEDE => supersede: Supersede, "off", "pending" live;
        /// Time for which running jobs may go on after SIGTERM. Jobs that are left then go back to pending.
        DRAIN_TIMEOUT => drain_timeout: Duration, "60s", "10m";
    }

    "Secrets" {
        /// Folder that the secrets are read from while neither ETCD_HOST nor ETCD_ENDPOINTS is set. Default:
        /// `DATA_DIR/secrets`.
        SECRETS_DIR => secrets_dir: Option<PathBuf>, "", "/etc/image-factory/secrets";
        /// Passphrase that decrypts the deploy keys and the dockercfg.
        ENC_PASSPHRASE => enc_passphrase: Option<Zeroizing<String>>, "", "passphrase-of-the-deploy-keys" secret;
        /// Longest time that a job waits while a secret of its own is stored and cannot be used. Then it fails.
        SECRET_WAIT => secret_wait: Duration, "24h", "1h";
        /// Hosts of token servers that get a registry's login although they are of another domain than the registry: names,
        /// addresses and networks, comma-separated.
        TOKEN_SERVERS_ALLOWED => token_servers_allowed: AllowedHosts, "", "auth.example.org";
        /// File to which the valid authorized keys are written, for an sshd.
        AUTHORIZED_KEYS_FILE => authorized_keys_file: Option<PathBuf>, "", "/home/git/.ssh/authorized_keys";
        /// `auto`: the holders of the stored authorized keys can log in to the container by ssh, if etcd asks for
        /// credentials or a folder has the keys. `off`: nobody can. See ssh-login.md.
        SSHD => sshd: SshdChoice, "off", "auto";
        /// Port of ssh.
        SSHD_PORT => sshd_port: NonZeroU16, "22", "2222";
        /// File of the private host key of ssh. Default: one that the first start makes in `DATA_DIR/ssh`.
        SSH_HOST_KEY => ssh_host_key: Option<PathBuf>, "", "/run/secrets/ssh_host_key";
        /// Host of etcd. Secrets come from SECRETS_DIR while neither ETCD_HOST nor ETCD_ENDPOINTS is set.
        ETCD_HOST => etcd_host: Option<HostName>, "", "etcd.example.com";
        /// Port of ETCD_HOST.
        ETCD_PORT => etcd_port: NonZeroU16, "4001", "2379";
        /// Addresses of an etcd cluster, `http://host:port` or `https://host:port`, comma-separated, instead of ETCD_HOST.
        ETCD_ENDPOINTS => etcd_endpoints: Endpoints, "", "https://etcd-1.example.com:2379,https://etcd-2.example.com:2379";
        /// API of etcd: `v3`, `v2` (clusters from before 2022), or `auto` (each secret from v3, else from v2).
        ETCD_API => etcd_api: EtcdApi, "auto", "v3";
        /// User of etcd, if etcd asks for one.
        ETCD_USER => etcd_user: Option<String>, "", "image-factory";
        /// Password of ETCD_USER.
        ETCD_PASSWORD => etcd_password: Option<Zeroizing<String>>, "", "password-of-the-etcd-user" secret;
        /// PEM file of the authorities that sign etcd's certificate, instead of the system's. ETCD_HOST is then reached by
        /// TLS.
        ETCD_CACERT => etcd_cacert: Option<PathBuf>, "", "/etc/image-factory/etcd-ca.pem";
        /// PEM file of the client certificate that the daemon shows to etcd.
        ETCD_CERT => etcd_cert: Option<PathBuf>, "", "/etc/image-factory/etcd-cert.pem";
        /// PEM file of the key of ETCD_CERT.
        ETCD_KEY => etcd_key: Option<PathBuf>, "", "/etc/image-factory/etcd-key.pem";
        /// Key in etcd below which the secrets are.
        ETCD_TOTEM_BASE => etcd_totem_base: String, "/totem", "/image-factory";
    }

    "Notifications" {
        /// Events that HipChat, Slack and mail report: `failure`, `fixed` (the first success after a failure) and `success`,
        /// comma-separated. Default: `failure` for HipChat and Slack, all for mail.
        NOTIFY_ON => notify_on: Option<Occasions>, "", "failure,fixed" live;
        /// Mail addresses and addresses of chat rooms (webhooks of Slack or Mattermost, or HipChat's
        /// `https://HOST/v2/room/ROOM/notification?auth_token=TOKEN`), comma-separated. They hear of failures that only
        /// an operator can mend (`config` and `git-host`), and nobody else does.
        NOTIFY_OPERATORS => notify_operators: OperatorList, "", "ops@example.com,https://hooks.slack.com/services/T0/B0/secret" secret live;
        /// Name of this environment in notifications.
        TOTEM_ENV => totem_env: String, "local", "production" live;
        /// Token for GitHub's API, which sets commit statuses. It also serves https clones if GIT_TOKEN is not set.
        GITHUB_TOKEN => github_token: Option<Zeroizing<String>>, "", "token-of-the-machine-user" secret live;
        /// Address of GitHub's API.
        GITHUB_API => github_api: HttpUrl, "https://api.github.com", "https://github.example.com/api/v3" live;
        /// Id of a GitHub App, which then sets the commit statuses instead of GITHUB_TOKEN.
        GITHUB_APP_ID => github_app_id: Option<String>, "", "123456" live;
        /// Id of the installation of the GitHub App. Default: the installation that the repository has.
        GITHUB_INSTALLATION_ID => github_installation_id: Option<String>, "", "7890123" live;
        /// Private key of the GitHub App, in PEM. In one line, `\n` stands for a line's end.
        GITHUB_PRIVATE_KEY => github_private_key: Option<Zeroizing<String>>, "", "contents-of-the-pem-file" secret live;
        /// Addresses to which the post-build hook is sent, comma-separated.
        HOOK_POST_URL => hook_post_url: Urls, "", "https://deploy.example.com/hooks/image-factory" live;
        /// Secret that signs the post-build hooks. Default: HOOK_SECRET. A receiver that knows HOOK_SECRET can forge GitHub's
        /// webhooks, so set another one.
        HOOK_POST_SECRET => hook_post_secret: Option<Zeroizing<String>>, "", "output-of-openssl-rand-hex-32" secret live;
        /// Key of a further signature of the post-build hooks, by Standard Webhooks: `whsec_` and base64. A receiver can
        /// refuse replays by that signature.
        HOOK_SIGNING_KEY => hook_signing_key: Option<SigningKey>, "", "whsec_b3V0cHV0LW9mLW9wZW5zc2wtcmFuZC0zMg==" secret live;
        /// Token of a HipChat room. The room gets notifications if HIPCHAT_ROOM is set, too.
        HIPCHAT_TOKEN => hipchat_token: Option<Zeroizing<String>>, "", "token-of-the-room" secret live;
        /// Id or name of the HipChat room.
        HIPCHAT_ROOM => hipchat_room: Option<String>, "", "builds" live;
        /// Address of a server that speaks version 2 of HipChat's API.
        HIPCHAT_API => hipchat_api: HttpUrl, "https://api.hipchat.com", "https://chat.example.com" live;
        /// Address of an incoming webhook of Slack or of Mattermost.
        SLACK_URL => slack_url: Option<Zeroizing<String>>, "", "https://hooks.slack.com/services/T0/B0/secret" secret live;
        /// Channel of Slack. Default: the webhook's own channel.
        SLACK_ROOM => slack_room: Option<String>, "", "#builds" live;
        /// Server for outgoing mail, which needs SMTP_FROM, and SMTP_TO or a mail address in NOTIFY_OPERATORS.
        SMTP_HOST => smtp_host: Option<HostName>, "", "mail.example.com" live;
        /// Port of SMTP_HOST. Default: 465 with `SMTP_TLS=tls`, 587 with `starttls`, 25 with `none`.
        SMTP_PORT => smtp_port: Option<NonZeroU16>, "", "587" live;
        /// Encryption of mail to SMTP_HOST: `tls` (from the first byte), `starttls`, or `none`, which sends no password and
        /// is for a server on the same machine.
        SMTP_TLS => smtp_tls: MailTls, "tls", "starttls" live;
        /// PEM file of authorities that are trusted beside the system's for the certificate of SMTP_HOST.
        SMTP_CACERT => smtp_cacert: Option<PathBuf>, "", "/etc/image-factory/mail-ca.pem" live;
        /// User for SMTP_HOST, if it asks for one.
        SMTP_USER => smtp_user: Option<String>, "", "image-factory" live;
        /// Password of SMTP_USER.
        SMTP_PASS => smtp_pass: Option<Zeroizing<String>>, "", "password-of-the-mail-user" secret live;
        /// Sender of the mail.
        SMTP_FROM => smtp_from: Option<String>, "", "Image Factory <builds@example.com>" live;
        /// Recipients of the mail, comma-separated.
        SMTP_TO => smtp_to: List, "", "team@example.com,ops@example.com" live;
        /// Address of a DogStatsD agent, `dogstatsd://host[:port]`, that gets the timings, errors and events of builds which
        /// Conveyor sent. The port is 8125 by default.
        STATS => stats: Option<StatsTarget>, "", "dogstatsd://127.0.0.1:8125" live;
    }

    "HTTP and access" {
        /// PEM file of the certificate with which the daemon speaks TLS, followed by those between it and the authority.
        TLS_CERT => tls_cert: Option<PathBuf>, "", "/etc/image-factory/tls/fullchain.pem";
        /// PEM file of the private key of TLS_CERT.
        TLS_KEY => tls_key: Option<PathBuf>, "", "/etc/image-factory/tls/privkey.pem";
        /// PEM file with both the certificate and its private key, instead of TLS_CERT and TLS_KEY.
        CERT_PATH => cert_path: Option<PathBuf>, "", "/etc/image-factory/tls/both.pem";
        /// Port to listen on, where LISTEN is not set.
        PORT => port: Option<NonZeroU16>, "", "8443";
        /// IP address to listen on, where LISTEN is not set.
        BIND => bind: Option<IpAddr>, "", "0.0.0.0";
        /// Access tokens, `name:role:token`, comma-separated. The roles are read, build and admin. A token has 16 characters
        /// or more. Each has a name of its own, and none is `admin`.
        API_TOKENS => api_tokens: Vec<ApiToken>, "", "ci:build:output-of-openssl-rand-hex-32" secret live;
        /// APIs that are served, comma-separated: `totem`, `conveyor`, `generator` and `compose-ci`. The command line needs none of
        /// them.
        DIALECTS => dialects: Dialects, "totem,conveyor,generator", "totem";
        /// Login of Conveyor's clients, `user:password`, beside the tokens. It may read and build by Conveyor's API, and is
        /// not valid elsewhere. The password has 16 characters or more.
        BASIC_AUTH => basic_auth: Option<BasicLogin>, "", "conveyor:output-of-openssl-rand-hex-32" secret live;
        /// `1` shows the logs of Conveyor's jobs at `/logs/ID` to everyone who knows the id, as Conveyor did.
        CONVEYOR_OPEN_LOGS => conveyor_open_logs: Switch, "0", "1";
        /// Authentication of the API: `token`, or `none` to admit everyone who reaches the port, as admin.
        API_AUTH => api_auth: ApiAuth, "token", "none";
        /// Names of the daemon beside BASE_URL's host, comma-separated. A request without a token, and one with a password
        /// that changes something, has to name the daemon by one of them, by an IP address or as localhost.
        HOSTS => hosts: Hosts, "", "builds.example.com,builds.internal" live;
        /// Addresses and networks of the proxies before the daemon, comma-separated. A request of theirs counts for the
        /// last other address in its `X-Forwarded-For`, where places are limited for each address.
        TRUSTED_PROXIES => trusted_proxies: Networks, "", "10.0.0.2,fd00:1::/64";
        /// Origins whose pages may call the API (CORS), comma-separated.
        CORS_ORIGINS => cors_origins: Origins, "", "https://dashboard.example.com";
        /// Order of `GET /job` without `limit` and `order`: `newest` (the newest 1,000 jobs first), or `oldest` (every job,
        /// the oldest first, as totem's image-factory did).
        TOTEM_LIST => totem_list: TotemList, "newest", "oldest";
    }

    "Limits and retention" {
        /// Longest time for `clone`, and for the submodules and LFS files that `checkout` fetches, in each try.
        CLONE_TIMEOUT => clone_timeout: Duration, "15m", "30m";
        /// Longest time to find the commit and prepare `.git`; fetching counts under CLONE_TIMEOUT.
        CHECKOUT_TIMEOUT => checkout_timeout: Duration, "4m", "10m";
        /// Longest time for `build`.
        BUILD_TIMEOUT => build_timeout: Duration, "30m", "1h";
        /// Longest time for `push`, in each try.
        PUSH_TIMEOUT => push_timeout: Duration, "30m", "1h";
        /// Number of further tries of a push while the registry is in trouble.
        PUSH_RETRIES => push_retries: u32, "20", "5";
        /// Time between two tries of a push.
        PUSH_RETRY_WAIT => push_retry_wait: Duration, "20s", "1m";
        /// Longest time that a running stage may be silent and idle.
        STALL_TIMEOUT => stall_timeout: Duration, "20m", "1h";
        /// Longest time for a whole run of a job, without its time in the queue.
        JOB_TIMEOUT => job_timeout: Duration, "3h", "6h";
        /// Age from which an ended job and its log are deleted, in days (30 or more). The newest job of each branch
        /// stays. Default: jobs are kept for ever.
        JOB_KEEP => job_keep: Option<JobKeep>, "", "180d";
        /// Age in days from which logs of ended jobs are removed, or the size of all logs together above which the oldest
        /// go, or both. Jobs stay, and so does the log of each branch's newest job. Default: as long as the job.
        LOG_KEEP => log_keep: LogKeep, "", "90d,20GiB";
        /// Number of files and folders that a commit may have, with those of its submodules.
        MAX_FILES => max_files: NonZeroU32, "1000000", "100000";
        /// Size of all files of a commit together, with those of its submodules. LFS files do not count.
        MAX_TREE_BYTES => max_tree_bytes: Bytes, "20GiB", "4GiB";
        /// Number of branches and tags that a repository may have.
        MAX_REFS => max_refs: NonZeroU32, "200000", "20000";
        /// Memory for one pattern of `.dockerignore` that has wildcards.
        PATTERN_MEMORY => pattern_memory: Bytes, "256KiB", "1MiB";
        /// Memory for all of these patterns of a build together.
        PATTERNS_MEMORY => patterns_memory: Bytes, "16MiB", "64MiB";
        /// Longest time in which the files of a build are chosen by them.
        PATTERNS_TIME => patterns_time: Duration, "30s", "2m";
        /// Memory of the daemon for the files of the trees that jobs build, bodies of requests, answers and logs,
        /// together: 36MiB or more. A job waits for its share. 0 is no bound.
        MEMORY_BUDGET => memory_budget: Bytes, "512MiB", "2GiB";
        /// Memory for the data of each process of Git, so that a large repository or a bad server costs its own job alone.
        GIT_MEMORY => git_memory: Bytes, "2GiB", "4GiB";
        /// Time of the processor that each process of Git may take.
        GIT_CPU_TIME => git_cpu_time: Duration, "1h", "3h";
        /// Size up to which a log is kept as it comes. Behind it a log has a notice and, of each stage, the last
        /// MiB, or 64 KiB while other logs have the memory for more.
        LOG_LIMIT => log_limit: Bytes, "64MiB", "256MiB";
        /// Disk space that must be free before a job starts, in the data folder and at the engine.
        DISK_FLOOR => disk_floor: Bytes, "2GiB", "10GiB";
        /// Share of the inodes, in percent, that must be free before a job starts, in the data folder and at the engine.
        INODE_FLOOR => inode_floor: Percent, "5", "10";
        /// Disk space that the Git mirrors and LFS files may take. Those that were used least recently are removed first;
        /// those in use stay.
        MIRROR_BUDGET => mirror_budget: Bytes, "20GiB", "100GiB";
        /// When room is short (DISK_FLOOR, INODE_FLOOR), this daemon's images and the build cache are removed down to this
        /// size, or further if the floor needs it. Those that were used least recently go first. An engine on another
        /// machine is always kept within it.
        ENGINE_BUDGET => engine_budget: Bytes, "20GiB", "100GiB";
    }

    "Logs" {
        /// Lines that are logged: a level, or directives of the Rust crate `tracing`.
        RUST_LOG => rust_log: String, "info", "debug";
        /// Form of the log on standard error: `text`, or `json` for one JSON object a line.
        LOG_FORMAT => log_format: LogFormat, "text", "json";
        /// Any value turns colours off in the log on standard error.
        NO_COLOR => no_color: Option<String>, "", "1";
        /// Place of log lines beside standard error: `udp://host:port` or `tcp://host:port` (RFC 5424), `local` (`/dev/log`),
        /// `unix:///path` (another socket), or `off`. Default: the host in etcd's `syslog/host`, by UDP, if there is one.
        SYSLOG => syslog: Option<SyslogTarget>, "", "udp://logs.example.com:514";
        /// Name of this daemon in the system log.
        LOG_IDENTIFIER => log_identifier: String, "image-factory", "image-factory-staging";
    }
}
