use std::mem::take;

use zeroize::Zeroizing;

/// A variable of an environment file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub name: String,
    pub value: Zeroizing<String>,
    /// Line of the name, from 1.
    pub line: usize,
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
/// `src/basic/env-file.c`), because the service's file was written for it. Lines without `=` are passed over.
pub(super) fn parse(text: &str) -> Vec<Variable> {
    let mut variables = Vec::new();
    let (mut name, mut value) = (String::new(), Zeroizing::new(String::new()));
    // Spaces at the end of an unquoted value do not belong to it, so `end` is where the value ends without them.
    let (mut line, mut named_at, mut end, mut state) = (1, 1, 0, State::BeforeName);
    for c in text.chars().chain(['\n']) {
        let is_end = c == '\n';
        state = match state {
            State::BeforeName if matches!(c, '#' | ';') => State::Comment,
            State::BeforeName if c.is_whitespace() => State::BeforeName,
            State::BeforeName => {
                (name, named_at) = (c.to_string(), line);
                State::Name
            }
            State::Name if is_end => State::BeforeName,
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
            State::BeforeValue if c == '\'' => State::SingleQuotes,
            State::BeforeValue if c == '"' => State::DoubleQuotes,
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
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        let text = "# a comment\n; another\n\nPLAIN=a b  \n  SPACED = x=y \nnothing\nEMPTY=\nSINGLE='a \"b\" \\n'\n\
                    DOUBLE=\"a \\\"b\\\" \\n\" 'c' # d\nESCAPED=a\\ \\\n b\nLINES='1\n2'\nLAST=a\"b\"";
        let read: Vec<_> = parse(text).into_iter().map(|v| (v.line, v.name, v.value.to_string())).collect();
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
