//! The volumes that a Dockerfile declares (<https://docs.docker.com/reference/dockerfile/#volume>).

use std::collections::BTreeMap;

use super::dockerfile::{escape_character, instructions};
use super::expansion::expand;
use super::stage_scope::StageScope;

/// A path behind `VOLUME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredVolume {
    /// Line of the instruction, from 1.
    pub line: usize,
    /// Path, with its variables replaced.
    pub path: String,
}

/// Returns the paths behind `VOLUME`. One with a variable that neither the Dockerfile nor `build_args` sets is left out,
/// because only the builder knows it.
pub fn declared_volumes(dockerfile: &str, build_args: &BTreeMap<String, String>) -> Vec<DeclaredVolume> {
    let escape = escape_character(dockerfile);
    let mut scope = StageScope::new(escape);
    let mut found = Vec::new();
    for instruction in instructions(dockerfile.as_bytes()) {
        let text = instruction.words.join(" ");
        if instruction.keyword != "VOLUME" {
            scope.read(&instruction.keyword, &text, &instruction, build_args);
            continue;
        }
        let words = serde_json::from_str(&text).unwrap_or_else(|_| instruction.words.clone());
        let paths = words.iter().filter_map(|word| expand(word, escape, &|name| scope.get(name)));
        found.extend(paths.map(|path| DeclaredVolume { line: instruction.line, path }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_those_that_the_builder_declares() {
        let dockerfile = "ARG ROOT=/srv\nFROM a AS one\nARG ROOT\nENV P=$ROOT/projects/x\nVOLUME $P/project \"/a\"\n\
             volume [\"${P}/data\", \"/b\"]\nFROM one\nVOLUME \\\n $P/c\nVOLUME $ROOT/d $UNKNOWN/e ${UNKNOWN:-/f}\n\
             ARG ROOT=/own\nVOLUME $ROOT\n";
        let args = [("ROOT".to_owned(), "/given".to_owned())].into();
        for (args, root, own) in [(BTreeMap::new(), "/srv", "/own"), (args, "/given", "/given")] {
            let found = declared_volumes(dockerfile, &args);
            let found: Vec<_> = found.iter().map(|volume| (volume.line, volume.path.replace(root, "R"))).collect();
            let own = own.replace(root, "R");
            let expected = [
                (5, "R/projects/x/project"),
                (5, "/a"),
                (6, "R/projects/x/data"),
                (6, "/b"),
                (8, "R/projects/x/c"),
                (10, "/f"),
                (12, own.as_str()),
            ];
            assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
        }
    }
}
