use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::name::{NameError, refuse};

/// Full id of a commit: 40 hexadecimal digits (SHA-1) or 64 (SHA-256), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
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

impl TryFrom<String> for CommitId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
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
