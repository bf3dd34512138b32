use std::mem::take;

use zeroize::Zeroizing;

use super::Spec;

/// A variable of an environment file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub name: String,
    pub value: Zeroizing<String>,
    /// Line of the name, from 1.
    pub line: usize,
}

impl Variable {
    /// Returns why the variable's name is no setting's and can be no other program's either, because it is then lost.
    pub fn fault(&self, table: &[Spec]) -> Option<String> {
        let name = &self.name;
        if let Some(("export", rest)) = name.split_once(char::is_whitespace) {
            return Some(format!("this file is no shell script: write {}= without export", rest.trim()));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(is_word) || name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            // The text before = may be the end of a secret, so it is not shown.
            return Some(
                "what is before = is no name: letters, digits and _ alone, as in LISTEN=127.0.0.1:8080".into(),
            );
        }
        let other_case = |known: &String| known != name && known.eq_ignore_ascii_case(name);
        let known = table.iter().flat_map(Spec::variables).find(other_case)?;
        Some(format!("{name} is no setting: write {known}"))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    BeforeName,
    Name,
    /// Before a value, and behind a quoted part of it.
    BeforeValue,
    Value,
    Escape,
    SingleQuotes,
    DoubleQuotes,
    DoubleQuotesEscape,
    Comment,
    CommentEscape,
}

/// Reads a file of `NAME=value` lines as systemd reads an `EnvironmentFile=` (`parse_env_file_internal` in its
/// `src/basic/env-file.c`), because the service's file was written for it. Returns the faults, too, each with its line:
/// systemd passes over them, and a setting would be lost.
pub(super) fn parse(text: &str) -> (Vec<Variable>, Vec<(usize, &'static str)>) {
    let (mut variables, mut faults) = (Vec::new(), Vec::new());
    let (mut name, mut value) = (String::new(), Zeroizing::new(String::new()));
    // Spaces at the end of an unquoted value do not belong to it, so `end` is where the value ends without them.
    let (mut line, mut named_at, mut quoted_at, mut end, mut state) = (1, 1, 1, 0, State::BeforeName);
    // The last line may end with a backslash, so it takes two ends.
    for c in text.chars().chain(['\n', '\n']) {
        let is_end = c == '\n';
        state = match state {
            State::BeforeName if matches!(c, '#' | ';') => State::Comment,
            State::BeforeName if c.is_whitespace() => State::BeforeName,
            State::BeforeName if c == '=' => {
                (name, named_at, value, end) = (String::new(), line, Zeroizing::default(), 0);
                State::BeforeValue
            }
            State::BeforeName => {
                (name, named_at) = (c.to_string(), line);
                State::Name
            }
            State::Name if is_end => {
                faults.push((named_at, "this line has no =: write NAME=value, or # before a comment"));
                State::BeforeName
            }
            State::Name if c == '=' => {
                (value, end) = (Zeroizing::default(), 0);
                State::BeforeValue
            }
            State::Name => {
                name.push(c);
                State::Name
            }
            State::BeforeValue | State::Value if is_end => {
                value.truncate(end);
                let name = take(&mut name).trim_end().to_owned();
                variables.push(Variable { name, value: take(&mut value), line: named_at });
                State::BeforeName
            }
            State::BeforeValue if matches!(c, '\'' | '"') => {
                quoted_at = line;
                if c == '"' { State::DoubleQuotes } else { State::SingleQuotes }
            }
            State::BeforeValue | State::Value if c == '\\' => State::Escape,
            State::BeforeValue if c.is_whitespace() => State::BeforeValue,
            State::BeforeValue | State::Value => {
                value.push(c);
                if !c.is_whitespace() {
                    end = value.len();
                }
                State::Value
            }
            State::Escape => {
                if !is_end {
                    value.push(c);
                }
                end = value.len();
                State::Value
            }
            State::SingleQuotes if c == '\'' => State::BeforeValue,
            State::DoubleQuotes if c == '"' => State::BeforeValue,
            State::DoubleQuotes if c == '\\' => State::DoubleQuotesEscape,
            State::SingleQuotes | State::DoubleQuotes => {
                value.push(c);
                end = value.len();
                state
            }
            State::DoubleQuotesEscape => {
                if !matches!(c, '"' | '\\' | '`' | '$' | '\n') {
                    value.push('\\');
                }
                if !is_end {
                    value.push(c);
                }
                end = value.len();
                State::DoubleQuotes
            }
            State::Comment if c == '\\' => State::CommentEscape,
            State::Comment if is_end => State::BeforeName,
            State::Comment | State::CommentEscape => State::Comment,
        };
        line += usize::from(is_end);
    }
    if matches!(state, State::SingleQuotes | State::DoubleQuotes) {
        faults.push((quoted_at, "this quote is open to the end of the file: close it, or remove it"));
    }
    (variables, faults)
}

/// Returns the warning of a name that a file has twice. The last line counts, as in systemd's `EnvironmentFile=`.
pub(super) fn set_twice(path: &str, name: &str, former: usize, line: usize) -> String {
    format!("{path}:{line}: {name} is set again, so that line {former} has no effect: keep one of the two lines")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        let text = "# a comment\n; another\n\nPLAIN=a b  \n  SPACED = x=y \n\nEMPTY=\nSINGLE='a \"b\" \\n'\n\
                    DOUBLE=\"a \\\"b\\\" \\n\" 'c' # d\nESCAPED=a\\ \\\n b\nLINES='1\n2'\nLAST=a\"b\"\\";
        let (variables, faults) = parse(text);
        assert_eq!(faults, []);
        let read: Vec<_> = variables.into_iter().map(|v| (v.line, v.name, v.value.to_string())).collect();
        let expected = [
            (4, "PLAIN", "a b"),
            (5, "SPACED", "x=y"),
            (7, "EMPTY", ""),
            (8, "SINGLE", "a \"b\" \\n"),
            (9, "DOUBLE", "a \"b\" \\nc# d"),
            (10, "ESCAPED", "a  b"),
            (12, "LINES", "1\n2"),
            (14, "LAST", "a\"b\""),
        ];
        assert_eq!(read, expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned())));
    }
}
