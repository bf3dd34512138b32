use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, WatchOptions, WatchStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::SecretName;
use super::super::contents::Contents;
use super::config::EtcdConfig;
use super::failure::{EtcdFailure, role};
use super::limits::{MAX_ANSWER, REQUEST, within};
use super::tls::EtcdTls;

/// Interval and timeout of keep-alive pings. A peer that hangs without closing the connection is noticed after 10 s. etcd
/// refuses clients that ping more often than every 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(4));
/// Interval at which everything is read again, because a watch may have fallen silent.
const RESYNC: Duration = Duration::from_secs(300);

/// A connection to one member by etcd's API v3, which is gRPC.
pub struct V3Client {
    config: Arc<EtcdConfig>,
    pub(super) client: Client,
    /// Revision of the last read.
    pub(super) revision: i64,
    /// The watch, which is opened after a read, because a read logs in anew, while a watch with an expired token is made
    /// and cancelled at once.
    pub(super) watch: Option<WatchStream>,
}

impl V3Client {
    pub async fn open(config: Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Result<Self, EtcdFailure> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(REQUEST)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(true)
            .with_auto_token_refresh(true)
            // A leader is required, because the watch on a member that lost its cluster would stay open and silent.
            .with_require_leader(true);
        if config.is_tls() {
            options = options.with_tls(tls.options());
        }
        let mut client = Client::connect([endpoint], Some(options)).await.map_err(|e| failure(&config, &e))?;
        if let Some((user, password)) = &config.login {
            match client.update_user(Some((user.clone(), password.to_string()))).await {
                // A login at a cluster without authentication is ignored, as etcd's own clients do.
                Err(Error::GRpcStatus(status)) if status.message().contains("authentication is not enabled") => {}
                login => login.map_err(|e| failure(&config, &e))?,
            }
        }
        Ok(Self { config, client, revision: 0, watch: None })
    }

    /// Returns all that is below the base.
    pub async fn read(&mut self) -> Result<Contents, EtcdFailure> {
        let prefix = self.config.prefix();
        let mut kv = self.client.kv_client().max_decoding_message_size(MAX_ANSWER);
        let got = kv.get(prefix.as_str(), Some(GetOptions::new().with_prefix())).await;
        let got = got.map_err(|e| failure(&self.config, &e))?;
        let mut contents = Contents::default();
        for pair in got.kvs() {
            let path = String::from_utf8_lossy(pair.key());
            contents.add(&path[prefix.len()..], Ok(Zeroizing::new(pair.value().to_vec())));
        }
        self.revision = got.header().ok_or_else(|| EtcdFailure::new("an answer without a header"))?.revision();
        Ok(contents)
    }

    /// Waits until a secret was put or deleted since the last read, or [`RESYNC`] is over. The call can be dropped and made
    /// again.
    ///
    /// # Errors
    /// The watch has ended.
    pub async fn changed(&mut self) -> Result<(), EtcdFailure> {
        let prefix = self.config.prefix();
        let watch = match &mut self.watch {
            Some(watch) => watch,
            None => {
                let options = WatchOptions::new().with_prefix().with_start_revision(self.revision + 1);
                let mut watcher = self.client.watch_client().max_decoding_message_size(MAX_ANSWER);
                let watch = within(watcher.watch(prefix.as_str(), Some(options))).await?;
                self.watch.insert(watch.map_err(|e| failure(&self.config, &e))?)
            }
        };
        loop {
            let Ok(message) = timeout(RESYNC, watch.message()).await else { return Ok(()) };
            let message = message.map_err(|e| failure(&self.config, &e))?;
            let message = message.ok_or_else(|| EtcdFailure::new("the connection was closed"))?;
            // The stream reports a compaction once, and is silent for ever after it.
            if message.compact_revision() > 0 {
                let before = message.compact_revision();
                return Err(EtcdFailure::new(format!("the history before revision {before} was compacted")));
            }
            if message.canceled() {
                return Err(EtcdFailure::new(format!("cancelled: {}", message.cancel_reason())));
            }
            let ours = |key: &[u8]| {
                let path = key.strip_prefix(prefix.as_bytes()).and_then(|p| std::str::from_utf8(p).ok());
                path.is_some_and(|p| SecretName::parse(p).is_some())
            };
            if message.events().iter().filter_map(|e| e.kv()).any(|kv| ours(kv.key())) {
                return Ok(());
            }
        }
    }

    /// Stores a secret, and returns its key.
    pub async fn put(&self, name: &SecretName, value: &[u8]) -> Result<String, EtcdFailure> {
        let key = format!("{}{name}", self.config.prefix());
        let put = self.client.kv_client().put(key.as_str(), value, None).await;
        put.map(|_| key).map_err(|e| failure(&self.config, &e))
    }

    /// Deletes a secret, and returns its key if there was one.
    pub async fn delete(&self, name: &SecretName) -> Result<Option<String>, EtcdFailure> {
        let key = format!("{}{name}", self.config.prefix());
        let deleted = self.client.kv_client().delete(key.as_str(), None).await;
        deleted.map(|answer| (answer.deleted() > 0).then_some(key)).map_err(|e| failure(&self.config, &e))
    }
}

fn failure(config: &EtcdConfig, error: &Error) -> EtcdFailure {
    let status = match error {
        Error::GRpcStatus(status) => status,
        Error::TransportError(e) => return EtcdFailure::of(e, config),
        e => return EtcdFailure::new(e.to_string()),
    };
    // A status without a source comes from etcd itself.
    if let Some(cause) = status.source() {
        return EtcdFailure::of(cause, config);
    }
    let why = status.message();
    // Source of the messages: etcd's api/v3rpc/rpctypes/error.go.
    match why.trim_start_matches("etcdserver: ") {
        "authentication failed, invalid user ID or password" => {
            EtcdFailure::todo(why, "check ETCD_USER and ETCD_PASSWORD")
        }
        "user name is empty" => EtcdFailure::anonymous(why),
        "permission denied" => EtcdFailure::todo(why, role(config)),
        "no leader" => EtcdFailure::todo(why, "are most members of its cluster away?"),
        _ => EtcdFailure::new(why),
    }
}
