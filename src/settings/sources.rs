use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::value::SettingValue;
use super::{DEFAULT_FILE, SettingError, Spec};

impl Spec {
    /// Returns the name of the flag, `drain-timeout` for `DRAIN_TIMEOUT`.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// Lookup of a variable of the environment.
type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Sources of values, the strongest first.
pub(super) struct Sources<'a> {
    /// Values of the flags, by the names of the settings.
    flags: &'a BTreeMap<&'static str, String>,
    env: Lookup<'a>,
    file: BTreeMap<String, String>,
}

impl<'a> Sources<'a> {
    /// Reads the file, which may have the keys of `table` only.
    pub fn read(
        table: &[Spec],
        flags: &'a BTreeMap<&'static str, String>,
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String> + 'a,
        errors: &mut Vec<SettingError>,
    ) -> Self {
        let file = read_file(table, file).unwrap_or_else(|e| {
            errors.extend(e);
            BTreeMap::new()
        });
        Self { flags, env: Box::new(env), file }
    }

    /// Returns the checked value of a setting. On an error, returns `None` and adds the error.
    pub fn value<T: SettingValue>(&self, spec: &Spec, errors: &mut Vec<SettingError>) -> Option<T> {
        let (text, origin) = match self.text(spec) {
            Ok(Some(found)) => found,
            Ok(None) => (Zeroizing::new(spec.default.to_owned()), "the default".to_owned()),
            Err(e) => {
                errors.push(e);
                return None;
            }
        };
        match T::parse(&text) {
            Ok(value) => Some(value),
            Err(allowed) => {
                let shown = if spec.secret { "…".into() } else { format!("{:?}", without_user(&text)) };
                errors.push(SettingError(format!("{}={shown} ({origin}) is not valid: {allowed}", spec.name)));
                None
            }
        }
    }

    fn text(&self, spec: &Spec) -> Result<Option<(Zeroizing<String>, String)>, SettingError> {
        if let Some(text) = self.flags.get(spec.name) {
            return Ok(Some((text.clone().into(), format!("from --{}", spec.flag()))));
        }
        let from_env = self.one(spec, "the environment", |name| {
            let direct = (self.env)(name).filter(|text| !text.is_empty()).map(Zeroizing::new);
            if !spec.secret || direct.is_some() {
                return Ok(direct);
            }
            self.secret_file(name)
        })?;
        if from_env.is_some() {
            return Ok(from_env);
        }
        self.one(spec, "the file", |name| {
            let key = name.to_ascii_lowercase();
            if let Some(path) = self.file.get(&format!("{key}_file")).filter(|_| spec.secret) {
                return read_secret(name, Path::new(path)).map(Some);
            }
            Ok(self.file.get(&key).filter(|text| !text.is_empty()).cloned().map(Zeroizing::new))
        })
    }

    /// Returns the text that `look` finds under the setting's names, and the source. Several names must not have different
    /// texts.
    fn one(
        &self,
        spec: &Spec,
        origin: &str,
        look: impl Fn(&str) -> Result<Option<Zeroizing<String>>, SettingError>,
    ) -> Result<Option<(Zeroizing<String>, String)>, SettingError> {
        let mut found: Option<(Zeroizing<String>, &str)> = None;
        for name in spec.names() {
            let Some(text) = look(name)? else { continue };
            match &found {
                Some((other, first)) if *other != text => {
                    return Err(SettingError(format!(
                        "{first} and {name} are two names of one setting and differ in {origin}: keep one of them"
                    )));
                }
                Some(_) => {}
                None => found = Some((text, name)),
            }
        }
        Ok(found.map(|(text, name)| (text, format!("{name} in {origin}"))))
    }

    /// Reads the file that `NAME_FILE` names, or the file `NAME` in systemd's credentials directory.
    fn secret_file(&self, name: &str) -> Result<Option<Zeroizing<String>>, SettingError> {
        if let Some(path) = (self.env)(&format!("{name}_FILE")).filter(|path| !path.is_empty()) {
            return read_secret(name, Path::new(&path)).map(Some);
        }
        let credential = (self.env)("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(name));
        credential.filter(|path| path.exists()).map(|path| read_secret(name, &path)).transpose()
    }
}

/// Returns an address without the part before `@`, which may be a password.
fn without_user(text: &str) -> String {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://…@{rest}"),
        None => text.to_owned(),
    }
}

fn read_secret(name: &str, path: &Path) -> Result<Zeroizing<String>, SettingError> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|e| SettingError(format!("{name}: cannot read {}: {e}", path.display())))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SettingError(format!("{name}: {} is empty", path.display()))),
        text => Ok(text.to_owned().into()),
    }
}

/// Returns the file's keys in lower case, each with its value as text.
fn read_file(table: &[Spec], path: Option<&Path>) -> Result<BTreeMap<String, String>, Vec<SettingError>> {
    let is_asked = path.is_some();
    let path = path.unwrap_or(Path::new(DEFAULT_FILE));
    let fail = |what: String| vec![SettingError(format!("{}: {what}", path.display()))];
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !is_asked => return Ok(BTreeMap::new()),
        Err(e) => return Err(fail(format!("cannot be read: {e}"))),
    };
    let entries: toml::Table = text.parse().map_err(|e: toml::de::Error| fail(e.message().to_owned()))?;
    let mut values = BTreeMap::new();
    let mut errors = Vec::new();
    for (key, value) in &entries {
        match check_key(table, key).and_then(|()| as_text(value)) {
            Ok(text) => drop(values.insert(key.to_ascii_lowercase(), text)),
            Err(why) => errors.extend(fail(format!("{key}: {why}"))),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

/// Refuses a key of the file that is no setting, or a secret.
fn check_key(table: &[Spec], key: &str) -> Result<(), String> {
    let is = |name: &str| name.eq_ignore_ascii_case(key);
    for spec in table {
        if spec.secret && spec.names().any(is) {
            return Err(format!("a secret does not belong in this file: set {key}_file, or the environment"));
        }
        if spec.names().any(|name| is(name) || spec.secret && is(&format!("{name}_FILE"))) {
            return Ok(());
        }
    }
    Err("is no setting; docs/settings.md lists them".into())
}

fn as_text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        toml::Value::Array(parts) => Ok(parts.iter().map(as_text).collect::<Result<Vec<_>, _>>()?.join(",")),
        _ => Err("must be a text, a whole number, true, false or a list".into()),
    }
}
