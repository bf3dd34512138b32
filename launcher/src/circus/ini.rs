//! Sections and options of an INI file, as circus 0.19 reads them (`StrictConfigParser` of circus/util.py).

use std::path::Path;

use crate::{Place, Problem};

/// A `[name]` and what stands below it. A section that occurs twice is one section.
pub struct Section {
    pub name: String,
    pub place: Place,
    pub options: Vec<IniOption>,
}

/// One `key = value`.
pub struct IniOption {
    pub key: String,
    /// Continuation lines are joined by line feeds.
    pub value: String,
    pub place: Place,
}

/// Reads a file's text.
///
/// # Errors
/// A line that is neither a section nor an option, or an option before the first section.
pub fn read(file: &Path, text: &str) -> Result<Vec<Section>, Problem> {
    let mut sections: Vec<Section> = Vec::new();
    let mut current: Option<usize> = None;
    // The option that an indented line continues. The first value of an option counts, so a second one continues none.
    let mut continued: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let place = Place::new(file, number + 1);
        let is_remark = line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("rem"));
        if line.trim().is_empty() || line.starts_with(['#', ';']) || (is_remark && line.starts_with(['r', 'R'])) {
            continue;
        }
        if line.starts_with(char::is_whitespace)
            && let (Some(section), Some(option)) = (current, continued)
        {
            let option: &mut IniOption = &mut sections[section].options[option];
            option.value += "\n";
            option.value += line.trim();
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| Some(&rest[..rest.find(']')?])) {
            current = sections.iter().position(|section| section.name == name).or_else(|| {
                sections.push(Section { name: name.into(), place, options: Vec::new() });
                Some(sections.len() - 1)
            });
            continued = None;
            continue;
        }
        let Some(section) = current else {
            return Err(
                place.problem("An option stands before the first section. Put it below a line like [watcher:app].")
            );
        };
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return Err(place.problem("The line is neither a [section] nor an option. Write `key = value`."));
        };
        let key = key.trim().to_owned();
        let options = &mut sections[section].options;
        if options.iter().any(|option| option.key == key) {
            continue;
        }
        options.push(IniOption { key, value: without_comment(value).into(), place });
        continued = Some(options.len() - 1);
    }
    Ok(sections)
}

/// Cuts off a comment, which begins with a semicolon behind a blank. A value of two quotes is the empty one.
fn without_comment(value: &str) -> &str {
    let end = value.find(';').filter(|end| value[..*end].ends_with(char::is_whitespace)).unwrap_or(value.len());
    match value[..end].trim() {
        "\"\"" => "",
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_circus_reads_them() {
        let text = "# remark\nrem me\n[watcher:a]\ncmd = sleep  ; waits\nargs: 1\n  2\ncmd = again\nnone = \"\"\nx=a;b\n\n[env]\nA=1\n[watcher:a]\nz = 1\n";
        let sections = read(Path::new("c.ini"), text).unwrap();
        let seen: Vec<_> = sections
            .iter()
            .flat_map(|section| section.options.iter().map(|o| (&*section.name, &*o.key, &*o.value, o.place.line)))
            .collect();
        assert_eq!(
            seen,
            [
                ("watcher:a", "cmd", "sleep", 4),
                ("watcher:a", "args", "1\n2", 5),
                ("watcher:a", "none", "", 8),
                ("watcher:a", "x", "a;b", 9),
                ("watcher:a", "z", "1", 14),
                ("env", "A", "1", 12)
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_option_is_named() {
        let problem = |text| read(Path::new("c.ini"), text).err().unwrap().to_string();
        assert_eq!(
            problem("a = 1\n"),
            "c.ini:1: An option stands before the first section. Put it below a line like [watcher:app]."
        );
        assert_eq!(
            problem("[env]\n\nword\n"),
            "c.ini:3: The line is neither a [section] nor an option. Write `key = value`."
        );
    }
}
