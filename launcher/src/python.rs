//! Values as Python prints them, because Salt's templates print them so.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

/// Returns what Python's `str()` makes of a value.
pub fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.to_string(),
        _ => repr(value),
    }
}

/// Returns what Python's `repr()` makes of a value. A text with line feeds within a mapping is quoted as in YAML, as
/// Salt prints it.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: &Value) {
    match value.kind() {
        ValueKind::String => quote(out, value.as_str().unwrap_or_default()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if !value.is_integer() => out.push_str(&float(number)),
            _ => out.push_str(&value.to_string()),
        },
        ValueKind::Map if value.try_iter().is_ok() => {
            out.push('{');
            for (at, key) in value.try_iter().into_iter().flatten().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write(out, &key);
                out.push_str(": ");
                let item = value.get_item(&key).unwrap_or_default();
                match item.as_str() {
                    Some(text) if text.contains(['\n', '\r', '\t']) => out.push_str(&crate::yaml::double_quoted(text)),
                    _ => write(out, &item),
                }
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable if value.try_iter().is_ok() => {
            let (open, close) = if value.is_tuple() { ('(', ")") } else { ('[', "]") };
            out.push(open);
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                write(out, &item);
                count += 1;
            }
            out.push_str(if value.is_tuple() && count == 1 { ",)" } else { close });
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// Writes a text between quotes.
fn quote(out: &mut String, text: &str) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if c == mark => out.extend(['\\', c]),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' | '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push(mark);
}

/// Returns the shortest text of a number, with an exponent below 1e-4 and from 1e16 on.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&power) {
        return format!("{number:?}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Splits a text into lines where Python's `splitlines` does.
pub fn lines(text: &str) -> Vec<&str> {
    let ends = ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(ends) {
        lines.push(&rest[..at]);
        let end = if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
