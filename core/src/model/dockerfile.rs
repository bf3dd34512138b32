//! The instructions of a Dockerfile, as far as base images and messages about a failed build need them
//! (<https://docs.docker.com/reference/dockerfile/>).

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Number of its first line, from 1.
    pub line: usize,
    /// The keyword in upper case, such as `COPY`.
    pub keyword: String,
    /// The words after the keyword, those of continued lines too.
    pub words: Vec<String>,
    /// True if lines of a here-document follow it.
    pub has_here_document: bool,
}

impl Instruction {
    /// Reads an instruction that stands in one line, as a builder names a step.
    pub fn read(text: &str, line: usize) -> Self {
        let mut words = text.split_whitespace().map(str::to_owned);
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        Self { line, keyword, words: words.collect(), has_here_document: false }
    }

    /// Returns the flags, such as `--from=build`.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str).take_while(|word| word.starts_with("--"))
    }

    /// Returns the words behind the flags.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str).skip_while(|word| word.starts_with("--"))
    }

    /// Returns the stages and images that it takes files from: the values of `COPY --from` and `RUN --mount=from=…`.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.flags().filter_map(|flag| {
            let mount = || flag.strip_prefix("--mount=")?.split(',').find_map(|part| part.strip_prefix("from="));
            flag.strip_prefix("--from=").or_else(mount)
        })
    }

    /// Returns the image after `FROM`.
    pub fn base_image(&self) -> Option<&str> {
        self.arguments().next().filter(|_| self.keyword == "FROM")
    }

    /// Returns the name after `FROM … AS`.
    pub fn stage(&self) -> Option<&str> {
        let mut words = self.arguments().skip(1).filter(|_| self.keyword == "FROM");
        words.next().filter(|word| word.eq_ignore_ascii_case("as")).and_then(|_| words.next())
    }
}

/// Returns the instructions of a Dockerfile in their order.
pub fn instructions(dockerfile: &[u8]) -> Vec<Instruction> {
    let text = String::from_utf8_lossy(dockerfile);
    let text = text.trim_start_matches('\u{feff}');
    let escape = escape_character(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(&first) = lines.get(next) {
        let number = next + 1;
        next += 1;
        if is_skipped(first) {
            continue;
        }
        let mut whole = String::new();
        let mut line = first;
        while let Some(part) = line.trim_end().strip_suffix(escape) {
            whole = whole + part + " ";
            // Comments and empty lines inside of an instruction do not end it.
            while lines.get(next).is_some_and(|line| is_skipped(line)) {
                next += 1;
            }
            line = lines.get(next).copied().unwrap_or_default();
            next += 1;
        }
        let mut instruction = Instruction::read(&(whole + line), number);
        if ["RUN", "COPY", "ADD"].contains(&instruction.keyword.as_str()) {
            let ends: Vec<String> = instruction.words.iter().filter_map(|word| end_of_here_document(word)).collect();
            for end in ends {
                // A shell's `<<` has no line that ends it.
                if let Some(length) = lines.get(next..).and_then(|rest| rest.iter().position(|line| line.trim() == end))
                {
                    instruction.has_here_document = true;
                    next += length + 1;
                }
            }
        }
        found.push(instruction);
    }
    found
}

/// Returns the character that continues a line and takes the meaning from the next character.
pub(super) fn escape_character(dockerfile: &str) -> char {
    let mut directives = directives(dockerfile.trim_start_matches('\u{feff}'));
    let is_backtick = directives.any(|(name, value)| name == "escape" && value == "`");
    if is_backtick { '`' } else { '\\' }
}

/// Returns true if the Dockerfile names its frontend by a line `# syntax=`.
pub fn names_syntax(dockerfile: &[u8]) -> bool {
    let text = String::from_utf8_lossy(dockerfile);
    directives(text.trim_start_matches('\u{feff}')).any(|(name, _)| name == "syntax")
}

/// Returns the directives, which are comments `# name=value` before everything else.
fn directives(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.lines().map_while(|line| {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        name.bytes().all(|b| b.is_ascii_alphanumeric()).then(|| (name, value.trim()))
    })
}

fn is_skipped(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Returns the line that ends the here-document of a word such as `<<EOF`, `<<-"EOF"` or `3<<EOF`.
fn end_of_here_document(word: &str) -> Option<String> {
    let name = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let name = name.strip_prefix('-').unwrap_or(name).trim_matches(['"', '\'']);
    (!name.is_empty() && !name.starts_with('<')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_their_lines_and_words() {
        let text = "\u{feff}# escape=`\n\n# comment\nfrom --platform=linux/arm64 a:1 as build\nRUN x `\n\n  # inside\n  y\n\
                    RUN <<EOF cat\nFROM none\nEOF\nCOPY --from=build --chown=1 /a /b\nRUN --mount=type=bind,from=c,target=/d true\n";
        let all = instructions(text.as_bytes());
        let seen: Vec<_> = all.iter().map(|i| (i.line, i.keyword.as_str(), i.words.join(" "))).collect();
        let expected = [
            (4, "FROM", "--platform=linux/arm64 a:1 as build"),
            (5, "RUN", "x y"),
            (9, "RUN", "<<EOF cat"),
            (12, "COPY", "--from=build --chown=1 /a /b"),
            (13, "RUN", "--mount=type=bind,from=c,target=/d true"),
        ];
        assert_eq!(seen, expected.map(|(line, keyword, words)| (line, keyword, words.to_owned())));
        assert_eq!((all[0].base_image(), all[0].stage()), (Some("a:1"), Some("build")));
        assert!(all[2].has_here_document && !all[1].has_here_document);
        assert_eq!(all[3].sources().chain(all[4].sources()).collect::<Vec<_>>(), ["build", "c"]);
        assert_eq!(all[3].arguments().collect::<Vec<_>>(), ["/a", "/b"]);
    }

    #[test]
    fn a_syntax_is_named_before_everything_else_only() {
        assert!(names_syntax(b"# escape=`\n#Syntax = docker/dockerfile:1\nFROM a\n"));
        assert!(!names_syntax(b"FROM a\n# syntax=docker/dockerfile:1\n"));
        assert!(!names_syntax(b"# the words\n# syntax=docker/dockerfile:1\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(FROM|RUN|<<EOF|EOF|\\\\|#|\n| |[a-z=-]){0,30}") {
            instructions(text.as_bytes());
        }
    }
}
