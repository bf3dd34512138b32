use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::line::{LogLine, QueueItem};

/// Puts log lines into the sender's queue. It never waits: lines that a full queue cannot take are dropped and counted.
pub(super) struct SyslogLayer {
    pub queue: mpsc::Sender<QueueItem>,
    pub dropped: Arc<AtomicU64>,
}

#[derive(Default)]
struct FieldVisitor {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for FieldVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for SyslogLayer {
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
        if self.queue.try_send(QueueItem::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}
