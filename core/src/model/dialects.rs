use std::fmt;

use super::Dialect;

/// The APIs that the daemon serves (DIALECTS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialects(Vec<Dialect>);

impl Dialects {
    /// Reads names, comma-separated.
    ///
    /// # Errors
    /// A name that is unknown, or no name at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut open = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name.parse() {
                Ok(dialect) => open.push(dialect),
                Err(_) => {
                    return Err(
                        "it must be one or more of totem, conveyor, generator and compose-ci, comma-separated".into()
                    );
                }
            }
        }
        if open.is_empty() { Err("it names no API: unset it for the default".into()) } else { Ok(Self(open)) }
    }

    pub fn has(&self, dialect: Dialect) -> bool {
        self.0.contains(&dialect)
    }
}

impl fmt::Display for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|dialect| dialect.as_str()).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_apis() {
        let some = Dialects::parse("conveyor, totem,").unwrap();
        assert_eq!(some.to_string(), "conveyor, totem");
        assert!(some.has(Dialect::Totem) && some.has(Dialect::Conveyor) && !some.has(Dialect::Generator));
        assert!(Dialects::parse("compose-ci").unwrap().has(Dialect::ComposeCi));
        for (text, why) in
            [("totem,Conveyor", "one or more of totem, conveyor, generator and compose-ci"), (",", "names no API")]
        {
            let error = Dialects::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
