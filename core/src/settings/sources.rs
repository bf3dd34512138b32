use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use zeroize::Zeroizing;

use super::error::SettingError;
use super::names::suggestion;
use super::value::{SettingValue, without_user};
use super::{DEFAULT_FILE, ENV_FILE, Spec, env_file, runtime_conf, toml_file};

impl Spec {
    /// Returns the name of the flag, `drain-timeout` for `DRAIN_TIMEOUT`.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Returns the variables that set it: its names, and for a secret those of its file.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> {
        let files = self.names().filter(|_| self.secret).map(|name| format!("{name}_FILE"));
        self.names().map(str::to_owned).chain(files)
    }
}

/// The places that settings come from. They can be read any number of times, because a running daemon reads them again.
pub struct SettingsSource {
    /// Values of the flags, by the names of the settings.
    flags: BTreeMap<&'static str, String>,
    /// `--config`
    config: Option<PathBuf>,
    /// `--env-file`
    env_file: Option<PathBuf>,
    /// Variables of the process at its start, without those that came from the environment file.
    environment: BTreeMap<String, String>,
}

impl SettingsSource {
    /// `environment` has the variables of the process. A variable that has its value from the environment file, because
    /// systemd read that file for the service, counts as the file's: a change of the file is then seen.
    pub fn new(
        flags: BTreeMap<&'static str, String>,
        config: Option<PathBuf>,
        env_file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let path = env_file.as_deref().unwrap_or(Path::new(ENV_FILE));
        let of_file = fs::read_to_string(path).map(|text| env_file::parse(&text).0).unwrap_or_default();
        let is_of_file = |name: &str, value: &str| {
            let last = of_file.iter().rfind(|variable| variable.name == name);
            last.is_some_and(|variable| variable.value.as_str() == value)
        };
        let environment = environment.into_iter().filter(|(name, value)| !is_of_file(name, value)).collect();
        Self { flags, config, env_file, environment }
    }

    /// Reads the files, which may have faults, and returns the texts of all settings.
    pub(super) fn texts(&self, table: &[Spec], errors: &mut Vec<SettingError>) -> SettingTexts {
        let flags = self.flags.iter().map(|(name, text)| {
            let flag = name.to_ascii_lowercase().replace('_', "-");
            ((*name).to_owned(), text.clone().into(), format!("by --{flag}"))
        });
        let environment = self.environment.iter();
        let environment =
            environment.map(|(name, text)| (name.clone(), text.clone().into(), "in the environment".into()));
        let process = [SettingLayer::of(flags), SettingLayer::of(environment)];
        let (mut environment_file, mut warnings) = (SettingLayer::default(), Vec::new());
        if let Some((path, text)) = read(self.env_file.as_deref(), ENV_FILE, errors) {
            let (variables, faults) = env_file::parse(&text);
            let mut refuse = |line, why: &str| errors.push(SettingError::of_file(format!("{path}:{line}: {why}")));
            faults.iter().for_each(|(line, why)| refuse(*line, why));
            let mut lines = BTreeMap::new();
            for variable in &variables {
                let (name, line) = (&variable.name, variable.line);
                if let Some(former) = lines.insert(name, line) {
                    warnings.push(env_file::set_twice(&path, name, former, line));
                }
                let is_known = || table.iter().flat_map(Spec::variables).any(|known| known == *name);
                if let Some(why) = variable.fault(table) {
                    refuse(line, &why);
                } else if let Some(near) = suggestion(table, name).filter(|_| !is_known()) {
                    warnings.push(format!("{path}:{line}: {name} is no setting: did you mean {near}?"));
                }
            }
            environment_file = SettingLayer::of(
                variables
                    .into_iter()
                    .map(|variable| (variable.name, variable.value, format!("{path}:{}", variable.line))),
            );
        }
        let mut settings_file = SettingLayer::default();
        if let Some((path, text)) = read(self.config.as_deref(), DEFAULT_FILE, errors) {
            let entries = if runtime_conf::is_named_so(&path) {
                let has = |fits: fn(&SettingLayer) -> bool| process.iter().chain([&environment_file]).any(fits);
                let beside = runtime_conf::BesideFile {
                    has_socket: has(SettingLayer::has_socket),
                    has_certificate: has(SettingLayer::has_certificate),
                };
                runtime_conf::parse(&path, &text, beside, errors, &mut warnings)
            } else {
                toml_file::parse(table, &path, &text, errors)
            };
            settings_file = SettingLayer::of(
                entries.into_iter().map(|entry| (entry.name, entry.value.into(), format!("{path}:{}", entry.line))),
            );
        }
        let credentials = self.environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        SettingTexts {
            process,
            files: [environment_file, SettingLayer { credentials, ..SettingLayer::default() }, settings_file],
            warnings,
        }
    }
}

/// A setting's text, and the place that it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingText {
    pub text: Zeroizing<String>,
    /// Name under which it was found, which may be an alias.
    pub name: String,
    /// `FILE:LINE`, `by --FLAG` or `in the environment`
    pub place: String,
}

/// One place of settings.
#[derive(Default)]
struct SettingLayer {
    /// Text and place of each variable.
    values: BTreeMap<String, (Zeroizing<String>, String)>,
    /// systemd's folder of secrets.
    credentials: Option<PathBuf>,
}

impl SettingLayer {
    fn of(values: impl Iterator<Item = (String, Zeroizing<String>, String)>) -> Self {
        Self { values: values.map(|(name, text, place)| (name, (text, place))).collect(), credentials: None }
    }

