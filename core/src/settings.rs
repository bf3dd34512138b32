//! The daemon's settings: [`TABLE`] declares them, `sources` finds their texts, and the types check them.
//!
//! Flags beat the environment, which beats the environment file, which beats the settings file. An empty value counts as
//! not set.

mod channels;
mod env_file;
mod error;
mod etcd;
mod etcd_address;
mod flags;
mod foreign;
mod hook;
mod idle;
mod keep;
mod listen;
mod loaded;
mod names;
mod queue;
mod refs;
mod runtime_conf;
mod secret;
mod sources;
mod table;
mod toml_file;
mod value;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::model::{ApiToken, Builder, Dialect};

pub use channels::{Occasions, OperatorList, SigningKey, StatsTarget, SyslogTarget, Urls};
pub use error::{SettingError, SettingErrors};
pub use etcd_address::HostName;
pub use flags::Flags;
pub use hook::{ComposeFiles, Cpus, HookCommand, HookEnv, ProcessLimit};
pub use keep::{ContainerKeep, Days, JobKeep, LogKeep};
pub use loaded::{ErrorScope, LoadedSettings, SettingChanges};
pub use queue::{PriorityList, Switch};
pub use refs::{Branches, GitTags};
pub use sources::SettingsSource;
pub use table::{Settings, TABLE};
pub use value::{
    ApiAuth, Bytes, FileSource, FileTimes, GitUrl, Globs, Hosts, HttpUrl, List, LogFormat, Networks, Origins,
    RepoCaseChoice, SshdChoice, TotemList,
};

/// File of settings that is read if it exists and `--config` names no other.
pub const DEFAULT_FILE: &str = "/etc/image-factory/image-factory.toml";
/// File of variables that is read if it exists and `--env-file` names no other.
pub const ENV_FILE: &str = "/etc/image-factory/env";

/// Characters of a signing secret below which the start and `doctor` complain, as for a token.
const SHORTEST_SECRET: usize = 16;

/// A setting as the documents describe it.
pub struct Spec {
    /// Heading under which the documents list the setting.
    pub group: &'static str,
    /// Name in the environment. The flag is its lower-case form with `-`, the file's key the one with `_`.
    pub name: &'static str,
    /// Other names, from the programs that Image Factory replaces.
    pub aliases: &'static [&'static str],
    /// Default, as it would be written; empty if there is none, or if `meaning` names it.
    pub default: &'static str,
    /// A valid value beside the default; for a secret, a value that nobody has.
    pub example: &'static str,
    /// True if the value is never a flag, never in the file and never shown.
    pub secret: bool,
    /// True if a running daemon takes a new value when it reads the settings again.
    pub live: bool,
    /// Text of `--help` and of the documents, which stands alone.
    pub meaning: &'static str,
}

