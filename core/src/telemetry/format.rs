use syslog_fmt::v5424::{Config, Formatter, write_data, write_nil_value};
use syslog_fmt::{Facility, Severity};
use tracing::Level;

use super::line::{LogLine, shown};

/// The longest message, in bytes. Receivers should take it (RFC 5424, 6.1), and a datagram carries it through any network.
const MAX: usize = 2048;
/// The longest value in the structured data, in bytes. A repository's name fits.
const MAX_VALUE: usize = 256;
/// The name of our structured data. 32473 is the number for senders without one of their own (RFC 5612).
const DATA: &str = "image-factory@32473";
/// The fields that the structured data repeats, because lines are searched by them.
const SEARCHABLE: [&str; 4] = ["job", "repo", "attempt", "stage"];

/// Formats lines for syslog.
#[derive(Clone)]
pub(super) struct Format {
    formatter: Formatter,
    tag: String,
}

impl Format {
    pub fn new(identifier: &str, host: &str, pid: u32) -> Self {
        let process = pid.to_string();
        let config = Config {
            facility: Facility::Daemon,
            hostname: Some(host),
            app_name: Some(identifier),
            proc_id: Some(&process),
        };
        Self { formatter: config.into_formatter(), tag: format!("{identifier}[{pid}]: ") }
    }

    /// Formats a line by RFC 5424, but without the byte order mark before UTF-8, because receivers show it.
    pub fn rfc_5424(&self, line: &LogLine) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let at = line.time();
        let searchable = SEARCHABLE.iter().filter_map(|name| line.fields.iter().find(|(known, _)| known == name));
        let searchable: Vec<_> = searchable.map(|(name, value)| (*name, shown(value))).collect();
        let data: Vec<(&str, &str)> = searchable.iter().map(|(name, value)| (*name, cut(value, MAX_VALUE))).collect();
        // Writing to a Vec cannot fail.
        let _ = self.formatter.write_header(&mut out, severity(line.level), at.as_str(), None);
        let _ = match data.is_empty() {
            true => write_nil_value(&mut out),
            false => write_data(&mut out, [(DATA, data)]),
        };
        out.push(b' ');
        finish(out, &text(line))
    }

    /// Formats a line in the older form (RFC 3164), as the C library writes it into `/dev/log`. The time is left out,
    /// because it has no year and no zone, and rsyslog and journald take it from their own clock.
    pub fn rfc_3164(&self, line: &LogLine) -> Vec<u8> {
        let priority = (Facility::Daemon as u8) | (severity(line.level) as u8);
        finish(format!("<{priority}>{}", self.tag).into_bytes(), &text(line))
    }
}

fn finish(mut out: Vec<u8>, text: &str) -> Vec<u8> {
    out.extend(cut(text, MAX.saturating_sub(out.len())).as_bytes());
    out
}

/// Returns `message name=value …` as one line.
fn text(line: &LogLine) -> String {
    let mut text = line.message.clone();
    for (name, value) in &line.fields {
        let value = shown(value);
        let bare = !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
        text += &if bare { format!(" {name}={value}") } else { format!(" {name}={value:?}") };
    }
    text.replace(|c: char| c.is_control(), " ")
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Err,
        Level::WARN => Severity::Warning,
        Level::INFO => Severity::Info,
        _ => Severity::Debug,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(message: &str, fields: &[(&'static str, &str)]) -> LogLine {
        LogLine {
            at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042),
            level: Level::WARN,
            message: message.into(),
            fields: fields.iter().map(|(name, value)| (*name, (*value).into())).collect(),
        }
    }

    fn both(line: &LogLine) -> (String, String) {
        let format = Format::new("image-factory", "ci", 42);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(format.rfc_5424(line)), text(format.rfc_3164(line)))
    }

    #[test]
    fn lines_in_both_forms() {
        let (new, old) = both(&line("it failed", &[("error", "no \"x\"\nhere"), ("repo", "a/b]"), ("job", "7")]));
        let data = r#"[image-factory@32473 job="7" repo="a/b\]"]"#;
        let text = r#"it failed error="no \"x\"\nhere" repo=a/b] job=7"#;
        assert_eq!(new, format!("<28>1 2023-11-14T22:13:20.000042Z ci image-factory 42 - {data} {text}"));
        assert_eq!(old, format!("<28>image-factory[42]: {text}"));
        let (new, _) = both(&line("two\nlines\u{7}", &[]));
        assert!(new.ends_with(" image-factory 42 - - two lines "), "{new}");
    }

    #[test]
    fn no_message_is_longer_than_a_receiver_takes() {
        let (new, old) = both(&line(&"ü".repeat(3000), &[("repo", &"ö".repeat(3000))]));
        assert!((MAX - 1..=MAX).contains(&new.len()) && (MAX - 1..=MAX).contains(&old.len()));
        assert!(new.contains("üü"));
    }
}
