use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{LogLine, QueueItem, shown};

/// Makes lines of events, and gives each to the sender to syslog and to standard error, as far as they are wanted.
#[derive(Default)]
pub(super) struct LineLayer {
    pub syslog: Option<SyslogQueue>,
    /// True if standard error gets each line as a JSON object.
    pub is_json: bool,
}

/// The sender's queue. Giving it a line never waits: lines that a full queue cannot take are dropped and counted.
pub(super) struct SyslogQueue {
    pub queue: mpsc::Sender<QueueItem>,
    pub dropped: Arc<AtomicU64>,
}

#[derive(Default)]
struct FieldVisitor {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl FieldVisitor {
    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", value) => self.message = shown(&value).into_owned(),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for FieldVisitor {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = FieldVisitor::default();
        attributes.record(&mut fields);
        // A span `job{id=…}` becomes `job=…` in a line.
        let named = |(name, value)| if matches!(name, "id" | "name") { (span.name(), value) } else { (name, value) };
        fields.others = fields.others.into_iter().map(named).collect();
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = FieldVisitor::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<FieldVisitor>() {
                for (name, value) in &outer.others {
                    if !fields.others.iter().any(|(known, _)| known == name) {
                        fields.others.push((name, value.clone()));
                    }
                }
            }
        }
        let line = LogLine {
            at: SystemTime::now(),
            level: *event.metadata().level(),
            message: fields.message,
            fields: fields.others,
        };
        if self.is_json {
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            // One write a line keeps lines whole. Nothing can be done if nobody reads standard error.
            let _ = std::io::stderr().lock().write_all(&text);
        }
        if let Some(SyslogQueue { queue, dropped }) = &self.syslog
            && queue.try_send(QueueItem::Line(line)).is_err()
        {
            dropped.fetch_add(1, Relaxed);
        }
    }
}
