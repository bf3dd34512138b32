use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Spec;
use super::error::SettingError;
use super::names::suggestion;

/// A key of the settings file, which is a setting or the file of a secret one.
pub(super) struct FileEntry {
    /// Name in capitals, as in the environment.
    pub name: String,
    pub value: String,
    /// Line of the key, from 1.
    pub line: usize,
}

/// Reads the settings file. The file may have the keys of `table` only, and no secret.
pub(super) fn parse(table: &[Spec], path: &str, text: &str, errors: &mut Vec<SettingError>) -> Vec<FileEntry> {
    let line_of = |place: usize| text.get(..place).unwrap_or(text).matches('\n').count() + 1;
    let (document, faults) = DeTable::parse_recoverable(text);
    let mut broken = Vec::new();
    for fault in faults {
        // The parser's own text of an error has the line's content, which may be a secret in the wrong place.
        let line = fault.span().map_or(1, |span| line_of(span.start));
        if !broken.contains(&line) {
            broken.push(line);
            let message = fault.message().replace('\n', ", ");
            errors.push(SettingError::of_file(format!("{path}:{line}: this is no TOML: {message}")));
        }
    }
    let mut entries: Vec<FileEntry> = Vec::new();
    let mut keys: Vec<_> = document.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let line = line_of(key.span().start);
        if broken.contains(&line) {
            continue;
        }
        let name = key.get_ref().to_ascii_uppercase();
        let twin = entries.iter().find(|entry| entry.name == name).map(|twin| twin.line);
        let text = check_key(table, key.get_ref()).and_then(|()| match twin {
            Some(twin) => Err(format!("is set in line {twin}, too: keep one of them")),
            None => as_text(value),
        });
        match text {
            Ok(value) => entries.push(FileEntry { name, value, line }),
            Err(why) => {
                let about = table.iter().filter(|spec| spec.names().any(|known| known == name)).map(|spec| spec.name);
                errors.push(SettingError::new(about, format!("{path}:{line}: {} {why}", key.get_ref())));
            }
        }
    }
    entries
}

/// Refuses a key that is no setting, or a secret.
fn check_key(table: &[Spec], key: &str) -> Result<(), String> {
    let is = |name: &str| name.eq_ignore_ascii_case(key);
    for spec in table {
        if spec.secret && spec.names().any(is) {
            return Err(format!("is a secret, which does not belong in this file: set {key}_file, or the environment"));
        }
        if spec.names().any(|name| is(name) || spec.secret && is(&format!("{name}_FILE"))) {
            return Ok(());
        }
    }
    Err(match suggestion(table, key) {
        Some(near) => format!("is no setting: did you mean {}?", near.to_ascii_lowercase()),
        None => "is no setting: docs/settings.md lists them".into(),
    })
}

fn as_text(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Array(parts) => Ok(parts.iter().map(as_text).collect::<Result<Vec<_>, _>>()?.join(",")),
        _ => Err("must be a text, a whole number, true, false or a list".into()),
    }
}
