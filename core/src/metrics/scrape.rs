use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts};

use super::process::ProcessStats;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Gauge,
    /// A value that never decreases, even when the daemon restarts.
    Counter,
}

/// Metrics that are looked up for one scrape and shown once.
#[derive(Default)]
pub struct Scrape(Vec<MetricFamily>);

impl Scrape {
    /// Adds a family of rows, each with the values of the labels.
    ///
    /// # Errors
    /// A name or a label that Prometheus does not take.
    pub fn family<'a, const N: usize>(
        &mut self,
        kind: MetricKind,
        (name, help): (&str, &str),
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) -> prometheus::Result<()> {
        let opts = Opts::new(name, help);
        self.0.extend(match kind {
            MetricKind::Gauge => {
                let family = GaugeVec::new(opts, &labels)?;
                rows.into_iter().for_each(|(values, value)| family.with_label_values(&values).set(value));
                family.collect()
            }
            MetricKind::Counter => {
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
    /// The same as those of [`Scrape::family`].
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        self.family(MetricKind::Gauge, (name, help), [], [([], value)])
    }

    /// Adds the metrics that Prometheus' own libraries have of a process.
    ///
    /// # Errors
    /// The same as those of [`Scrape::family`].
    pub fn process(&mut self) -> prometheus::Result<()> {
        let seen = ProcessStats::read();
        self.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", seen.resident_bytes)?;
        self.gauge("process_open_fds", "Number of open file descriptors.", seen.open_fds)?;
        self.gauge("process_max_fds", "Maximum number of open file descriptors.", seen.max_fds)?;
        let start = ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
        self.gauge(start.0, start.1, seen.start_seconds)?;
        let cpu = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
        self.family(MetricKind::Counter, cpu, [], [([], seen.cpu_seconds)])
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.0.iter().filter(|family| !family.get_metric().is_empty()).cloned().collect()
    }
}
