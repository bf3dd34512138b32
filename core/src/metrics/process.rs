//! The figures that Prometheus' own libraries have of a process, from `/proc` (proc(5)).

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Figures of this process. One that the kernel does not give is 0.
#[derive(Debug, Default, PartialEq)]
pub struct ProcessStats {
    pub resident_bytes: f64,
    pub open_fds: f64,
    pub max_fds: f64,
    pub start_seconds: f64,
    pub cpu_seconds: f64,
}

impl ProcessStats {
    /// Reads the figures, which takes 0.1 ms.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
        Self {
            open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |files| files.count() as f64),
            max_fds: getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |max| max as f64),
            ..Self::parse(&stat, boot.unwrap_or_default())
        }
    }

    /// Parses `/proc/self/stat`. The fields, of which the first is field 3, come after the program's name, which may have
    /// spaces and parentheses in it.
    fn parse(stat: &str, boot_seconds: f64) -> Self {
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        let ticks = clock_ticks_per_second() as f64;
        Self {
            cpu_seconds: (field(14) + field(15)) / ticks,
            start_seconds: boot_seconds + field(22) / ticks,
            resident_bytes: field(24) * page_size() as f64,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 1000 999 7";
        let ticks = clock_ticks_per_second() as f64;
        for name in ["image-factory", "a) b (c) "] {
            let process = ProcessStats::parse(&format!("42 ({name}) {rest}"), 5.0);
            assert_eq!(process.cpu_seconds, 200.0 / ticks);
            assert_eq!(process.start_seconds, 5.0 + 1000.0 / ticks);
            assert_eq!(process.resident_bytes, 7.0 * page_size() as f64);
        }
        assert_eq!(ProcessStats::parse("", 0.0), ProcessStats::default());
    }

    #[test]
    fn this_process_has_figures() {
        let process = ProcessStats::read();
        assert!(process.resident_bytes > 1e6 && process.open_fds > 2.0 && process.max_fds > process.open_fds);
        assert!(process.start_seconds > 1.7e9, "{process:?}");
    }
}
