//! Facts about the container, under the names that Salt's grains have.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minijinja::Value;

/// Returns the grains that templates of images use: the names of the host and of the distribution.
pub fn gather(root: &Path) -> Value {
    let release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let release: BTreeMap<&str, String> = release
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, shlex::split(value).unwrap_or_default().concat()))
        .collect();
    let of = |key: &str| release.get(key).cloned().unwrap_or_default();
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    let (os, family) = match of("ID").as_str() {
        "debian" => ("Debian".to_owned(), "Debian"),
        "ubuntu" => ("Ubuntu".to_owned(), "Debian"),
        "alpine" => ("Alpine".to_owned(), "Alpine"),
        "centos" => ("CentOS".to_owned(), "RedHat"),
        "fedora" => ("Fedora".to_owned(), "RedHat"),
        _ => (of("NAME"), "Linux"),
    };
    let version = of("VERSION_ID");
    let major = version.split('.').next().and_then(|major| major.parse::<i64>().ok());
    let (short, domain) = host.split_once('.').unwrap_or((&host, ""));
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as i64);
    Value::from_pairs([
        ("id", Value::from(host.as_str())),
        ("nodename", Value::from(host.as_str())),
        ("fqdn", Value::from(host.as_str())),
        ("host", Value::from(short)),
        ("localhost", Value::from(host.as_str())),
        ("domain", Value::from(domain)),
        ("kernel", Value::from("Linux")),
        ("kernelrelease", Value::from(system.release().to_string_lossy())),
        ("cpuarch", Value::from(system.machine().to_string_lossy())),
        ("num_cpus", Value::from(processors)),
        ("os", Value::from(os)),
        ("os_family", Value::from(family)),
        ("osfullname", Value::from(of("NAME"))),
        ("osfinger", Value::from(format!("{}-{version}", of("NAME")))),
        ("oscodename", Value::from(of("VERSION_CODENAME"))),
        ("osmajorrelease", major.map_or_else(|| Value::from(version.as_str()), Value::from)),
        ("osrelease", Value::from(version.as_str())),
        ("username", Value::from("root")),
        ("virtual", Value::from("container")),
    ])
}
