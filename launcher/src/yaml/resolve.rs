//! The meaning of scalars without quotes: YAML 1.1 as PyYAML has it, and Salt's own way with leading zeros.

use minijinja::Value;

/// Returns the value of a scalar that has neither quotes nor a tag, or `None` for a number that has no room.
pub fn plain(text: &str) -> Option<Value> {
    if let Some(value) = null(text).or_else(|| boolean(text)) {
        return Some(value);
    }
    if is_integer(text) {
        return integer(text);
    }
    if is_float(text) {
        return float(text);
    }
    Some(text.into())
}

/// Returns the value of a scalar with a tag of YAML, or `None` within if the text is none. `None` is an unknown tag.
pub fn tagged(text: &str, tag: &str) -> Option<Option<Value>> {
    Some(match tag {
        "str" | "timestamp" => Some(text.into()),
        "null" => Some(Value::from(())),
        // PyYAML looks texts up without regard to their case.
        "bool" => boolean(&text.to_lowercase()),
        "int" => integer(text),
        "float" => float(text),
        _ => return None,
    })
}

fn null(text: &str) -> Option<Value> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then(|| Value::from(()))
}

fn boolean(text: &str) -> Option<Value> {
    let spelled = |word: &str| {
        let (first, rest) = word.split_at(1);
        text == word || text == word.to_uppercase() || text == first.to_uppercase() + rest
    };
    if ["yes", "true", "on"].into_iter().any(spelled) {
        Some(Value::from(true))
    } else if ["no", "false", "off"].into_iter().any(spelled) {
        Some(Value::from(false))
    } else {
        None
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// True if the text is not empty, and each character is a digit of this kind or `_`.
fn is_all(text: &str, kind: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(|c| c == '_' || kind(c))
}

/// True if these are parts of a number in the base 60, up to 59.
fn are_sixtieths<'a>(mut parts: impl Iterator<Item = &'a str>) -> bool {
    parts.all(|part| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
        _ => false,
    })
}

fn is_integer(text: &str) -> bool {
    let digits = unsigned(text);
    if let Some(rest) = digits.strip_prefix("0b") {
        return is_all(rest, |c| matches!(c, '0' | '1'));
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return is_all(rest, |c| c.is_ascii_hexdigit());
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return rest.is_empty() || is_all(rest, |c| matches!(c, '0'..='7'));
    }
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    first.starts_with(|c: char| c.is_ascii_digit()) && is_all(first, |c| c.is_ascii_digit()) && are_sixtieths(parts)
}

fn integer(text: &str) -> Option<Value> {
    // Salt reads 0755 as 755, because people write modes so. A sign in front keeps the octal meaning of YAML 1.1.
    let text = match text {
        _ if text.starts_with("0b") || text.starts_with("0x") => text,
        _ if text.starts_with('0') => text.trim_start_matches('0'),
        _ => text,
    };
    let digits = unsigned(text).replace('_', "");
    let radix = |digits: &str, radix| i128::from_str_radix(digits, radix).ok();
    let number = if digits.is_empty() {
        Some(0)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        radix(rest, 2)
    } else if let Some(rest) = digits.strip_prefix("0x") {
        radix(rest, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        radix(&digits, 8)
    } else {
        digits.split(':').try_fold(0_i128, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse().ok().filter(|part: &i128| *part >= 0)?)
        })
    }?;
    let number = if text.starts_with('-') { -number } else { number };
    Some(i64::try_from(number).map_or_else(|_| Value::from(number), Value::from))
}

fn is_float(text: &str) -> bool {
    let digits = unsigned(text);
    if [".inf", ".Inf", ".INF"].contains(&digits) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    let is_digit = |c: char| c.is_ascii_digit();
    let Some((whole, rest)) = digits.split_once('.') else { return false };
    if whole.contains(':') {
        let mut parts = whole.split(':');
        let first = parts.next().unwrap_or_default();
        return first.starts_with(is_digit)
            && is_all(first, is_digit)
            && are_sixtieths(parts)
            && (rest.is_empty() || is_all(rest, is_digit));
    }
    let (part, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or_default();
        !digits.is_empty() && digits.chars().all(is_digit)
    });
    let parts_fit = if whole.is_empty() {
        // A sign before the point makes it a text.
        digits.len() == text.len() && part.starts_with(is_digit) && is_all(part, is_digit)
    } else {
        whole.starts_with(is_digit) && is_all(whole, is_digit) && (part.is_empty() || is_all(part, is_digit))
    };
    exponent_fits && parts_fit
}

fn float(text: &str) -> Option<Value> {
    let digits = unsigned(text).replace('_', "").to_lowercase();
    let number = match digits.as_str() {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => digits.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?,
    };
    Some(Value::from(if text.starts_with('-') { -number } else { number }))
}
