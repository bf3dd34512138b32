//! JSON as Python's `json` writes it.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::{python, yaml};

/// The choices of a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    pub sort_keys: bool,
    /// Number of spaces of a level, on lines of their own.
    pub indent: Option<usize>,
    /// Writes characters outside of ASCII as `\u00e9`.
    pub ascii: bool,
}

/// Returns the text of a value.
pub fn dump(value: &Value, style: Style) -> String {
    let mut out = String::new();
    write(&mut out, value, style, 0);
    out
}

fn write(out: &mut String, value: &Value, style: Style, level: usize) {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    let comma = |out: &mut String, at: usize| {
        if at > 0 {
            out.push_str(if style.indent.is_some() { "," } else { ", " });
        }
        line(out, level + 1);
    };
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if !value.is_integer() => {
            let text = python::float(f64::try_from(value.clone()).unwrap_or_default());
            out.push_str(&text.replace("inf", "Infinity").replace("nan", "NaN"));
        }
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::Map => {
            let pairs = if style.sort_keys {
                yaml::sorted(value)
            } else {
                let keys = value.try_iter().into_iter().flatten();
                keys.map(|key| (key.clone(), value.get_item(&key).unwrap_or_default())).collect()
            };
            out.push('{');
            for (at, (key, item)) in pairs.iter().enumerate() {
                comma(out, at);
                let key = match key.kind() {
                    ValueKind::String => key.to_string(),
                    _ => dump(key, style),
                };
                quote(out, &key, style.ascii);
                out.push_str(": ");
                write(out, item, style, level + 1);
            }
            if !pairs.is_empty() {
                line(out, level);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut is_empty = true;
            for (at, item) in value.try_iter().into_iter().flatten().enumerate() {
                is_empty = false;
                comma(out, at);
                write(out, &item, style, level + 1);
            }
            if !is_empty {
                line(out, level);
            }
            out.push(']');
        }
        _ => quote(out, &value.to_string(), style.ascii),
    }
}

fn quote(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            _ if c < ' ' || (ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
