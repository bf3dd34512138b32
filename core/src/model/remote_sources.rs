//! The addresses that `ADD` fetches from (<https://docs.docker.com/reference/dockerfile/#add>). The engine does it, from
//! where it runs, so that it reaches what listens on its machine alone.

use std::collections::BTreeMap;

use super::dockerfile::{escape_character, instructions};
use super::expansion::expand;
use super::stage_scope::StageScope;

/// An address behind `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSource {
    /// Line of the instruction, from 1.
    pub line: usize,
    /// Address, such as `https://example.com/a.tar`, with all variables replaced that are known. The others are empty, as
    /// those are that nobody sets.
    pub url: String,
    /// True if there was no variable that is not known.
    pub is_known: bool,
}

/// Returns the addresses behind `ADD` and `ONBUILD ADD`. Variables are known if the Dockerfile or `build_args` sets them;
/// those that a base image sets, and the builder's own, are not.
pub fn remote_sources(dockerfile: &str, build_args: &BTreeMap<String, String>) -> Vec<RemoteSource> {
    let escape = escape_character(dockerfile);
    let mut scope = StageScope::new(escape);
    let mut found = Vec::new();
    for instruction in instructions(dockerfile.as_bytes()) {
        let text = instruction.words.join(" ");
        let (keyword, text) = match (instruction.keyword.as_str(), text.split_once(' ')) {
            ("ONBUILD", Some((keyword, rest))) => (keyword.to_ascii_uppercase(), rest),
            (keyword, _) => (keyword.to_owned(), text.as_str()),
        };
        if keyword != "ADD" {
            scope.read(&keyword, text, &instruction, build_args);
            continue;
        }
        let flags = text.split(' ').take_while(|word| word.starts_with("--")).map(|flag| flag.len() + 1).sum();
        let text = text.get(flags..).unwrap_or_default();
        let json = serde_json::from_str::<Vec<String>>(text).ok();
        let mut words = json.unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect());
        // The last one is the place in the image.
        words.pop();
        for word in words {
            let known = expand(&word, escape, &|name| scope.get(name));
            let is_known = known.is_some();
            let or_empty = |name: &str| Some(scope.get(name).unwrap_or_default());
            let url = known.or_else(|| expand(&word, escape, &or_empty)).filter(|url| is_remote(url));
            found.extend(url.map(|url| RemoteSource { line: instruction.line, url, is_known }));
        }
    }
    found
}

/// Returns true for what a builder fetches: by http, or by Git in one of the ways that BuildKit knows.
fn is_remote(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dockerfile: &str) -> Vec<(usize, String)> {
        let args = [("GIVEN".to_owned(), "given".to_owned()), ("UNDECLARED".to_owned(), "no".to_owned())].into();
        remote_sources(dockerfile, &args).into_iter().map(|source| (source.line, source.url)).collect()
    }

    #[test]
    fn addresses_are_found_in_each_form() {
        let dockerfile = "FROM a\nADD --chown=1 http://a/1 http://a/2 file /d/\nadd [\"https://a/3\", \"/d\"]\n\
             ADD --chown=1 --link [\"HTTP://a/4\", \"/d\"]\nADD \\\n  'http://a/5' \\\n http://dest/\n\
             ONBUILD ADD http://a/6 /\nADD git@a:7.git /\nADD git://a/8.git /\nCOPY http://a/9 /\nRUN <<EOF\nADD http://a/10 /\nEOF\n";
        let expected = [
            (2, "http://a/1"),
            (2, "http://a/2"),
            (3, "https://a/3"),
            (4, "HTTP://a/4"),
            (5, "http://a/5"),
            (8, "http://a/6"),
            (9, "git@a:7.git"),
            (10, "git://a/8.git"),
        ];
        assert_eq!(found(dockerfile), expected.map(|(line, url)| (line, url.to_owned())));
        assert_eq!(found("# escape=`\nFROM a\nADD http://a`.b/ /\n"), [(3, "http://a.b/".to_owned())]);
    }

    #[test]
    fn variables_are_those_of_the_stage() {
        let dockerfile = "ARG HOST=global\nARG GIVEN=default\nFROM x AS one\nADD http://$HOST/ /\nARG HOST\nARG GIVEN\n\
             ARG OWN=own\nADD http://$HOST-$GIVEN-${OWN}/ /\nENV HOST=env A=\"$HOST b\"\nENV OLD the old\n\
             ADD http://$HOST/$A/$OLD/$UNDECLARED /\nFROM One\nADD http://$HOST.$OWN/ /\nFROM x\nADD http://$HOST/ /\n";
        let urls: Vec<_> = found(dockerfile).into_iter().map(|(_, url)| url).collect();
        let expected =
            ["http:///", "http://global-given-own/", "http://env/global b/the old/", "http://env./", "http:///"];
        assert_eq!(urls, expected);
        assert!(!remote_sources("FROM a\nADD http://a/$B /\n", &BTreeMap::new())[0].is_known);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "((FROM|ARG|ENV|ADD|ONBUILD) ?[-\\\\${}:=\"a-z\\[ \n]{0,20}){0,5}") {
            found(&text);
        }
    }
}
