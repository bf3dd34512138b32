//! The filters that Salt adds to Jinja.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use regex_lite::{Captures, Regex, RegexBuilder};
use sha2::Digest;

use crate::json::{self, Style};
use crate::python;
use crate::yaml::{self, Flow};

/// Largest text that is searched by a regular expression, which takes time by its size.
const LARGEST_SEARCHED: usize = 256 << 10;

/// Largest `indent` of JSON, and largest width of a field of `format`, because no step of a template counts for them.
const WIDEST: usize = 1000;

/// Adds the filters.
pub fn add(env: &mut Environment<'_>) {
    env.add_filter("json", |value: &Value, options: Kwargs| -> Result<String, Error> {
        let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(true);
        Ok(json::dump(defined(value)?, Style { sort_keys, indent: indent(&options)?, ascii: false }))
    });
    env.add_filter("tojson", |value: &Value, options: Kwargs| -> Result<String, Error> {
        let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        let text = json::dump(defined(value)?, Style { sort_keys, indent: indent(&options)?, ascii: true });
        let hidden = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")];
        Ok(hidden.iter().fold(text, |text, (c, code)| text.replace(*c, code)))
    });
    env.add_filter("yaml", |value: &Value, flow: Option<bool>| -> Result<String, Error> {
        Ok(yaml::dump(defined(value)?, if flow.unwrap_or(true) { Flow::Inline } else { Flow::Block }))
    });
    env.add_filter("dict_to_sls_yaml_params", |value: &Value| -> Result<String, Error> {
        let keys = defined(value)?.try_iter().into_iter().flatten();
        let items = keys.map(|key| Value::from_pairs([(key.clone(), value.get_item(&key).unwrap_or_default())]));
        Ok(yaml::dump(&items.collect(), Flow::Block))
    });
    env.add_filter("yaml_encode", |value: &Value| match defined(value)?.kind() {
        ValueKind::String => Ok(yaml::double_quoted(value.as_str().unwrap_or_default())),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => Err(invalid("yaml_encode takes no list or mapping")),
        _ => Ok(yaml::dump(value, Flow::Inline)),
    });
    env.add_filter("yaml_dquote", |value: &Value| -> Result<String, Error> {
        Ok(yaml::double_quoted(&python::text(defined(value)?)))
    });
    env.add_filter("yaml_squote", |value: &Value| -> Result<String, Error> {
        Ok(format!("'{}'", python::text(defined(value)?).replace('\'', "''")))
    });
    env.add_filter("load_yaml", |text: &str| load(text));
    env.add_filter("load_json", |text: &str| load(text));
    env.add_filter("load_text", |text: &str| text.to_owned());
    env.add_filter("string", |value: &Value| -> Result<String, Error> { Ok(python::text(defined(value)?)) });
    add_numbers(env);
    env.add_filter("quote", |text: &str| {
        // Python's `shlex.quote`.
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        if !text.is_empty() && text.chars().all(is_safe) {
            text.to_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\"'\"'"))
        }
    });
    env.add_filter("to_bool", |value: &Value| match value.kind() {
        ValueKind::Bool => value.is_true(),
        ValueKind::String => ["yes", "1", "true"].contains(&value.to_string().to_lowercase().as_str()),
        ValueKind::Number => value.as_i64().is_some_and(|number| number > 0),
        _ => value.len().is_some_and(|length| length > 0),
    });
    env.add_filter("sequence", |value: Value| match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => value,
        _ => Value::from(vec![value]),
    });
    env.add_filter("md5", |text: &str| hex(&md5::Md5::digest(text.as_bytes())));
    env.add_filter("sha1", |text: &str| hex(&sha1::Sha1::digest(text.as_bytes())));
    env.add_filter("sha256", |text: &str| hex(&sha2::Sha256::digest(text.as_bytes())));
    env.add_filter("sha512", |text: &str| hex(&sha2::Sha512::digest(text.as_bytes())));
    env.add_filter("base64_encode", |text: &str| STANDARD.encode(text.as_bytes()));
    add_sets(env);
    add_expressions(env);
    env.add_function("raise", |text: &str| -> Result<Value, Error> { Err(invalid(text.to_owned())) });
}

