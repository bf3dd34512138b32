//! Writes YAML byte by byte as PyYAML 6 does by libyaml (`yaml/emitter.py`), because Salt's filters `yaml` and
//! `yaml_encode` end up in files that are compared.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::node::Ordered;
use super::resolve;
use crate::python;

/// Column behind which a line is broken.
const WIDTH: usize = 80;
/// Number of spaces of one level.
const STEP: usize = 2;
/// Longest key that stands before its colon on one line.
const SIMPLE_KEY: usize = 128;

/// The style of lists and mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// `{a: [1, 2]}`
    Inline,
    /// One line for each item.
    Block,
}

/// Returns the document of a value, without the line feed at its end. Keys are sorted.
pub fn dump(value: &Value, flow: Flow) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, level: 0, flow };
    match flow {
        Flow::Inline => emitter.inline(value, STEP, false),
        Flow::Block => emitter.block(value, 0, false),
    }
    emitter.out.trim().to_owned()
}

/// Returns a text between double quotes on one line.
pub fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let known =
            "\0\x07\x08\t\n\x0b\x0c\r\x1b\"\\\u{85}\u{a0}\u{2028}\u{2029}".chars().zip("0abtnvfre\"\\N_LP".chars());
        match known.into_iter().find(|(known, _)| *known == c) {
            Some((_, letter)) => out.extend(['\\', letter]),
            None if super::is_printable(c) && c != '\u{feff}' => out.push(c),
            None => {
                let number = u32::from(c);
                let _ = match number {
                    0..=0xff => write!(out, "\\x{number:02X}"),
                    0x100..=0xffff => write!(out, "\\u{number:04X}"),
                    _ => write!(out, "\\U{number:08X}"),
                };
            }
        }
    }
    out.push('"');
    out
}

/// Returns the pairs of a mapping in the order in which PyYAML writes them.
fn pairs(value: &Value) -> Vec<(Value, Value)> {
    match value.downcast_object_ref::<Ordered>() {
        Some(_) => as_is(value),
        None => sorted(value),
    }
}

fn as_is(value: &Value) -> Vec<(Value, Value)> {
    let keys = value.try_iter().into_iter().flatten();
    keys.map(|key| (key.clone(), value.get_item(&key).unwrap_or_default())).collect()
}

/// Returns the pairs of a mapping in the order of their keys.
pub fn sorted(value: &Value) -> Vec<(Value, Value)> {
    let mut pairs = as_is(value);
    // Python cannot compare a text with a number, and leaves such keys as they are.
    let kind = pairs.first().map(|(key, _)| key.kind());
    if pairs.iter().all(|(key, _)| Some(key.kind()) == kind) {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
    }
    pairs
}

