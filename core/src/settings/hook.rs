//! Types of the settings of tests.

use zeroize::Zeroizing;

use super::value::{List, SettingValue};
use crate::model::PinnedImage;

/// Variables that every test has, so HOOK_ENV cannot name them.
const OWN: [&str; 6] = ["COMPOSE_PROJECT_NAME", "commit", "short_commit", "branch", "image", "image_id"];

/// A command: a program and its arguments, split as a shell splits them. Empty if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookCommand(pub Vec<String>);

impl SettingValue for HookCommand {
    fn parse(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).ok_or("it has a quote that is not closed, or ends with a backslash")?;
        match words.first() {
            None if !text.trim().is_empty() => Err("it is a comment and no command: quote the #".into()),
            Some(program) if program.is_empty() => Err("its first word is empty: begin with a program".into()),
            _ => Ok(Self(words)),
        }
    }
}

/// Variables that tests are given: their names, and the values that are set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookEnv {
    pub names: Vec<String>,
    /// Name and value of each that is set, in the order of the names. The setting's own text has none.
    pub values: Vec<(String, Zeroizing<String>)>,
}

impl SettingValue for HookEnv {
    fn parse(text: &str) -> Result<Self, String> {
        let List(names) = List::parse(text)?;
        for name in &names {
            let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !is_name {
                return Err("it must be names of variables, comma-separated, without their values".into());
            }
            if OWN.contains(&name.as_str()) {
                return Err(format!("every test has {name} already: leave it out"));
            }
        }
        Ok(Self { names, values: Vec::new() })
    }
}

/// Paths of compose files in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ComposeFiles(pub Vec<String>);

impl SettingValue for ComposeFiles {
    fn parse(text: &str) -> Result<Self, String> {
        let files: Vec<_> = text.split(':').map(str::trim).filter(|file| !file.is_empty()).collect();
        let is_odd = |file: &&&str| file.starts_with(['/', '-']) || file.split('/').any(|part| part == "..");
        match files.iter().find(is_odd) {
            Some(odd) => {
                Err(format!("{odd:?} is no file of a repository: write a path in it, such as ci/compose.yaml"))
            }
            None => Ok(Self(files.into_iter().map(Into::into).collect())),
        }
    }
}

/// Number of processors, with up to nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    /// Billionths of a processor.
    pub nano: u64,
}

impl SettingValue for Cpus {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse::<f64>().ok().filter(|cpus| (0.01..=1024.0).contains(cpus));
        let number = number.ok_or("it must be a number of processors, such as 2 or 0.5")?;
        Ok(Self { nano: (number * 1e9).round() as u64 })
    }
}

/// Number of processes; 0 sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimit(pub u32);

impl SettingValue for ProcessLimit {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| *number <= 4_194_304);
        number.map(Self).ok_or_else(|| "it must be a whole number from 0 to 4194304".into())
    }
}

impl SettingValue for PinnedImage {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let words = |text| HookCommand::parse(text).map(|HookCommand(words)| words);
        assert_eq!(
            words("sh -c 'make test && echo \"ok\"' \\$x").unwrap(),
            ["sh", "-c", "make test && echo \"ok\"", "$x"]
        );
        assert!(words("").unwrap().is_empty());
        for text in ["make 'test", "make \\", "# make", "'' x"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_named_without_their_values() {
        assert_eq!(HookEnv::parse("CODECOV_TOKEN, _x1").unwrap().names, ["CODECOV_TOKEN", "_x1"]);
        for text in ["commit", "A=b", "1A", "A B", "A-B", "A, image"] {
            assert!(HookEnv::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compose_files_are_in_the_repository() {
        assert_eq!(ComposeFiles::parse("a.yml: ci/b.yml:").unwrap().0, ["a.yml", "ci/b.yml"]);
        for text in ["/etc/passwd", "a.yml:../b", "-f"] {
            assert!(ComposeFiles::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_numbers() {
        assert_eq!(Cpus::parse("1.5"), Ok(Cpus { nano: 1_500_000_000 }));
        assert_eq!(ProcessLimit::parse("0"), Ok(ProcessLimit(0)));
        for text in ["0", "-1", "x", "NaN", "inf"] {
            assert!(Cpus::parse(text).is_err(), "{text}");
        }
        assert!(ProcessLimit::parse("-1").is_err());
    }
}
