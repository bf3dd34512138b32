use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::name::{NameError, refuse};

/// Full id of a commit: 40 hexadecimal digits (SHA-1) or 64 (SHA-256), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct CommitId(String);

impl CommitId {
    /// Reads an id in any case.
    ///
    /// # Errors
    /// Anything but 40 or 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(refuse("commit", text, "an id has 40 or 64 hexadecimal digits")),
        }
    }

    /// Reads an id out of a stored row. `None` stands for a text that is no id: older versions stored what a webhook
    /// said, and a job has to stay readable whatever its row has there.
    pub fn read_stored(text: Option<&str>) -> Option<Self> {
        text.and_then(|text| Self::parse(text).ok())
    }

    /// Deserializes an optional id by the rule of [`CommitId::read_stored`].
    pub fn deserialize_stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Ok(Self::read_stored(Option::<String>::deserialize(deserializer)?.as_deref()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 7 digits, as people write an id.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// Returns true for an id of SHA-1, which has 40 digits.
    pub fn is_sha1(&self) -> bool {
        self.0.len() == 40
    }

    /// Returns true for the id of zeros, which pushes have in the place of a commit that is not there.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|digit| digit == b'0')
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for CommitId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Commit that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CommitSpec {
    /// The head of the branch or tag.
    Head,
    /// The commit of this id.
    Full(CommitId),
    /// The commit whose id begins with these 4 to 39 hexadecimal digits, in lower case.
    Short(String),
}

impl CommitSpec {
    /// Reads a text. `HEAD` and the empty text mean [`CommitSpec::Head`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Head);
        }
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("commit", text, "it must be HEAD or hexadecimal digits"));
        }
        if is_no_commit(text) {
            return Err(refuse("commit", text, "an id of zeros stands for a branch or tag that was deleted"));
        }
        match text.len() {
            40 | 64 => CommitId::parse(text).map(Self::Full),
            4..40 => Ok(Self::Short(text.to_ascii_lowercase())),
            0..4 => Err(refuse("commit", text, "it must have at least 4 hexadecimal digits")),
            _ => Err(refuse("commit", text, "an id has 40 or 64 digits, and a short one 4 to 39")),
        }
    }

    /// Returns the digits of the id, all or the first ones; `None` for [`CommitSpec::Head`].
    pub fn digits(&self) -> Option<&str> {
        match self {
            Self::Head => None,
            Self::Full(id) => Some(id.as_str()),
            Self::Short(digits) => Some(digits),
        }
    }
}

/// Returns true for the id that pushes have in the place of a commit that is not there: 40 or 64 zeros.
pub fn is_no_commit(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_of_zeros_is_known_as_such() {
        let is_zero = |id: &str| CommitId::parse(id).unwrap().is_zero();
        assert_eq!(["0".repeat(40), "0".repeat(64), "1".repeat(40)].map(|id| is_zero(&id)), [true, true, false]);
    }

    #[test]
    fn a_stored_text_that_is_no_id_is_none() {
        let id = "a1".repeat(20);
        assert_eq!(CommitId::read_stored(Some(&id)).unwrap().as_str(), id);
        for text in [None, Some(""), Some("c0ffee"), Some("refs/heads/x")] {
            assert_eq!(CommitId::read_stored(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_spec_is_a_head_an_id_or_its_first_digits() {
        assert_eq!(CommitSpec::parse("1234"), Ok(CommitSpec::Short("1234".into())));
        assert_eq!(CommitSpec::parse("HEAD"), Ok(CommitSpec::Head));
        for id in ["A1".repeat(20), "a1".repeat(32)] {
            assert_eq!(CommitSpec::parse(&id), Ok(CommitSpec::Full(CommitId(id.to_ascii_lowercase()))));
        }
        for commit in ["--help", "123", "g123456", "HEAD~1", "HEAD^{tree}"] {
            assert!(CommitSpec::parse(commit).is_err(), "{commit}");
        }
    }

    #[test]
    fn zeros_and_an_id_of_another_length_are_named_in_the_error() {
        for zeros in [40, 64] {
            let error = CommitSpec::parse(&"0".repeat(zeros)).unwrap_err();
            assert!(error.to_string().contains("stands for a branch or tag that was deleted"), "{error}");
        }
        for digits in [41, 63, 65] {
            let error = CommitSpec::parse(&"1".repeat(digits)).unwrap_err();
            assert!(error.to_string().contains("an id has 40 or 64 digits"), "{error}");
        }
        assert!(CommitSpec::parse("0000000").is_ok());
    }

    proptest! {
        #[test]
        fn an_id_is_written_in_lower_case_and_read_back(hex in "[0-9a-fA-F]{40}|[0-9a-fA-F]{64}") {
            let id = CommitId::parse(&hex).unwrap();
            prop_assert_eq!(id.to_string(), hex.to_ascii_lowercase());
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(&json, &format!("{:?}", id.as_str()));
            prop_assert_eq!(serde_json::from_str::<CommitId>(&json).unwrap(), id);
        }

        #[test]
        fn nothing_else_is_an_id(text in "\\PC{0,70}") {
            let is_hex = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(CommitId::parse(&text).is_ok(), is_hex);
        }
    }
}
