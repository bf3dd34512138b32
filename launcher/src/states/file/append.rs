//! `file.append`: lines at the end of a file, unless they are in it.

use std::fs;

use regex_lite::{Regex, escape};

use super::{Files, real};
use crate::states::accounts::Owner;
use crate::states::chunk::Chunk;
use crate::states::run::{Outcome, Undone};
use crate::{Problem, python};

/// The options of the lines.
pub struct Append {
    texts: Vec<String>,
    makedirs: bool,
    ignore_whitespace: bool,
}

impl Append {
    /// Reads the options.
    ///
    /// # Errors
    /// The text is missing, or an option has a value that means nothing.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        let texts = chunk.texts("text")?;
        if texts.is_empty() {
            return Err(chunk.problem("There is no `text` to append. Write the lines."));
        }
        let makedirs = chunk.boolean("makedirs", false)?;
        Ok(Self { texts, makedirs, ignore_whitespace: chunk.boolean("ignore_whitespace", true)? })
    }

    /// Appends the texts that are missing.
    ///
    /// # Errors
    /// The file is no text, or cannot be written.
    pub fn apply(&self, chunk: &Chunk, files: &Files<'_>) -> Result<Outcome, Undone> {
        let path = real(&files.path(chunk)?);
        let old = match fs::read(&path) {
            Ok(old) => Some(String::from_utf8(old).map_err(|_| Undone::Failed("the file is no text".into()))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut new = old.clone().unwrap_or_default();
        for text in &self.texts {
            if self.is_in(text, old.as_deref().unwrap_or_default())? {
                continue;
            }
            if !new.is_empty() && !new.ends_with('\n') {
                new.push('\n');
            }
            new.extend(python::lines(text).into_iter().flat_map(|line| [line, "\n"]));
        }
        if old.as_ref() == Some(&new) {
            return Ok(Outcome::unchanged());
        }
        files.check_parent(&path, self.makedirs)?;
        files.make_parents(&path, Owner::default(), None)?;
        files.write(&path, Owner::default(), None, new.as_bytes())?;
        Ok(Outcome::changed())
    }

    /// True if the file has the text. Whitespace within a line does not count, as in Salt.
    fn is_in(&self, text: &str, old: &str) -> Result<bool, Undone> {
        let pattern = if self.ignore_whitespace {
            let line = |line: &str| {
                let words: Vec<String> = line.split_whitespace().map(escape).collect();
                format!(r"\s*{}\s*", words.join(r"\s*"))
            };
            format!("(?m)^{}$", python::lines(text).into_iter().map(line).collect::<String>())
        } else {
            format!("(?m){text}")
        };
        let unclear = |error: regex_lite::Error| Undone::Failed(format!("the text cannot be searched: {error}"));
        Ok(Regex::new(&pattern).map_err(unclear)?.is_match(old))
    }
}
