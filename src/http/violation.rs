use serde_json::Value;

use super::messages;

/// One fault of a body. A dialect renders it in its own words.
#[derive(Debug, PartialEq)]
pub struct Violation {
    /// A JSON pointer behind `#`. For a missing property it points to the object that lacks it.
    pub path: String,
    pub defect: Defect,
}

#[derive(Debug, PartialEq)]
pub enum Defect {
    Missing {
        property: String,
    },
    WrongType {
        found: &'static str,
        expected: String,
    },
    /// The sizes are those that the message shows: characters of a text, bytes of an object.
    TooLong {
        length: usize,
        maximum: usize,
    },
    WrongPattern {
        text: String,
        pattern: &'static str,
    },
    WrongFormat {
        text: String,
        format: &'static str,
        why: String,
    },
    /// A value of the right type that cannot be used; the text says why.
    Unusable(String),
}

impl Violation {
    /// `path` is the path of the object that lacks the property.
    pub fn missing(property: &str, path: &str) -> Self {
        Self { path: path.into(), defect: Defect::Missing { property: property.into() } }
    }

    pub fn wrong_type(value: &Value, expected: &str, path: &str) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self { path: path.into(), defect: Defect::WrongType { found, expected: expected.into() } }
    }

    pub fn too_long(length: usize, maximum: usize, path: &str) -> Self {
        Self { path: path.into(), defect: Defect::TooLong { length, maximum } }
    }

    pub fn wrong_pattern(text: &str, pattern: &'static str, path: &str) -> Self {
        Self { path: path.into(), defect: Defect::WrongPattern { text: text.into(), pattern } }
    }

    pub fn wrong_format(text: &str, format: &'static str, why: String, path: &str) -> Self {
        Self { path: path.into(), defect: Defect::WrongFormat { text: text.into(), format, why } }
    }

    /// Returns the fault in one line, for a dialect without a form of its own.
    pub fn text(&self) -> String {
        let why = match &self.defect {
            Defect::Missing { property } => messages::MISSING.with([&**property]),
            Defect::WrongType { found, expected } => messages::WRONG_TYPE.with([*found, &**expected]),
            Defect::TooLong { length, maximum } => {
                messages::TOO_LONG.with([&*length.to_string(), &*maximum.to_string()])
            }
            Defect::WrongPattern { text, pattern } => messages::WRONG_PATTERN.with([*pattern, &**text]),
            Defect::WrongFormat { text, format, why } => messages::WRONG_FORMAT.with([*format, &**text, &**why]),
            Defect::Unusable(message) => message.clone(),
        };
        format!("{}: {why}", self.path)
    }

    pub fn unusable(message: String, path: String) -> Self {
        Self { path, defect: Defect::Unusable(message) }
    }
}

/// The longest name, in bytes; the limits of Git and of the registries are far below.
const MAX_TEXT: usize = 4 << 10;

/// Returns why a text cannot be stored: it is too long, or it contains a NUL, which PostgreSQL's TEXT does not take.
pub fn unstorable_text(text: &str, path: &str) -> Option<Violation> {
    if text.len() > MAX_TEXT {
        return Some(Violation::too_long(text.chars().count(), MAX_TEXT, path));
    }
    text.contains('\0').then(|| Violation::wrong_pattern(text, r"^[^\u0000]*$", path))
}