/// Adds `int` and `float`, which take anything: what is no number is the default (jinja2/filters.py, `do_int`).
fn add_numbers(env: &mut Environment<'_>) {
    env.add_filter("int", |value: &Value, default: Option<Value>, base: Option<u32>, options: Kwargs| {
        let default = match options.get::<Option<Value>>("default")?.or(default) {
            Some(default) => default,
            None => 0.into(),
        };
        let base = options.get::<Option<u32>>("base")?.or(base).unwrap_or(10);
        options.assert_all_used()?;
        let found = match defined(value)?.kind() {
            ValueKind::String => whole(value.as_str().unwrap_or_default(), base),
            ValueKind::Bool => Some(i128::from(value.is_true())),
            _ => i128::try_from(value.clone()).ok().or_else(|| truncated(f64::try_from(value.clone()).ok()?)),
        };
        // A number that fits is printed and compared as any other.
        Ok::<_, Error>(found.map_or(default, |n| i64::try_from(n).map_or_else(|_| n.into(), Value::from)))
    });
    env.add_filter("float", |value: &Value, default: Option<Value>, options: Kwargs| {
        let default = match options.get::<Option<Value>>("default")?.or(default) {
            Some(default) => default,
            None => 0.0.into(),
        };
        options.assert_all_used()?;
        let found = match defined(value)?.as_str() {
            Some(text) => text.trim().parse().ok(),
            None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
            None => f64::try_from(value.clone()).ok(),
        };
        Ok::<_, Error>(found.map_or(default, |number: f64| number.into()))
    });
}

/// Returns the whole number that a text has in this base, or that is left of its fraction.
fn whole(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (is_negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let own = match digits.get(..2).unwrap_or_default().to_ascii_lowercase().as_str() {
        "0x" => 16,
        "0o" => 8,
        "0b" => 2,
        _ => 0,
    };
    let (digits, base) = match (base, own) {
        (0, 0) => (digits, 10),
        (0, own) => (&digits[2..], own),
        (base, own) if base == own => (&digits[2..], own),
        (base, _) => (digits, base),
    };
    let is_plain = !digits.starts_with(['_', '-', '+']) && !digits.ends_with('_') && !digits.contains("__");
    let number = (2..=36).contains(&base).then(|| i128::from_str_radix(&digits.replace('_', ""), base).ok()).flatten();
    let number = number.filter(|_| is_plain).map(|number| if is_negative { -number } else { number });
    number.or_else(|| truncated(text.parse().ok()?))
}

fn truncated(number: f64) -> Option<i128> {
    number.is_finite().then_some(number as i128)
}

/// Begin of the error of a filter that takes something undefined.
pub const UNDEFINED: &str = "what a filter takes is undefined";

/// Returns a value in which everything is defined.
fn defined(value: &Value) -> Result<&Value, Error> {
    let is_defined = match value.kind() {
        ValueKind::Undefined => false,
        ValueKind::Seq => value.try_iter()?.all(|item| defined(&item).is_ok()),
        ValueKind::Map => value.try_iter()?.all(|key| defined(&value.get_item(&key).unwrap_or_default()).is_ok()),
        _ => true,
    };
    if is_defined { Ok(value) } else { Err(Error::new(ErrorKind::UndefinedError, UNDEFINED)) }
}

fn indent(options: &Kwargs) -> Result<Option<usize>, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > WIDEST) {
        return Err(invalid(format!("an indent has at most {WIDEST} spaces")));
    }
    Ok(indent)
}

