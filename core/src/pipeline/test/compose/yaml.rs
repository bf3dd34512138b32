//! Reads what `docker-compose config` prints.
//!
//! compose 1 writes YAML 1.1 by PyYAML, compose 2 YAML 1.2 by go-yaml, and the result is given back to either as JSON. A
//! scalar without quotes is therefore a number only if both mean one: PyYAML leaves the texts `12e4567` (a short commit)
//! and `0o12` without quotes, which are numbers in YAML 1.2. Texts that are numbers in YAML 1.1 have quotes in both.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

/// Largest number of values. A file of a hundred lines can name a value in so many places that no memory holds them.
const LARGEST: usize = 200_000;
/// Depth to which lists and mappings may be nested, because each takes a part of the stack.
const DEEPEST: usize = 100;

/// Returns the one document of a text.
///
/// # Errors
/// A text that is no YAML, or too much of it.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), count: 0 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd => return Ok(Value::Null),
            first => return reader.value(first, 0),
        }
    }
}

struct Reader<'a, I: Iterator<Item = Result<(Event<'a>, saphyr_parser::Span), ScanError>>> {
    events: I,
    anchors: HashMap<usize, Value>,
    /// Number of values so far.
    count: usize,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, saphyr_parser::Span), ScanError>>> Reader<'a, I> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it ends too early".into()),
        }
    }

    /// Returns the value that begins with this event.
    fn value(&mut self, first: Event<'a>, depth: usize) -> Result<Value, String> {
        self.add(1)?;
        if depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} times"));
        }
        let (anchor, value) = match first {
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(&text, style)),
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break (anchor, Value::Array(list)),
                        item => list.push(self.value(item, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => {
                let mut map = Map::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => break (anchor, Value::Object(map)),
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return Err("a key is no text".into()),
                    };
                    let item = self.next()?;
                    map.insert(key, self.value(item, depth + 1)?);
                }
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().ok_or("an alias lacks its anchor")?;
                self.add(size(&value))?;
                return Ok(value);
            }
            _ => return Err("it has no value where one is due".into()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn add(&mut self, count: usize) -> Result<(), String> {
        self.count += count;
        if self.count > LARGEST {
            return Err(format!("it has more than {LARGEST} values"));
        }
        Ok(())
    }
}

/// Returns the number of values in a value.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = || digits.split_once('.').is_some_and(|(whole, part)| is_digits(whole) && is_digits(part));
    let number = || match text.parse::<i64>() {
        Ok(number) if digits == "0" || !digits.starts_with('0') => Some(number.into()),
        _ if is_decimal() => text.parse().ok().and_then(Number::from_f64),
        _ => None,
    };
    match text {
        _ if style != ScalarStyle::Plain => Value::String(text.into()),
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number().map_or_else(|| Value::String(text.into()), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_without_quotes_is_a_number_only_where_both_compose_mean_one() {
        let value = |text: &str| read(&format!("a: {text}")).unwrap()["a"].clone();
        for text in
            ["12e4567", "0o12", "012", "1.2.3", "12:30", "yes", ".5", "1_000", "2026-11-28", "99999999999999999999"]
        {
            assert_eq!(value(text), json!(text), "{text}");
        }
        assert_eq!(
            [value("8080"), value("-5"), value("0"), value("0.5")],
            [json!(8080), json!(-5), json!(0), json!(0.5)]
        );
        assert_eq!(
            [value("true"), value("null"), value(""), value("~")],
            [json!(true), json!(null), json!(null), json!(null)]
        );
        assert_eq!([value("'8080'"), value("\"true\""), value("''")], [json!("8080"), json!("true"), json!("")]);
        assert_eq!(value("|-\n  one\n  two"), json!("one\ntwo"));
    }

    #[test]
    fn an_alias_is_the_value_of_its_anchor() {
        let text = "a:\n  test: &id001\n  - CMD\n  - 'true'\nb:\n  test: *id001\n";
        assert_eq!(read(text).unwrap(), json!({ "a": { "test": ["CMD", "true"] }, "b": { "test": ["CMD", "true"] } }));
    }

    #[test]
    fn what_is_no_sane_document_is_refused() {
        let laughs = (1..20).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let former = format!("*a{}", n - 1);
            text + &format!("a{n}: &a{n} [{former}, {former}, {former}, {former}]\n")
        });
        let errors =
            [&*laughs, &"[".repeat(5000), &"- ".repeat(200), "a: [", "? [a]\n: b\n"].map(|text| read(text).is_err());
        assert_eq!(errors, [true; 5]);
        assert_eq!(read("").unwrap(), Value::Null);
    }
}
