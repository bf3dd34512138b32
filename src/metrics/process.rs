//! What Prometheus' own libraries tell of a process, from `/proc` (proc(5)).

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// 0 where the kernel does not tell.
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    pub resident_bytes: f64,
    pub open_fds: f64,
    pub max_fds: f64,
    pub start_seconds: f64,
    pub cpu_seconds: f64,
}

/// 0.1 ms.
pub fn look() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok());
    Process {
        open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |files| files.count() as f64),
        max_fds: getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |max| max as f64),
        ..of_stat(&stat, boot.unwrap_or_default())
    }
}

/// The fields come after the program's name, which may have spaces and parentheses in it; the first is field 3.
fn of_stat(stat: &str, boot_seconds: f64) -> Process {
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    let ticks = clock_ticks_per_second() as f64;
    Process {
        cpu_seconds: (field(14) + field(15)) / ticks,
        start_seconds: boot_seconds + field(22) / ticks,
        resident_bytes: field(24) * page_size() as f64,
        ..Process::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_parentheses_moves_no_field() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 1000 999 7";
        let ticks = clock_ticks_per_second() as f64;
        for name in ["image-factory", "a) b (c) "] {
            let process = of_stat(&format!("42 ({name}) {rest}"), 5.0);
            assert_eq!(process.cpu_seconds, 200.0 / ticks);
            assert_eq!(process.start_seconds, 5.0 + 1000.0 / ticks);
            assert_eq!(process.resident_bytes, 7.0 * page_size() as f64);
        }
        assert_eq!(of_stat("", 0.0), Process::default());
    }

    #[test]
    fn this_process_is_told() {
        let process = look();
        assert!(process.resident_bytes > 1e6 && process.open_fds > 2.0 && process.max_fds > process.open_fds);
        assert!(process.start_seconds > 1.7e9, "{process:?}");
    }
}
