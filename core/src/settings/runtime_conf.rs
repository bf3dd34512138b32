//! `runtime.conf` of containerops/generator, an ini file: which of its keys is which setting. Libraries for ini files do not
//! say in which line a key is, and every error of a setting names its line.

use std::collections::BTreeMap;

use super::env_file::set_twice;
use super::error::SettingError;
use super::toml_file::FileEntry;

/// Keys that are passed over, each with its section and with what has its place.
const PASSED_OVER: [(&str, &str, &str); 6] = [
    ("", "runmode", "RUST_LOG says what is logged"),
    ("log", "filepath", "the log goes to standard error and to SYSLOG"),
    ("db", "uri", "jobs and logs are in DATA_DIR, without Redis"),
    ("db", "passwd", "jobs and logs are in DATA_DIR, without Redis"),
    ("db", "db", "jobs and logs are in DATA_DIR, without Redis"),
    ("generator", "dockerfilepath", "Dockerfiles are kept with their jobs"),
];

/// Keys that are settings.
const SETTINGS: [(&str, &str, &str); 3] =
    [("generator", "genurl", "DOCKER_REPO_BASE"), ("", "httpscertfile", "TLS_CERT"), ("", "httpskeyfile", "TLS_KEY")];

/// Returns true if a file with this name is such a file, and not one in TOML.
pub(super) fn is_named_so(path: &str) -> bool {
    [".conf", ".ini"].iter().any(|end| path.ends_with(end))
}

/// A value and its line, from 1.
type IniValue = (String, usize);

/// The settings from elsewhere that beat the file. They are known before it is read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct BesideFile {
    /// True if LISTEN is a socket's path.
    pub has_socket: bool,
    /// True if TLS_CERT, TLS_KEY or CERT_PATH is set.
    pub has_certificate: bool,
}

/// Reads the file into settings. The warnings name the keys that are passed over, and never their values, because one is a
/// password.
pub(super) fn parse(
    path: &str,
    text: &str,
    beside: BesideFile,
    errors: &mut Vec<SettingError>,
    warnings: &mut Vec<String>,
) -> Vec<FileEntry> {
    let mut entries = Vec::new();
    let keys = read(path, text, errors, warnings);
    let mode = keys.get(&("".into(), "listenmode".into()));
    let is_https = mode.is_some_and(|(mode, _)| mode == "https");
    let is_set = |key: &str| keys.get(&(String::new(), key.into())).is_some_and(|(value, _)| !value.is_empty());
    let has_certificate = beside.has_certificate || is_set("httpscertfile") && is_set("httpskeyfile");
    let mut in_order: Vec<_> = keys.iter().collect();
    in_order.sort_by_key(|(_, (_, line))| *line);
    for ((section, key), (value, line)) in in_order {
        let is = |row: &&(&str, &str, &str)| row.0 == section && row.1 == key;
        let setting = SETTINGS.iter().find(is).map(|row| row.2);
        let mut entry =
            |name: &str, value: &str| entries.push(FileEntry { name: name.into(), value: value.into(), line: *line });
        if let Some(row) = PASSED_OVER.iter().find(is) {
            warnings.push(format!("{path}:{line}: {key} is passed over: {}", row.2));
        } else if setting.is_some_and(|name| name.starts_with("TLS_")) && !is_https {
            warnings.push(format!("{path}:{line}: {key} is passed over: it counts with listenmode = https alone"));
        } else if let Some(name) = setting {
            entry(name, value);
        } else if section.is_empty() && key == "listenmode" {
            match value.as_str() {
                "http" => {}
                "https" if has_certificate => entry("LISTEN", "0.0.0.0:443"),
                "https" => errors.push(SettingError::new(
                    ["TLS_CERT", "TLS_KEY"],
                    format!(
                        "{path}:{line}: listenmode = https names no certificate: set httpscertfile and httpskeyfile"
                    ),
                )),
                "unix" if beside.has_socket => {}
                "unix" => errors.push(SettingError::new(
                    ["LISTEN"],
                    format!("{path}:{line}: listenmode = unix names no socket: set LISTEN=unix:/PATH beside the file"),
                )),
                _ => errors.push(SettingError::new(
                    ["LISTEN"],
                    format!("{path}:{line}: listenmode is not valid: it must be http, https or unix"),
                )),
            }
        } else {
            let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
            let why = format!("{key}{place} is no key of runtime.conf: docs/from-generator.md lists them");
            errors.push(SettingError::new([], format!("{path}:{line}: {why}")));
        }
    }
    entries
}

