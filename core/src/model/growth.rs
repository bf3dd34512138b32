//! Words of a Dockerfile that its variables make too long.
//!
//! *Problem.* A builder replaces variables without a bound, so a small Dockerfile can keep an engine busy for hours. BuildKit
//! does not end that work with its build.
//!
//! *Decision.* Each instruction's length is estimated from the text before the build, from above where that is possible.
//!
//! *Would change if* builders had a bound of their own.

use std::collections::BTreeMap;

use super::dockerfile::{escape_character, instructions};
use super::expansion::split_words;

/// Most bytes that the variables may bring into one instruction. Linux takes no variable of 128 KiB (`MAX_ARG_STRLEN`), so
/// that no step could run with a longer one.
pub const MOST_GROWTH: usize = 128 << 10;
/// What counts for a variable of a base image, whose length the text does not tell.
const UNKNOWN: usize = 1 << 10;
/// The instructions whose variables a shell replaces, or nobody.
const LEFT_ALONE: [&str; 6] = ["RUN", "CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK", "MAINTAINER"];

/// Returns the line of the first instruction into which variables bring more than [`MOST_GROWTH`] bytes.
pub fn overgrown_line(dockerfile: &str, build_args: &BTreeMap<String, String>) -> Option<usize> {
    let escape = escape_character(dockerfile);
    let lines: Vec<&str> = dockerfile.lines().collect();
    let all = instructions(dockerfile.as_bytes());
    let mut lengths: BTreeMap<String, usize> = BTreeMap::new();
    for (at, instruction) in all.iter().enumerate() {
        let words = instruction.words.join(" ");
        let (keyword, text) = match (instruction.keyword.as_str(), words.split_once(' ')) {
            ("ONBUILD", Some((keyword, rest))) => (keyword.to_ascii_uppercase(), rest),
            (keyword, _) => (keyword.to_owned(), words.as_str()),
        };
        if LEFT_ALONE.contains(&keyword.as_str()) {
            continue;
        }
        // The variables of a here-document count, too.
        let end = all.get(at + 1).map_or(lines.len(), |next| next.line - 1);
        let whole = lines.get(instruction.line - 1..end).unwrap_or_default();
        let grown = whole.iter().map(|line| growth(line, |name| lengths.get(name).copied().unwrap_or_default()));
        if grown.fold(0, usize::saturating_add) > MOST_GROWTH {
            return Some(instruction.line);
        }
        for (name, value) in assignments(&keyword, text, escape) {
            let length = match (value, build_args.get(&name)) {
                (_, Some(given)) if keyword == "ARG" => given.len(),
                (None, _) => lengths.get(&name).copied().unwrap_or_default(),
                (Some(value), _) => {
                    let growth = growth(&value, |name| lengths.get(name).copied().unwrap_or(UNKNOWN));
                    value.len().saturating_add(growth)
                }
            };
            lengths.insert(name, length);
        }
    }
    None
}

/// Returns the variables that an instruction sets, each with its value's text.
fn assignments(keyword: &str, text: &str, escape: char) -> Vec<(String, Option<String>)> {
    let words = match keyword {
        "ARG" | "ENV" => split_words(text, escape),
        _ => Vec::new(),
    };
    match text.split_once(' ') {
        // `ENV name the value` is the older form.
        Some((name, value)) if keyword == "ENV" && !words.first().is_some_and(|word| word.contains('=')) => {
            vec![(name.to_owned(), Some(value.to_owned()))]
        }
        _ => words
            .iter()
            .map(|word| match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            })
            .collect(),
    }
}

/// Returns the bytes that variables bring into a text at most, by their lengths.
fn growth(text: &str, length: impl Fn(&str) -> usize) -> usize {
    let lengths = names(text).map(length);
    // `${NAME//pattern/replacement}` puts the replacement wherever the pattern is.
    let mut braced = text.split("${").skip(1);
    if braced.any(|rest| rest.trim_start_matches(is_of_name).starts_with('/')) {
        return lengths.fold(text.len(), |product, length| product.saturating_mul(length.max(1)));
    }
    lengths.fold(0, usize::saturating_add)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the names behind each `$` and `${`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(dockerfile: &str) -> Option<usize> {
        let given = [("GIVEN".to_owned(), "x".repeat(4096))].into();
        overgrown_line(dockerfile, &given)
    }

    fn doubled(keyword: &str, times: usize) -> String {
        (1..=times).map(|n| format!("{keyword} A{n}=$A{0}${{A{0}}}\n", n - 1)).collect()
    }

    #[test]
    fn what_grows_too_long_is_found_in_its_line() {
        let value = "x".repeat(1024);
        // A7 would have a little more than 128 KiB.
        assert_eq!(line(&format!("FROM a\nARG A0={value}\n{}", doubled("ENV", 8))), Some(9));
        assert_eq!(line(&format!("ARG A0={value}\n{}FROM a\n", doubled("ARG", 8))), Some(8));
        assert_eq!(line(&format!("FROM a\nENV A0 {value}\n{}LABEL a=$A6$A6\n", doubled("ENV", 6))), Some(9));
        assert_eq!(line(&format!("FROM a\nENV A0=$BASE\n{}", doubled("ONBUILD ENV", 8))), Some(9));
        assert_eq!(line(&format!("FROM a\nARG GIVEN\nLABEL a={}\n", "$GIVEN".repeat(33))), Some(3));
        assert_eq!(line("FROM a\nARG GIVEN\nENV A=${GIVEN//x/$GIVEN}\n"), Some(3));
        let document = format!("FROM a\nARG GIVEN\nCOPY <<EOF /a\n{}EOF\n", "$GIVEN\n".repeat(33));
        assert_eq!(line(&document), Some(3));
    }

    #[test]
    fn what_dockerfiles_do_is_left_alone() {
        let paths: String = (0..500).map(|n| format!("ENV PATH=/opt/{n}/bin:$PATH\n")).collect();
        assert_eq!(line(&format!("FROM a\n{paths}")), None);
        assert_eq!(line(&format!("FROM a\nARG GIVEN\nRUN echo {}\n", "$GIVEN".repeat(99))), None);
        let document = format!("FROM a\nCOPY <<EOF /nginx.conf\n{}EOF\n", "$host\n".repeat(999));
        assert_eq!(line(&document), None);
        assert_eq!(line(&format!("FROM a\nLABEL a={}\n", "x".repeat(500_000))), None);
        assert_eq!(line("FROM a\nENV V=1.2.3\nENV A=${V//./_} B=${V%.*} PATH=/opt/${V/./-}/bin:$PATH\n"), None);
        let flags = "ENV FLAGS=\"$FLAGS -I$PREFIX/include -L$PREFIX/lib\"\n".repeat(20);
        assert_eq!(line(&format!("FROM a\nENV PREFIX=/usr\n{flags}")), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "((FROM|ARG|ENV|COPY|ONBUILD) ?[-\\\\${}:=\"a-zé\\[< \n]{0,20}){0,5}") {
            line(&text);
        }
    }
}
