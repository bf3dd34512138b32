use std::fmt;

/// The reason why a setting, or a file of settings, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Settings that it is about. `None` is a file that cannot be read, so every setting may be in it.
    names: Option<Vec<&'static str>>,
    text: String,
}

impl SettingError {
    /// Makes an error about these settings. Its text has no secret.
    pub fn new(names: impl IntoIterator<Item = &'static str>, text: impl Into<String>) -> Self {
        Self { names: Some(names.into_iter().collect()), text: text.into() }
    }

    pub(super) fn of_file(text: String) -> Self {
        Self { names: None, text }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &&'static str> {
        self.names.iter().flatten()
    }

    /// Adds the places of those of its settings that it speaks of.
    pub(super) fn with_places<'a>(mut self, place: impl Fn(&str) -> Option<&'a str>) -> Self {
        let words: Vec<&str> = self.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let spoken_of = self.names().filter(|name| words.contains(*name));
        let places: Vec<_> = spoken_of.filter_map(|name| Some((*name, place(name)?))).collect();
        let shown = match &places[..] {
            [] => return self,
            [(_, first), rest @ ..] if rest.iter().all(|(_, place)| place == first) => (*first).to_owned(),
            several => several.iter().map(|(name, place)| format!("{name}: {place}")).collect::<Vec<_>>().join(", "),
        };
        self.text += &format!(" ({shown})");
        self
    }

    /// True for a file that cannot be read.
    pub(super) fn is_of_file(&self) -> bool {
        self.names.is_none()
    }

    pub(super) fn is_about(&self, names: &[&str]) -> bool {
        self.names.as_ref().is_none_or(|own| own.iter().any(|name| names.contains(name)))
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Every reason why the settings cannot be used, one a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingErrors(pub Vec<SettingError>);