/// Returns the values by section and key, both in lower case; the section is empty before the first one is named.
fn read(
    path: &str,
    text: &str,
    errors: &mut Vec<SettingError>,
    warnings: &mut Vec<String>,
) -> BTreeMap<(String, String), IniValue> {
    let (mut keys, mut section) = (BTreeMap::<_, IniValue>::new(), String::new());
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_lowercase();
        } else if let Some((key, value)) = content.split_once('=') {
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            let key = key.trim().to_lowercase();
            if let Some((_, former)) = keys.insert((section.clone(), key.clone()), (value.to_owned(), line)) {
                warnings.push(set_twice(path, &key, former, line));
            }
        } else {
            // The line may be a secret in the wrong place, so it is not shown.
            errors.push(SettingError::of_file(format!("{path}:{line}: this is neither KEY = VALUE nor [SECTION]")));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the settings, errors and warnings of a file, one a line.
    fn read(text: &str, beside: BesideFile) -> String {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let entries = parse("runtime.conf", text, beside, &mut errors, &mut warnings);
        let entries = entries.iter().map(|entry| format!("{}={} (line {})", entry.name, entry.value, entry.line));
        let errors = errors.iter().map(|error| format!("error: {error}"));
        let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
        entries.chain(errors).chain(warnings).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_key_has_its_fate() {
        let nothing = BesideFile::default();
        let sample = "runmode = dev\n\nlistenmode = https\nhttpscertfile = \"/etc/tls/cert.pem\"\nhttpskeyfile=/etc/tls/key.pem\n\
            [log]\nfilepath = log/containerops.log\n; a comment\n[db]\nuri = localhost:6379\npasswd = containerops\ndb = 2\n\
            [Generator]\nGenURL = containerops.me\ndockerfilepath = /tmp\n";
        insta::assert_snapshot!("fates", read(sample, nothing));
        assert_eq!(read("listenmode = http\n[generator]\ngenurl = \n", nothing), "DOCKER_REPO_BASE= (line 3)");
        assert_eq!(read("listenmode = unix\n", BesideFile { has_socket: true, ..nothing }), "");
        insta::assert_snapshot!("no_socket", read("listenmode = unix\nhttpskeyfile = k\n", nothing));
        for text in ["listenmode = https\n", "listenmode = https\nhttpscertfile =\nhttpskeyfile = \"\"\n"] {
            let read = read(text, nothing);
            let why = "listenmode = https names no certificate: set httpscertfile and httpskeyfile";
            assert!(read.contains(&format!("error: runtime.conf:1: {why}")) && !read.contains("LISTEN"), "{read}");
        }
        assert_eq!(
            read("[generator]\ngenurl = a\nGenURL = b\n", nothing),
            "DOCKER_REPO_BASE=b (line 3)\nwarning: runtime.conf:3: genurl is set again, so that line 2 has no effect: keep \
             one of the two lines"
        );
        let elsewhere = BesideFile { has_certificate: true, ..nothing };
        assert_eq!(read("listenmode = https\n", elsewhere), "LISTEN=0.0.0.0:443 (line 1)");
        let wrong = "listenmode = tcp\ninclude runtime.conf\n[db]\nuser = x\nport = 1\n";
        insta::assert_snapshot!("wrong_keys", read(wrong, nothing));
    }
}
