use std::time::SystemTime;

use tokio::sync::oneshot;
use tracing::Level;

/// A log line for syslog.
#[derive(Debug, Clone)]
pub(super) struct LogLine {
    pub at: SystemTime,
    pub level: Level,
    pub message: String,
    /// The line's own fields, then those of the spans around it, each name once.
    pub fields: Vec<(&'static str, String)>,
}

/// An item of the sender's queue.
pub(super) enum QueueItem {
    Line(LogLine),
    /// A request that is answered when all lines before it are sent.
    Flush(oneshot::Sender<()>),
}
