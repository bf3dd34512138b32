use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts};

use super::process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    /// It never becomes less, also when the daemon was restarted.
    Counter,
}

/// What is looked up when somebody asks, and shown once.
#[derive(Default)]
pub struct Page(Vec<MetricFamily>);

impl Page {
    /// Adds a family: its rows, each with the values of the labels.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not take.
    pub fn family<'a, const N: usize>(
        &mut self,
        kind: Kind,
        (name, help): (&str, &str),
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) -> prometheus::Result<()> {
        let opts = Opts::new(name, help);
        self.0.extend(match kind {
            Kind::Gauge => {
                let family = GaugeVec::new(opts, &labels)?;
                rows.into_iter().for_each(|(values, value)| family.with_label_values(&values).set(value));
                family.collect()
            }
            Kind::Counter => {
                let family = CounterVec::new(opts, &labels)?;
                rows.into_iter().for_each(|(values, value)| family.with_label_values(&values).inc_by(value));
                family.collect()
            }
        });
        Ok(())
    }

    /// Adds a gauge without labels.
    ///
    /// # Errors
    /// As [`Page::family`].
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        self.family(Kind::Gauge, (name, help), [], [([], value)])
    }

    /// Adds what the kernel knows of this process, as far as it tells.
    ///
    /// # Errors
    /// As [`Page::family`].
    pub fn process(&mut self) -> prometheus::Result<()> {
        let seen = process::look();
        self.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", seen.resident_bytes)?;
        self.gauge("process_open_fds", "Number of open file descriptors.", seen.open_fds)?;
        self.gauge("process_max_fds", "Maximum number of open file descriptors.", seen.max_fds)?;
        let start = ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
        self.gauge(start.0, start.1, seen.start_seconds)?;
        let cpu = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
        self.family(Kind::Counter, cpu, [], [([], seen.cpu_seconds)])
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.0.iter().filter(|family| !family.get_metric().is_empty()).cloned().collect()
    }
}
