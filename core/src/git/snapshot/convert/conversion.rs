//! The attributes that convert a file.

use sha2::{Digest, Sha256};

use super::ConversionKey;
use crate::git::Oid;

/// Names of the attributes that decide how a file is converted; `crlf` is an older name of `text`.
pub(super) const NAMES: [&str; 6] = ["filter", "text", "crlf", "eol", "ident", "working-tree-encoding"];

/// Values of all attributes in [`NAMES`] except the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversion {
    pub text: Vec<u8>,
    pub crlf: Vec<u8>,
    pub eol: Vec<u8>,
    pub ident: Vec<u8>,
    pub encoding: Vec<u8>,
}

impl Conversion {
    pub fn changes_line_ends(&self) -> bool {
        let text = if self.text == b"unspecified" { &self.crlf } else { &self.text };
        self.eol == b"crlf" && text != b"unset"
    }

    pub fn encodes(&self) -> bool {
        !matches!(&self.encoding[..], b"unspecified" | b"")
    }

    /// Returns false if a checkout on Linux changes no file by these values.
    pub fn changes_files(&self) -> bool {
        self.changes_line_ends() || self.ident == b"set" || self.encodes()
    }

    fn values(&self) -> [(&str, &[u8]); 5] {
        let Self { text, crlf, eol, ident, encoding } = self;
        [("text", text), ("crlf", crlf), ("eol", eol), ("ident", ident), (NAMES[5], encoding)]
    }

    /// Returns the attributes that give these values to a pattern of a `.gitattributes`.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        for (name, value) in self.values() {
            let word = match value {
                b"unspecified" => continue,
                b"set" => name.as_bytes().to_vec(),
                b"unset" => [b"-", name.as_bytes()].concat(),
                value => [name.as_bytes(), b"=", value].concat(),
            };
            line.extend([b" ", &word[..]].concat());
        }
        line
    }

    pub fn key(&self, oid: &Oid) -> ConversionKey {
        Sha256::new().chain_update(oid.as_bytes()).chain_update(self.line()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversion(values: [&str; 5]) -> Conversion {
        let [text, crlf, eol, ident, encoding] = values.map(|value| value.as_bytes().to_vec());
        Conversion { text, crlf, eol, ident, encoding }
    }

    #[test]
    fn only_what_may_change_a_file_on_linux_is_a_conversion() {
        const NO: &str = "unspecified";
        for (values, changes_files, line) in [
            ([NO, NO, NO, NO, NO], false, ""),
            (["auto", NO, NO, NO, NO], false, " text=auto"),
            (["set", NO, "lf", "unset", NO], false, " text eol=lf -ident"),
            (["unset", NO, "crlf", NO, NO], false, " -text eol=crlf"),
            ([NO, "unset", "crlf", NO, NO], false, " -crlf eol=crlf"),
            (["auto", "unset", "crlf", NO, NO], true, " text=auto -crlf eol=crlf"),
            ([NO, NO, "crlf", NO, NO], true, " eol=crlf"),
            (["unset", NO, NO, "set", NO], true, " -text ident"),
            ([NO, NO, NO, NO, "UTF-16"], true, " working-tree-encoding=UTF-16"),
            ([NO, NO, NO, NO, ""], false, " working-tree-encoding="),
        ] {
            let conversion = conversion(values);
            assert_eq!(
                (conversion.changes_files(), conversion.line()),
                (changes_files, line.as_bytes().to_vec()),
                "{values:?}"
            );
        }
    }
}
