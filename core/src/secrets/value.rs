use std::sync::Arc;

use zeroize::Zeroizing;

use super::authorized::AuthorizedKeys;
use super::dockercfg::Dockercfg;
use super::key::{self, DeployKey};
use super::name::PUT_ENGINE_KEY;
use super::{Scope, SecretName, SecretsError, messages, pgp, syslog_host};

/// A secret that can be used.
pub enum SecretValue {
    Key(Arc<DeployKey>),
    /// Key for engines that are reached by ssh.
    EngineKey(Arc<DeployKey>),
    Dockercfg(Dockercfg),
    AuthorizedKeys(AuthorizedKeys),
    /// Address as `host:port`.
    SyslogHost(String),
}

/// A secret that was decrypted and parsed.
pub struct Opened {
    pub value: SecretValue,
    /// One line for each part that is not used.
    pub trouble: Vec<String>,
    /// True if the secret was stored unencrypted although its kind is meant to be encrypted.
    pub bare: bool,
}

/// Decrypts and parses the bytes that are stored as `name`. An encrypted secret takes 0.1 s and more.
///
/// Unencrypted keys and dockercfgs are accepted: a folder is often another system's secret store (Kubernetes, systemd,
/// Docker), which has decrypted them already, and a passphrase beside them would protect nothing. Their descriptions say
/// that they are unencrypted, because everybody who reaches the port of etcd can read them there.
pub fn open(name: &SecretName, stored: &[u8], passphrase: Option<&str>) -> Result<Opened, SecretsError> {
    Ok(match name {
        SecretName::GithubKey(_) | SecretName::EngineKey => {
            // The key's own errors know no scope, and a general key does not take the place of a special one.
            let put = match name {
                SecretName::GithubKey(scope) => scope.put_command(),
                _ => PUT_ENGINE_KEY.into(),
            };
            let named = |e: SecretsError| SecretsError(e.0.replace(&Scope::Common.put_command(), &put));
            let key = Arc::new(DeployKey::parse(stored, passphrase).map_err(named)?);
            let value = match name {
                SecretName::GithubKey(_) => SecretValue::Key(key),
                _ => SecretValue::EngineKey(key),
            };
            Opened { value, trouble: Vec::new(), bare: !key::is_encrypted(stored) }
        }
        SecretName::Dockercfg(_) => {
            let bare = is_json(stored);
            let (dockercfg, trouble) = match (bare, passphrase) {
                (true, _) => Dockercfg::parse(stored)?,
                (false, Some(passphrase)) => Dockercfg::parse(&pgp::decrypt(stored, passphrase)?)?,
                (false, None) => {
                    return Err(SecretsError::of(&messages::ENCRYPTED_DOCKERCFG, &[]));
                }
            };
            Opened { value: SecretValue::Dockercfg(dockercfg), trouble, bare }
        }
        SecretName::AuthorizedKeys => {
            let (keys, trouble) = AuthorizedKeys::parse(stored)?;
            Opened { value: SecretValue::AuthorizedKeys(keys), trouble, bare: false }
        }
        SecretName::SyslogHost => {
            let host = syslog_host::parse(stored)?;
            Opened { value: SecretValue::SyslogHost(host), trouble: Vec::new(), bare: false }
        }
    })
}

/// Returns true for a value that is stored unencrypted although its kind is meant to be encrypted.
pub fn is_bare(name: &SecretName, stored: &Result<Zeroizing<Vec<u8>>, SecretsError>) -> bool {
    stored.as_ref().is_ok_and(|stored| match name {
        SecretName::GithubKey(_) | SecretName::EngineKey => !key::is_encrypted(stored),
        SecretName::Dockercfg(_) => is_json(stored),
        SecretName::AuthorizedKeys | SecretName::SyslogHost => false,
    })
}

/// Returns true for JSON, because neither OpenPGP nor base64 begins with a brace.
pub fn is_json(stored: &[u8]) -> bool {
    stored.trim_ascii_start().first() == Some(&b'{')
}

impl Opened {
    /// Returns true for a list of logins or keys that has none.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            SecretValue::Dockercfg(cfg) => cfg.iter().next().is_none(),
            SecretValue::AuthorizedKeys(keys) => keys.len() == 0,
            SecretValue::Key(_) | SecretValue::EngineKey(_) | SecretValue::SyslogHost(_) => false,
        }
    }

    /// Returns a description for a log or a person. Nothing secret is in it.
    pub fn describe(&self) -> String {
        let what = match &self.value {
            SecretValue::Key(key) => format!("deploy key {} {}", key.public_key().algorithm(), key.fingerprint()),
            SecretValue::EngineKey(key) => {
                format!("key for engines {} {}", key.public_key().algorithm(), key.fingerprint())
            }
            SecretValue::Dockercfg(cfg) => match cfg.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>() {
                keys if keys.is_empty() => "credentials for no registry".into(),
                keys => format!("credentials for {}", keys.join(", ")),
            },
            SecretValue::AuthorizedKeys(keys) => format!("authorized keys: {}", keys.len()),
            SecretValue::SyslogHost(host) => format!("the syslog host {host}"),
        };
        match self.bare {
            true => what + ", stored unencrypted (`image-factory secrets put` encrypts it)",
            false => what,
        }
    }
}
