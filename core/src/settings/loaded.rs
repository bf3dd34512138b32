use std::collections::BTreeMap;

use super::error::{SettingError, SettingErrors};
use super::sources::{SettingText, SettingsSource};
use super::{HookEnv, Settings, TABLE, foreign, idle};

/// Settings as they were found: with their errors, and with where they are from.
pub struct LoadedSettings {
    /// The settings, with the default in the place of each wrong one.
    settings: Settings,
    errors: Vec<SettingError>,
    /// Names in the environment file that are probably misspelt, one sentence each.
    pub warnings: Vec<String>,
    texts: BTreeMap<&'static str, SettingText>,
    /// Texts in the files that flags or the environment of the process hide.
    hidden: BTreeMap<&'static str, SettingText>,
}

/// Names of the settings that differ between two readings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SettingChanges {
    /// Settings that a running daemon takes.
    pub live: Vec<&'static str>,
    /// Settings that need a restart.
    pub restart: Vec<&'static str>,
    /// Settings that a file changed in vain, because the process has them from elsewhere, and that place.
    pub hidden: Vec<(&'static str, String)>,
}

/// The settings that a reload would take, of those that an error is about.
#[derive(Debug, PartialEq, Eq)]
pub enum ErrorScope {
    /// None of them, because all need a restart.
    Restart,
    /// These, which contradict others that need a restart.
    Mixed(Vec<&'static str>),
    /// All of them, or any setting.
    Live,
}

impl ErrorScope {
    pub fn of(error: &SettingError) -> Self {
        let names: Vec<_> = error.names().copied().collect();
        let is_live = |name: &&str| TABLE.iter().any(|spec| spec.live && spec.name == *name);
        let live: Vec<_> = names.iter().copied().filter(|name| is_live(name)).collect();
        match live.len() {
            _ if error.is_of_file() => Self::Live,
            0 => Self::Restart,
            all if all == names.len() => Self::Live,
            _ => Self::Mixed(live),
        }
    }
}

impl SettingsSource {
    /// Reads the settings, and checks each of them and their rules.
    pub fn load(&self) -> LoadedSettings {
        let mut errors = Vec::new();
        let mut texts = self.texts(TABLE, &mut errors);
        let mut settings = Settings::read(&texts, &mut errors);
        if let Some(HookEnv { names, values }) = settings.as_mut().map(|settings| &mut settings.hook_env) {
            *values = names.iter().filter_map(|name| Some((name.clone(), texts.variable(name)?))).collect();
            let unset = names.iter().filter(|name| !values.iter().any(|(set, _)| set == *name));
            let lines = unset.map(|name| format!("HOOK_ENV names {name}, which is not set: tests run without it"));
            texts.warnings.extend(lines);
        }
        foreign::check(&mut texts, &mut errors);
        let found = |spec: &'static super::Spec| Some((spec.name, texts.text(spec).ok()??));
        let hidden = |spec: &'static super::Spec| Some((spec.name, texts.hidden(spec)?));
        let mut loaded = LoadedSettings {
            settings: settings.expect("every default is valid, which a test proves"),
            errors: Vec::new(),
            warnings: texts.warnings.clone(),
            texts: TABLE.iter().filter_map(found).collect(),
            hidden: TABLE.iter().filter_map(hidden).collect(),
        };
        let listen_error = loaded.settings.derive_listen(|name| loaded.texts.contains_key(name)).err();
        loaded.errors = errors;
        let place = |name: &str| loaded.texts.get(name).map(|found| found.place.as_str());
        loaded.warnings.extend(idle::warnings(&loaded.settings, place));
        loaded.check(|_| listen_error.into_iter().collect());
        loaded.check(Settings::contradictions);
        loaded
    }
}

impl LoadedSettings {
    /// Adds the errors of further rules, each with the places of its settings. An error about a setting that is already
    /// wrong is left out, because the rule has seen the default in its place.
    pub fn check(&mut self, rules: impl FnOnce(&Settings) -> Vec<SettingError>) {
        let wrong: Vec<&str> = self.errors.iter().flat_map(|error| error.names().copied()).collect();
        for error in rules(&self.settings) {
            if error.names().any(|name| wrong.contains(name)) {
                continue;
            }
            let place = |name: &str| self.texts.get(name).map(|found| found.place.as_str());
            self.errors.push(error.with_places(place));
        }
    }

    /// Leaves out the errors that are about other settings than these.
    pub fn concerning(mut self, names: &[&str]) -> Self {
        self.errors.retain(|error| error.is_about(names));
        self
    }

    /// Takes out the errors that are about a setting which needs a restart, perhaps beside live ones.
    pub fn take_errors_of_restart(&mut self) -> Vec<SettingError> {
        self.errors.extract_if(.., |error| ErrorScope::of(error) != ErrorScope::Live).collect()
    }

    /// Puts the texts of `before` in the place of those of these settings, because the settings were not taken.
    pub fn hold(&mut self, names: &[&'static str], before: &Self) {
        for &name in names {
            match before.texts.get(name) {
                Some(text) => drop(self.texts.insert(name, text.clone())),
                None => drop(self.texts.remove(name)),
            }
        }
    }

    /// Returns the settings.
    ///
    /// # Errors
    /// Every setting that cannot be used, with its place, its value unless it is secret, and the rule that it breaks.
    pub fn valid(self) -> Result<Settings, SettingErrors> {
        if self.errors.is_empty() { Ok(self.settings) } else { Err(SettingErrors(self.errors)) }
    }

    /// Returns the settings as they are, with the default in the place of each wrong one.
    pub fn read(&self) -> &Settings {
        &self.settings
    }

    /// Returns the settings, or the errors as [`LoadedSettings::valid`] does.
    pub fn settings(&self) -> Result<&Settings, SettingErrors> {
        if self.errors.is_empty() { Ok(&self.settings) } else { Err(SettingErrors(self.errors.clone())) }
    }

    /// Returns what differs from an earlier reading.
    pub fn changes_since(&self, before: &Self) -> SettingChanges {
        let text = |texts: &BTreeMap<&str, SettingText>, name: &str| texts.get(name).map(|found| found.text.clone());
        let mut changes = SettingChanges::default();
        for spec in TABLE {
            if text(&self.texts, spec.name) != text(&before.texts, spec.name) {
                let list = if spec.live { &mut changes.live } else { &mut changes.restart };
                list.push(spec.name);
            }
            if text(&self.hidden, spec.name) != text(&before.hidden, spec.name)
                && let Some(winner) = self.texts.get(spec.name)
            {
                changes.hidden.push((spec.name, winner.place.clone()));
            }
        }
        changes
    }
}
