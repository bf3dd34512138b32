use std::error::Error as _;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, WatchOptions, WatchStream};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::source::Contents;
use super::{Name, SecretsError};

/// A get takes half a millisecond; what is not there after this hangs.
const REQUEST: Duration = Duration::from_secs(5);
/// A peer that hangs without closing the connection is noticed after 15 s. etcd refuses clients that ask more often
/// than every 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// Everything is read again this often, should a watch have fallen silent.
const RESYNC: Duration = Duration::from_secs(300);
/// The range read is shared with other programs: gRPC's own limit of 4 MiB could be theirs.
const MAX_ANSWER: usize = 64 << 20;

/// etcd's API v3.
pub struct Etcd {
    /// One is spoken to at a time: etcd-client's own balancing has no failover (35 % of the calls fail while one of two
    /// members is down).
    endpoints: Vec<String>,
    /// `/totem/`: with the slash, else `/totemX` would match.
    prefix: String,
    /// Boxed: a client is 4 KB.
    link: Option<Box<Link>>,
    failures: u32,
}

/// A connection to one member.
struct Link {
    client: Client,
    watch: WatchStream,
}

impl Etcd {
    pub fn new(endpoints: &[String], base: &str) -> Self {
        let prefix = match base.trim_matches('/') {
            "" => "/".into(),
            base => format!("/{base}/"),
        };
        Self { endpoints: endpoints.to_vec(), prefix, link: None, failures: 0 }
    }

    /// List, then watch from the revision after it; on any error, cancel or silence from the beginning, so nothing
    /// depends on what a watch says beyond "something changed".
    pub async fn next(&mut self) -> Result<Contents, SecretsError> {
        if let Some(link) = &mut self.link {
            let changed = async {
                link.changed(&self.prefix).await?;
                read(&link.client, &self.prefix).await
            };
            match changed.await {
                Ok((contents, _)) => {
                    self.failures = 0;
                    return Ok(contents);
                }
                Err(why) => {
                    tracing::debug!("the watch on etcd ended: {why}");
                    self.link = None;
                    // Counted until something arrives: a watch that ends at once must not make a busy loop.
                    self.failures += 1;
                }
            }
        }
        sleep(pause(self.failures)).await;
        match self.link().await {
            Ok((link, contents)) => {
                self.link = Some(Box::new(link));
                Ok(contents)
            }
            Err(e) => {
                self.failures += 1;
                Err(e)
            }
        }
    }

    pub async fn put(&self, name: &Name, value: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
        let key = format!("{}{name}", self.prefix);
        let mut reasons = Vec::new();
        for endpoint in &self.endpoints {
            let put = async {
                let client = connect(endpoint).await?;
                answer(client.kv_client().put(key.as_str(), value.as_slice(), None)).await
            };
            match put.await {
                Ok(_) => return Ok(format!("{key} in etcd")),
                Err(why) => reasons.push(format!("{endpoint}: {why}")),
            }
        }
        Err(away("written", &reasons))
    }

    async fn link(&self) -> Result<(Link, Contents), SecretsError> {
        let mut reasons = Vec::new();
        for endpoint in &self.endpoints {
            match Link::new(endpoint, &self.prefix).await {
                Ok(linked) => return Ok(linked),
                Err(why) => reasons.push(format!("{endpoint}: {why}")),
            }
        }
        Err(away("read", &reasons))
    }
}

impl Link {
    async fn new(endpoint: &str, prefix: &str) -> Result<(Self, Contents), String> {
        let client = connect(endpoint).await?;
        let (contents, revision) = read(&client, prefix).await?;
        Ok((Self::watch(client, prefix, revision + 1).await?, contents))
    }

    async fn watch(client: Client, prefix: &str, revision: i64) -> Result<Self, String> {
        let options = WatchOptions::new().with_prefix().with_start_revision(revision);
        let mut watcher = client.watch_client().max_decoding_message_size(MAX_ANSWER);
        let watch = answer(watcher.watch(prefix, Some(options))).await?;
        Ok(Self { client, watch })
    }

    /// Returns when one of our keys was put or deleted, or it is time to look; an error when the watch has ended.
    async fn changed(&mut self, prefix: &str) -> Result<(), String> {
        loop {
            let Ok(message) = timeout(RESYNC, self.watch.message()).await else { return Ok(()) };
            let message = message.map_err(reason)?.ok_or("the connection was closed")?;
            // After a compaction the stream says so once and then falls silent for ever.
            if message.compact_revision() > 0 {
                return Err(format!("the history before revision {} was compacted", message.compact_revision()));
            }
            if message.canceled() {
                return Err(format!("cancelled: {}", message.cancel_reason()));
            }
            let ours = |key: &[u8]| {
                let path = key.strip_prefix(prefix.as_bytes()).and_then(|p| std::str::from_utf8(p).ok());
                path.is_some_and(|p| Name::parse(p).is_some())
            };
            if message.events().iter().filter_map(|e| e.kv()).any(|kv| ours(kv.key())) {
                return Ok(());
            }
        }
    }
}

async fn connect(endpoint: &str) -> Result<Client, String> {
    let options = ConnectOptions::new()
        .with_connect_timeout(REQUEST)
        .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
        .with_keep_alive_while_idle(true)
        // Else the watch on a member that lost its cluster would stay open and silent.
        .with_require_leader(true);
    answer(Client::connect([endpoint], Some(options))).await
}

/// All below the prefix, and the revision it is of.
async fn read(client: &Client, prefix: &str) -> Result<(Contents, i64), String> {
    let mut kv = client.kv_client().max_decoding_message_size(MAX_ANSWER);
    let got = answer(kv.get(prefix, Some(GetOptions::new().with_prefix()))).await?;
    let mut contents = Contents::default();
    for pair in got.kvs() {
        let path = String::from_utf8_lossy(pair.key());
        contents.add(&path[prefix.len()..], Ok(Zeroizing::new(pair.value().to_vec())));
    }
    Ok((contents, got.header().ok_or("an answer without a header")?.revision()))
}

async fn answer<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(REQUEST, call).await {
        Ok(answer) => answer.map_err(reason),
        Err(_) => Err(format!("no answer within {} s", REQUEST.as_secs())),
    }
}

fn away(done: &str, reasons: &[String]) -> SecretsError {
    SecretsError(format!(
        "etcd cannot be {done} ({}): is it running, and are ETCD_HOST and ETCD_PORT right?",
        reasons.join("; ")
    ))
}

/// etcd-client says "transport error" only; what it was is at the end of the chain.
fn reason(e: Error) -> String {
    let Error::GRpcStatus(status) = &e else { return e.to_string() };
    let mut reason = status.message().to_owned();
    let mut cause = status.source();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

/// Nothing the first time, then from 0.1 s, doubled up to 10 s; each between a half and the whole of it, so that many
/// daemons do not come back together.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let longest = Duration::from_millis(200 << doublings.min(10)).min(Duration::from_secs(10));
    let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    longest.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests;
