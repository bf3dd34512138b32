use std::fmt;
use std::str::FromStr;

use crate::model::CommitId;

/// A full object id of SHA-1 (20 bytes) or SHA-256 (32 bytes), written as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid {
    bytes: [u8; 32],
    len: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an object id has 40 or 64 hexadecimal digits")]
pub struct OidError;

impl Oid {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Makes an id for content that is no Git object.
    pub(super) fn from_digest(sha256: [u8; 32]) -> Self {
        Self { bytes: sha256, len: 32 }
    }

    pub(super) fn from_bytes(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let place = bytes.get_mut(..raw.len()).filter(|place| matches!(place.len(), 20 | 32))?;
        place.copy_from_slice(raw);
        Some(Self { bytes, len: raw.len() as u8 })
    }

    pub(super) fn from_hex(hex: &[u8]) -> Result<Self, OidError> {
        let mut bytes = [0; 32];
        let place = bytes.get_mut(..hex.len() / 2).ok_or(OidError)?;
        hex::decode_to_slice(hex, place).map_err(|_| OidError)?;
        Self::from_bytes(place).ok_or(OidError)
    }
}

impl FromStr for Oid {
    type Err = OidError;
    fn from_str(hex: &str) -> Result<Self, OidError> {
        Self::from_hex(hex.as_bytes())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl From<Oid> for CommitId {
    fn from(oid: Oid) -> Self {
        // An Oid has 20 or 32 bytes, so its text is always a valid id.
        Self::parse(&oid.to_string()).unwrap_or_else(|e| unreachable!("{e}"))
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_written_as_it_was_read(hex in "[0-9a-f]{40}|[0-9a-f]{64}") {
            prop_assert_eq!(hex.parse::<Oid>().unwrap().to_string(), hex);
        }

        #[test]
        fn nothing_else_is_an_id(text in "\\PC{0,70}") {
            let hex = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<Oid>().is_ok(), hex);
        }
    }
}
