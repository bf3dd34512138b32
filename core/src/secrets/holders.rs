use super::authorized::AuthorizedKeys;
use super::source::Source;
use super::{KeyHolder, Place, SecretName, SecretsError, syslog_host};

/// Reader of the authorized keys alone, which decrypts nothing.
pub struct KeyHolders(Source);

/// The stored keys for logins by ssh.
#[derive(Debug, Default)]
pub struct StoredHolders {
    /// The holders of the keys that may log in.
    pub holders: Vec<KeyHolder>,
    /// One line of text for each fault.
    pub trouble: Vec<String>,
    /// Where log lines go, as `host:port`.
    pub syslog_host: Option<String>,
}

impl KeyHolders {
    pub fn new(place: &Place) -> Self {
        Self(Source::new(place))
    }

    /// Returns what is stored: at once the first time, then when something may have changed. A list that cannot be read lets
    /// nobody in, because a key may have been removed from it.
    ///
    /// # Errors
    /// The place cannot be read. The next call tries again after a pause of its own.
    pub async fn next(&mut self) -> Result<StoredHolders, SecretsError> {
        let mut values = self.0.next().await?.values;
        let syslog_host = values.remove(&SecretName::SyslogHost).and_then(|host| syslog_host::parse(&host.ok()?).ok());
        let keys = values.remove(&SecretName::AuthorizedKeys);
        let parsed = keys.map_or_else(|| Ok(Default::default()), |keys| AuthorizedKeys::parse(&keys?));
        Ok(match parsed {
            Ok((keys, mut trouble)) => {
                let (holders, left_out) = keys.holders();
                trouble.extend(left_out);
                StoredHolders { holders, trouble, syslog_host }
            }
            Err(error) => {
                let trouble = vec![format!("{error}; nobody can log in")];
                StoredHolders { trouble, syslog_host, ..StoredHolders::default() }
            }
        })
    }
}