struct Emitter {
    out: String,
    column: usize,
    /// Number of inline lists and mappings around.
    level: usize,
    flow: Flow,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn inline(&mut self, value: &Value, indent: usize, is_key: bool) {
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return self.scalar(value, indent, is_key);
        }
        self.level += 1;
        self.put(if is_map { "{" } else { "[" });
        let pairs = if is_map {
            pairs(value)
        } else {
            value.try_iter().into_iter().flatten().map(|item| (Value::UNDEFINED, item)).collect()
        };
        for (at, (key, item)) in pairs.iter().enumerate() {
            if at > 0 {
                self.put(",");
            }
            if self.column > WIDTH {
                self.line(indent);
            } else if at > 0 {
                self.put(" ");
            }
            if is_map {
                self.key(key, indent);
                self.put(" ");
            }
            self.inline(item, indent + STEP, false);
        }
        self.put(if is_map { "}" } else { "]" });
        self.level -= 1;
    }

    /// Writes a key and its colon.
    fn key(&mut self, key: &Value, indent: usize) {
        let text = python::text(key);
        if text.chars().count() < SIMPLE_KEY && !text.is_empty() && !text.contains('\n') {
            self.inline(key, indent + STEP, true);
        } else {
            self.put("? ");
            self.inline(key, indent + STEP, false);
            if self.level == 0 || self.column > WIDTH {
                self.line(indent);
            } else {
                self.put(" ");
            }
        }
        self.put(":");
    }

    fn block(&mut self, value: &Value, indent: usize, is_in_map: bool) {
        let is_empty = value.len() == Some(0);
        match value.kind() {
            ValueKind::Map if !is_empty && self.flow == Flow::Block => {
                for (at, (key, item)) in pairs(value).iter().enumerate() {
                    if at > 0 || is_in_map {
                        self.line(indent);
                    }
                    self.key(key, indent);
                    self.item(item, indent);
                }
            }
            ValueKind::Seq | ValueKind::Iterable if !is_empty => {
                for (at, item) in value.try_iter().into_iter().flatten().enumerate() {
                    if at > 0 || is_in_map {
                        self.line(indent);
                    }
                    self.put("- ");
                    self.block(&item, indent + STEP, false);
                }
            }
            _ => self.inline(value, indent + STEP, false),
        }
    }

    /// Writes the value of a key. A list stands as far left as its key.
    fn item(&mut self, item: &Value, indent: usize) {
        match item.kind() {
            ValueKind::Map if item.len() != Some(0) => self.block(item, indent + STEP, true),
            ValueKind::Seq | ValueKind::Iterable if item.len() != Some(0) => self.block(item, indent, true),
            _ => {
                self.put(" ");
                self.inline(item, indent + STEP, false);
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize, is_key: bool) {
        match value.kind() {
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), indent, is_key),
            ValueKind::None => self.put("null"),
            ValueKind::Undefined => self.put("'NULL'"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if !value.is_integer() => {
                let text = python::float(f64::try_from(value.clone()).unwrap_or_default());
                // YAML 1.1 has no number with an exponent and without a point.
                let text = match text.as_str() {
                    "inf" | "-inf" | "nan" => text.replace("inf", ".inf").replace("nan", ".nan"),
                    _ if !text.contains('.') => text.replacen('e', ".0e", 1),
                    _ => text,
                };
                self.put(&text);
            }
            _ => self.put(&value.to_string()),
        }
    }

    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        let Shape { plain, inline, single, lines } = Shape::of(text);
        let is_text = resolve::plain(text).is_some_and(|value| value.kind() == ValueKind::String)
            && !["=", "<<"].contains(&text)
            && !is_timestamp(text);
        if is_text && if self.level > 0 { inline } else { plain } {
            self.folded(text, indent, is_key);
        } else if single && !(is_key && lines) {
            self.put("'");
            self.folded(&text.replace('\'', "''"), indent, is_key);
            self.put("'");
        } else {
            self.double(text, indent, is_key);
        }
    }

    /// Writes a text, broken at single spaces behind the width. Line feeds are doubled.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let run = chars[at..].iter().take_while(|c| **c == chars[at]).count();
            let is_inner = at > 0 && at + run < chars.len();
            match chars[at] {
                ' ' if run == 1 && self.column > WIDTH && is_inner && !is_key => self.line(indent),
                '\n' => {
                    self.out.extend(std::iter::repeat_n('\n', run));
                    self.line(indent);
                }
                c => (0..run).for_each(|_| self.put(c.encode_utf8(&mut [0; 4]))),
            }
            at += run;
        }
    }

    fn double(&mut self, text: &str, indent: usize, is_key: bool) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        for (at, c) in chars.iter().enumerate() {
            let is_single = at > 0 && at + 1 < chars.len() && chars[at - 1] != ' ';
            if *c == ' ' && self.column > WIDTH && is_single && !is_key {
                self.line(indent);
                if chars[at + 1] == ' ' {
                    self.put("\\");
                }
            } else {
                let quoted = double_quoted(c.encode_utf8(&mut [0; 4]));
                self.put(&quoted[1..quoted.len() - 1]);
            }
        }
        self.put("\"");
    }
}

/// The styles that a text may have.
struct Shape {
    /// Without quotes, outside of inline lists and mappings.
    plain: bool,
    /// Without quotes within them.
    inline: bool,
    /// Between single quotes.
    single: bool,
    /// True if it has several lines.
    lines: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let is_blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, '\0' | ' ' | '\t' | '\r' | '\n' | '\u{85}'));
        let is_break = |c: char| matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let (mut block, mut flow) = (text.starts_with("---") || text.starts_with("..."), false);
        for (at, c) in chars.iter().enumerate() {
            let (before, after) = (at.checked_sub(1).and_then(|at| chars.get(at)), chars.get(at + 1));
            let (is_block, is_flow) = match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if at == 0 =>
                {
                    (true, true)
                }
                '?' if at == 0 => (is_blank(after), true),
                '-' if at == 0 => (is_blank(after), is_blank(after)),
                ':' => (is_blank(after), true),
                ',' | '?' | '[' | ']' | '{' | '}' => (false, true),
                '#' if is_blank(before) => (true, true),
                _ => (false, false),
            };
            block |= is_block;
            flow |= is_flow;
        }
        let is_special = |c: &char| {
            *c != '\n' && !matches!(c, ' '..='~') && (*c < '\u{85}' || !super::is_printable(*c) || *c == '\u{feff}')
        };
        let ends = [chars.first(), chars.last()];
        let is_bare = text.is_empty() || !ends.iter().flatten().any(|c| **c == ' ' || is_break(**c));
        let pairs = || chars.windows(2).map(|pair| (pair[0], pair[1]));
        let lines = chars.iter().any(|c| is_break(*c));
        let is_double = chars.iter().any(is_special) || pairs().any(|(a, b)| a == ' ' && is_break(b));
        let single = !is_double && !pairs().any(|(a, b)| is_break(a) && b == ' ');
        let plain = is_bare && single && !lines && !block;
        Self { plain, inline: plain && !flow && !text.is_empty(), single, lines }
    }
}

/// True if YAML 1.1 reads a date or a time: `2026-11-28`, or with a time behind it.
fn is_timestamp(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape == "0000-00-00" {
        return true;
    }
    let Some((date, time)) = shape.split_once(['T', 't', ' ', '\t']) else { return false };
    let date: Vec<&str> = date.split('-').collect();
    let is_short = |part: &&str| *part == "0" || *part == "00";
    let has_date =
        matches!(date.as_slice(), [year, rest @ ..] if *year == "0000" && rest.len() == 2 && rest.iter().all(is_short));
    let time = time.trim_start();
    has_date && (time.starts_with("00:00:00") || time.starts_with("0:00:00"))
}