impl Settings {
    /// Returns the rules over more than one setting that are broken.
    pub fn contradictions(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        let secrets = [
            ("HOOK_SECRET", &self.hook_secret, "the forge's webhook"),
            ("HOOK_POST_SECRET", &self.hook_post_secret, "what receives our hooks"),
        ];
        for (name, secret, other_side) in secrets {
            let is_default = secret.as_ref().is_some_and(|secret| secret.as_str() == "changeit");
            if is_default && !self.listen.is_local() {
                errors.push(SettingError::new(
                    [name, "LISTEN"],
                    format!(
                        "{name} has its well-known old default and LISTEN is not a loopback address: set a secret of \
                         your own, in {other_side} too"
                    ),
                ));
            }
        }
        if self.git_token.is_some() && self.git_url.as_ref().is_some_and(|url| url.0.starts_with("http://")) {
            errors.push(SettingError::new(
                ["GIT_TOKEN", "GIT_URL"],
                "GIT_TOKEN is set and GIT_URL is a http:// address: a token goes by https alone",
            ));
        }
        let engines =
            [("DOCKER_HOST", std::slice::from_ref(&self.docker_host)), ("DOCKER_HOSTS", &self.docker_hosts.0)];
        for (name, addresses) in engines {
            let has_login = |address: &String| {
                let login = address.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
                match address.split_once(':') {
                    Some(("unix", _)) => false,
                    // The user of an ssh address is no secret.
                    Some(("ssh", _)) => login.is_some_and(|(login, _)| login.contains(':')),
                    _ => address.contains('@'),
                }
            };
            if let Some(address) = addresses.iter().find(|address| has_login(address)) {
                let what = match address.starts_with("ssh:") {
                    true => {
                        "take the password out of the address, because it is shown: ssh uses a key, the secret engine-key"
                    }
                    false => "take the login out of the address, because it is shown, and set DOCKER_TLS_VERIFY",
                };
                errors.push(SettingError::new([name], format!("{name} is not valid: {what}")));
            }
        }
        if let Some(network) = self.build_network.as_ref().filter(|network| network.is_named())
            && self.builder != Builder::Classic
        {
            errors.push(SettingError::new(
                ["BUILD_NETWORK", "BUILDER"],
                format!(
                    "BUILD_NETWORK={network} is a network of the engine, which BuildKit cannot use: set BUILDER=classic, or \
                     BUILD_NETWORK=none"
                ),
            ));
        }
        for (name, limit) in [
            ("CLONE_TIMEOUT", self.clone_timeout),
            ("CHECKOUT_TIMEOUT", self.checkout_timeout),
            ("BUILD_TIMEOUT", self.build_timeout),
            ("TEST_TIMEOUT", self.test_timeout),
            ("PUSH_TIMEOUT", self.push_timeout),
            ("STALL_TIMEOUT", self.stall_timeout),
            ("JOB_TIMEOUT", self.job_timeout),
        ] {
            if limit.is_zero() {
                let why = "is not valid: no job could end in time; set 1s or more";
                errors.push(SettingError::new([name], format!("{name}=\"0s\" {why}")));
            }
        }
        if self.basic_auth.is_some() && self.api_auth == ApiAuth::None {
            errors.push(SettingError::new(
                ["BASIC_AUTH", "API_AUTH"],
                "BASIC_AUTH is set, and API_AUTH=none admits everyone without it: unset one of them",
            ));
        }
        let is_password =
            |token: &ApiToken| self.basic_auth.as_ref().is_some_and(|login| login.password == token.token);
        if let Some(token) = self.api_tokens.iter().find(|token| is_password(token)) {
            let name = &token.name;
            errors.push(SettingError::new(
                ["BASIC_AUTH", "API_TOKENS"],
                format!("BASIC_AUTH has the token of {name} in API_TOKENS for its password: give each its own"),
            ));
        }
        if self.dialects.has(Dialect::ComposeCi) && self.ci_token().is_none() {
            errors.push(SettingError::new(
                ["DIALECTS", "CI_TOKEN"],
                "DIALECTS names compose-ci, whose webhooks need CI_TOKEN: set it to the token of their address",
            ));
        }
        if self.ci_token.as_ref().is_some_and(|token| token.len() < 16) {
            errors.push(SettingError::new(["CI_TOKEN"], "CI_TOKEN is not valid: it has less than 16 characters"));
        }
        let is_secret =
            |name: &&String| TABLE.iter().any(|spec| spec.secret && spec.variables().any(|own| own == **name));
        for name in self.hook_env.names.iter().filter(is_secret) {
            let why =
                "is a secret of the daemon, which no test is given: put its value into a variable of another name";
            errors.push(SettingError::new(["HOOK_ENV"], format!("HOOK_ENV is not valid: {name} {why}")));
        }
        self.check_etcd(&mut errors);
        self.check_listen(&mut errors);
        if let Err(why) = self.image_name.check_base(&self.docker_repo_base) {
            errors.push(SettingError::new(
                ["DOCKER_REPO_BASE"],
                format!("DOCKER_REPO_BASE={:?} is not valid: {why}", value::without_user(&self.docker_repo_base)),
            ));
        }
        errors
    }

    /// Returns the names of the signing secrets that are so short that what they signed lets them be guessed.
    pub fn short_secrets(&self) -> Vec<&'static str> {
        let secrets = [("HOOK_SECRET", &self.hook_secret), ("HOOK_POST_SECRET", &self.hook_post_secret)];
        let is_short = |secret: &Zeroizing<String>| secret.chars().count() < SHORTEST_SECRET;
        secrets.iter().filter(|(_, secret)| secret.as_ref().is_some_and(is_short)).map(|(name, _)| *name).collect()
    }

    /// Returns the secret that signs the post-build hooks.
    pub fn post_build_secret(&self) -> Option<&Zeroizing<String>> {
        self.hook_post_secret.as_ref().or(self.hook_secret.as_ref())
    }

    /// Returns the token of compose-ci's webhooks.
    pub fn ci_token(&self) -> Option<&Zeroizing<String>> {
        self.ci_token.as_ref().or(self.github_token.as_ref())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    pub fn secrets_dir(&self) -> PathBuf {
        self.secrets_dir.clone().unwrap_or_else(|| self.data_dir().join("secrets"))
    }

    /// Returns the folder of the engine's certificates; `None` without DOCKER_TLS_VERIFY.
    pub fn docker_certs(&self) -> Option<PathBuf> {
        self.docker_tls_verify.as_ref()?;
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        Some(self.docker_cert_path.clone().unwrap_or_else(|| home().join(".docker")))
    }
}

/// Returns the data folder that applies when DATA_DIR is not set.
fn default_data_dir() -> PathBuf {
    let system = Path::new("/var/lib/image-factory");
    let is_service = std::env::var_os("STATE_DIRECTORY").is_some();
    let user = rustix::process::geteuid();
    // The service's user may run a command by hand, without the service's environment.
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