/// Calls a method of Python's texts, lists and mappings.
pub fn call_method(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if method == "format" && value.as_str().is_some_and(|text| has_wide_field(text, args)) {
        return Err(invalid(format!("a field of `format` has at most {WIDEST} characters")));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// Returns true if a number in a field of a text for `format`, or one that a field inside a field takes, is too large.
fn has_wide_field(text: &str, args: &[Value]) -> bool {
    let (mut depth, mut number) = (0_usize, 0_usize);
    for c in text.replace("{{", "").replace("}}", "").chars() {
        depth = match c {
            '{' => depth + 1,
            '}' => depth.saturating_sub(1),
            _ => depth,
        };
        number = c.to_digit(10).map_or(0, |digit| number.saturating_mul(10).saturating_add(digit as usize));
        let is_given =
            depth > 1 && args.iter().any(|arg| f64::try_from(arg.clone()).is_ok_and(|arg| arg > WIDEST as f64));
        if is_given || (depth > 0 && number > WIDEST) {
            return true;
        }
    }
    false
}

fn add_sets(env: &mut Environment<'_>) {
    env.add_filter("union", |a: Vec<Value>, b: Vec<Value>| unique(a.into_iter().chain(b)));
    env.add_filter("intersect", |a: Vec<Value>, b: Vec<Value>| {
        unique(a.into_iter().filter(|value| b.contains(value)).collect::<Vec<_>>().into_iter())
    });
    env.add_filter("difference", |a: Vec<Value>, b: Vec<Value>| {
        unique(a.into_iter().filter(|value| !b.contains(value)).collect::<Vec<_>>().into_iter())
    });
    env.add_test("list", |value: &Value| matches!(value.kind(), ValueKind::Seq) && !value.is_tuple());
    env.add_test("equalto", |a: &Value, b: &Value| a == b);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unique(values: impl Iterator<Item = Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    values.for_each(|value| {
        if !kept.contains(&value) {
            kept.push(value);
        }
    });
    kept.into()
}

fn add_expressions(env: &mut Environment<'_>) {
    env.add_filter("regex_replace", |text: &str, pattern: &str, new: &str, options: Kwargs| -> Result<String, Error> {
        let new = replacement(new)?;
        let expand = |found: &Captures<'_>| -> String {
            let part = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Group(number) => found.get(*number).map_or("", |found| found.as_str()).to_owned(),
            };
            new.iter().map(part).collect()
        };
        Ok(expression(text, pattern, &options)?.replace_all(text, expand).into_owned())
    });
    env.add_filter("regex_search", |text: &str, pattern: &str, options: Kwargs| -> Result<Value, Error> {
        Ok(groups(expression(text, pattern, &options)?.captures(text)))
    });
    env.add_filter("regex_match", |text: &str, pattern: &str, options: Kwargs| -> Result<Value, Error> {
        Ok(groups(expression(text, &format!(r"\A(?:{pattern})"), &options)?.captures(text)))
    });
    env.add_test("match", |text: &str, pattern: &str, options: Kwargs| -> Result<bool, Error> {
        Ok(expression(text, &format!(r"\A(?:{pattern})"), &options)?.is_match(text))
    });
    env.add_filter("regex_escape", |text: &str| -> String {
        // Python's `re.escape`.
        let special = "()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c";
        text.chars().flat_map(|c| special.contains(c).then_some('\\').into_iter().chain([c])).collect()
    });
}

fn expression(text: &str, pattern: &str, options: &Kwargs) -> Result<Regex, Error> {
    if text.len() > LARGEST_SEARCHED {
        return Err(invalid("the text is too large for a regular expression"));
    }
    let is_on = |name| options.get::<Option<bool>>(name).map(Option::unwrap_or_default);
    RegexBuilder::new(pattern)
        .case_insensitive(is_on("ignorecase")?)
        .multi_line(is_on("multiline")?)
        .build()
        .map_err(|error| invalid(error.to_string()))
}

fn groups(found: Option<Captures<'_>>) -> Value {
    let Some(found) = found else { return Value::from(()) };
    let from = usize::from(found.len() > 1);
    let group = |number| found.get(number).map_or(Value::from(()), |group| Value::from(group.as_str()));
    minijinja::value::Tuple::from((from..found.len()).map(group).collect::<Vec<_>>()).into()
}

enum Part {
    Text(String),
    Group(usize),
}

/// Reads a replacement as Python does: `\1` and `\g<1>` stand for groups.
fn replacement(text: &str) -> Result<Vec<Part>, Error> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('\\') {
        parts.push(Part::Text(rest[..at].to_owned()));
        rest = &rest[at + 1..];
        let digits = rest.chars().take(2).take_while(char::is_ascii_digit).count();
        if let Some(name) = rest.strip_prefix("g<") {
            let (name, after) = name.split_once('>').ok_or_else(|| invalid("`\\g<` has no end"))?;
            parts.push(Part::Group(name.parse().map_err(|_| invalid("`\\g<>` takes a number"))?));
            rest = after;
        } else if digits > 0 {
            parts.push(Part::Group(rest[..digits].parse().unwrap_or_default()));
            rest = &rest[digits..];
        } else {
            let c = rest.chars().next().ok_or_else(|| invalid("the replacement ends with `\\`"))?;
            let meant = match c {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '\\' => '\\',
                _ if c.is_ascii_alphabetic() => return Err(invalid(format!("`\\{c}` means nothing"))),
                _ => {
                    parts.push(Part::Text("\\".into()));
                    c
                }
            };
            parts.push(Part::Text(meant.to_string()));
            rest = &rest[c.len_utf8()..];
        }
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// Reads YAML, of which JSON is a part.
pub fn load(text: &str) -> Result<Value, Error> {
    let node = yaml::read(text).map_err(|error| invalid(format!("line {}: {}", error.line, error.text)))?;
    Ok(node.value())
}

pub fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}
