//! The addresses that `ADD` fetches from (<https://docs.docker.com/reference/dockerfile/#add>). The engine does it, from
//! where it runs, so that it reaches what listens on its machine alone.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::dockerfile::{escape_character, instructions};
use super::expansion::{Variables, expand, split_words};

/// Number of named stages whose variables are remembered for the stages that are built on them.
const MAX_STAGES: usize = 1000;

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
    let mut scope = StageScope::default();
    let mut found = Vec::new();
    for instruction in instructions(dockerfile.as_bytes()) {
        let text = instruction.words.join(" ");
        let (keyword, text) = match (instruction.keyword.as_str(), text.split_once(' ')) {
            ("ONBUILD", Some((keyword, rest))) => (keyword.to_ascii_uppercase(), rest),
            (keyword, _) => (keyword.to_owned(), text.as_str()),
        };
        match keyword.as_str() {
            "FROM" => scope.begin_stage(instruction.base_image(), instruction.stage(), escape),
            "ARG" => {
                for word in split_words(text, escape) {
                    let (name, default) = match word.split_once('=') {
                        Some((name, default)) => (name, expand(default, escape, &|name| scope.get(name))),
                        None => (&*word, scope.global.get(&word).cloned()),
                    };
                    scope.set_arg(name, build_args.get(name).cloned().or(default));
                }
            }
            "ENV" => {
                let words = split_words(text, escape);
                // `ENV name the value` is the older form.
                let older = || text.split_once(' ').map(|(name, value)| format!("{name}={}", value.trim()));
                let is_older = words.first().is_some_and(|word| !word.contains('='));
                let words = if is_older { older().into_iter().collect() } else { words };
                // All values of one instruction see the variables as they were before it.
                let pairs = words.iter().filter_map(|word| word.split_once('='));
                let pairs: Vec<_> =
                    pairs.map(|(name, value)| (name, expand(value, escape, &|name| scope.get(name)))).collect();
                for (name, value) in pairs {
                    scope.set_env(name, value);
                }
            }
            "ADD" => {
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
            _ => {}
        }
    }
    found
}

/// Returns true for what a builder fetches: by http, or by Git in one of the ways that BuildKit knows.
fn is_remote(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|scheme| source.starts_with(scheme))
}

/// The variables that are known at a place of the Dockerfile.
#[derive(Default)]
struct StageScope {
    /// `ARG`s before the first `FROM`.
    global: Variables,
    /// `ARG`s of this stage.
    args: Variables,
    env: Rc<Variables>,
    /// Name of this stage, in lower case; `None` before the first one.
    stage: Option<String>,
    /// `ENV`s of the stages before it.
    stages: HashMap<String, Rc<Variables>>,
}

impl StageScope {
    fn get(&self, name: &str) -> Option<String> {
        self.env
            .get(name)
            .or_else(|| if self.stage.is_some() { self.args.get(name) } else { self.global.get(name) })
            .cloned()
    }

    fn set_arg(&mut self, name: &str, value: Option<String>) {
        if self.stage.is_some() { &mut self.args } else { &mut self.global }.set(name, value);
    }

    fn set_env(&mut self, name: &str, value: Option<String>) {
        Rc::make_mut(&mut self.env).set(name, value);
    }

    fn begin_stage(&mut self, base: Option<&str>, name: Option<&str>, escape: char) {
        if let Some(stage) = self.stage.take().filter(|stage| !stage.is_empty() && self.stages.len() < MAX_STAGES) {
            self.stages.insert(stage, self.env.clone());
        }
        let base = base.and_then(|base| expand(base, escape, &|name| self.global.get(name).cloned()));
        self.env = base.and_then(|base| self.stages.get(&base.to_lowercase()).cloned()).unwrap_or_default();
        self.args = Variables::default();
        self.stage = Some(name.unwrap_or_default().to_lowercase());
    }
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
