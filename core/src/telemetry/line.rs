use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::oneshot;
use tracing::Level;

/// A log line, for syslog or in JSON.
#[derive(Debug, Clone)]
pub(super) struct LogLine {
    pub at: SystemTime,
    pub level: Level,
    pub message: String,
    /// The line's own fields, then those of the spans around it, each name once.
    pub fields: Vec<(&'static str, Value)>,
}

impl LogLine {
    /// Returns the time by RFC 3339, in UTC and with microseconds; `-`, syslog's nil value, for a time beyond all years.
    pub fn time(&self) -> String {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
        OffsetDateTime::from(self.at).format(&format).unwrap_or_else(|_| "-".into())
    }
}

/// Returns a field as a text.
pub(super) fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

impl Serialize for LogLine {
    /// Writes one object: `time`, `level` in small letters, `message`, and the fields by their names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let level = self.level.as_str().to_ascii_lowercase();
        let own = [("time", self.time().into()), ("level", level.into()), ("message", self.message.as_str().into())];
        serializer.collect_map(own.iter().chain(&self.fields).map(|(name, value)| (name, value)))
    }
}

/// An item of the sender's queue.
pub(super) enum QueueItem {
    Line(LogLine),
    /// A request that is answered when all lines before it are sent.
    Flush(oneshot::Sender<()>),
}