    /// Returns true if LISTEN is the path of a socket here.
    fn has_socket(&self) -> bool {
        self.values.get("LISTEN").is_some_and(|(text, _)| text.starts_with("unix:"))
    }

    /// Returns true if a file of the listener's certificate is named here.
    fn has_certificate(&self) -> bool {
        let is_set = |name| self.values.get(name).is_some_and(|(text, _)| !text.is_empty());
        ["TLS_CERT", "TLS_KEY", "CERT_PATH"].into_iter().any(is_set)
    }

    /// Returns the text of a setting. Several names of it must not have different texts.
    fn text(&self, spec: &Spec) -> Result<Option<SettingText>, SettingError> {
        let mut found: Option<SettingText> = None;
        for name in spec.names() {
            let Some(text) = self.text_of(spec, name)? else { continue };
            match &found {
                Some(first) if first.text != text.text => {
                    return Err(SettingError::new(
                        [spec.name],
                        format!(
                            "{} ({}) and {name} ({}) are two names of one setting and differ: keep one of them",
                            first.name, first.place, text.place
                        ),
                    ));
                }
                Some(_) => {}
                None => found = Some(text),
            }
        }
        Ok(found)
    }

    fn text_of(&self, spec: &Spec, name: &str) -> Result<Option<SettingText>, SettingError> {
        let get = |name: &str| self.values.get(name).filter(|(text, _)| !text.is_empty());
        let found = |text, place: &str| Some(SettingText { text, name: name.into(), place: place.into() });
        let file = get(&format!("{name}_FILE")).filter(|_| spec.secret);
        match (get(name), file) {
            (Some((_, place)), Some((_, of_file))) => {
                let both = format!("{name} ({place}) and {name}_FILE ({of_file}) are both set: keep one of them");
                return Err(SettingError::new([spec.name], both));
            }
            (Some((text, place)), None) => return Ok(found(text.clone(), place)),
            (None, None) if !spec.secret => return Ok(None),
            (None, _) => {}
        }
        let secret_of = |path: &Path, from: Option<&str>| match read_secret(path) {
            Ok(text) => Ok(found(text, &path.display().to_string())),
            Err(why) => {
                let from = from.map(|place| format!(" ({name}_FILE, {place})")).unwrap_or_default();
                Err(SettingError::new([spec.name], format!("{name}: {}{from} {why}", path.display())))
            }
        };
        if let Some((path, place)) = file {
            return secret_of(Path::new(path.as_str()), Some(place));
        }
        let credential = self.credentials.as_ref().map(|dir| dir.join(name)).filter(|path| path.exists());
        credential.map_or(Ok(None), |path| secret_of(&path, None))
    }
}

/// The texts of all settings.
pub(super) struct SettingTexts {
    /// Flags, and the environment of the process: they stay as long as the process.
    process: [SettingLayer; 2],
    /// The environment file, systemd's credentials and the settings file, the strongest first.
    files: [SettingLayer; 3],
    /// Names in the environment file that are probably misspelt. The file may have variables of other programs, too.
    pub warnings: Vec<String>,
}

impl SettingTexts {
    /// Returns the text of the first place that has one.
    pub fn text(&self, spec: &Spec) -> Result<Option<SettingText>, SettingError> {
        let first = self.process.iter().chain(&self.files).find_map(|layer| layer.text(spec).transpose());
        first.transpose()
    }

    /// Returns the value of a variable of the process, or of the environment file.
    pub fn variable(&self, name: &str) -> Option<Zeroizing<String>> {
        let places = [&self.process[1], &self.files[0]];
        places.into_iter().find_map(|layer| layer.values.get(name)).map(|(text, _)| text.clone())
    }

    /// Returns the text that the files have for a setting which the process itself has.
    pub fn hidden(&self, spec: &Spec) -> Option<SettingText> {
        let is_hidden = self.process.iter().any(|layer| layer.text(spec).is_ok_and(|text| text.is_some()));
        let first = self.files.iter().filter(|_| is_hidden).find_map(|layer| layer.text(spec).transpose());
        first.and_then(Result::ok)
    }

    /// Returns the checked value of a setting. On an error, adds it and returns the default.
    pub fn value<T: SettingValue>(&self, spec: &Spec, errors: &mut Vec<SettingError>) -> Option<T> {
        let found = self.text(spec).unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        if let Some(SettingText { text, name, place }) = found {
            match T::parse(&text) {
                Ok(value) => return Some(value),
                Err(allowed) => {
                    let shown = if spec.secret { "…".into() } else { format!("{:?}", without_user(&text)) };
                    let message = format!("{name}={shown} ({place}) is not valid: {allowed}");
                    errors.push(SettingError::new([spec.name], message));
                }
            }
        }
        T::parse(spec.default).ok()
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| unreadable(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("is empty: write the secret into it".into()),
        text => Ok(text.to_owned().into()),
    }
}

/// Returns the path and the text of a file of settings. The default file need not exist.
fn read(path: Option<&Path>, default: &str, errors: &mut Vec<SettingError>) -> Option<(String, Zeroizing<String>)> {
    let shown = path.map_or(default.to_owned(), |path| path.display().to_string());
    match fs::read_to_string(&shown) {
        Ok(text) => Some((shown, text.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => None,
        Err(error) => {
            errors.push(SettingError::of_file(format!("{shown} {}", unreadable(&error))));
            None
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    let what_to_do = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run this as a user who may read it, such as root or the service's",
        _ => "",
    };
    format!("cannot be read ({error}){what_to_do}")
}
