use serde::{Deserialize, Serialize};

/// Longest instruction that a message shows, in characters.
const INSTRUCTION: usize = 80;
/// Longest line of output that a message shows, in characters.
const LINE: usize = 200;

/// The step of a Dockerfile that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedStep {
    /// Number of the step in its stage, and number of the stage's steps: `3/4`.
    pub number: String,
    /// Name of the stage, if the builder gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The instruction, shortened to 80 characters.
    pub instruction: String,
    /// The last line that the step wrote, shortened to 200 characters; `None` if it wrote nothing.
    pub last_line: Option<String>,
}

impl FailedStep {
    /// Reads a builder's name of a step: BuildKit's `[3/4] RUN make` or `[build 3/4] RUN make`, or the classic builder's
    /// `Step 3/4 : RUN make`. Returns `None` for what is no step of the Dockerfile.
    pub fn read(name: &str, last_line: Option<&str>) -> Option<Self> {
        let buildkit = || name.strip_prefix('[')?.split_once("] ");
        let (place, instruction) =
            name.strip_prefix("Step ").and_then(|rest| rest.split_once(" : ")).or_else(buildkit)?;
        let (stage, number) = place.trim().rsplit_once(' ').map_or((None, place.trim()), |(stage, n)| (Some(stage), n));
        let (own, all) = number.split_once('/')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (is_number(own) && is_number(all)).then(|| Self {
            number: number.into(),
            stage: stage.map(|stage| stage.trim().to_owned()),
            instruction: shortened(instruction, INSTRUCTION),
            last_line: last_line.map(|line| shortened(line, LINE)).filter(|line| !line.is_empty()),
        })
    }

    /// Returns the name of the step in BuildKit's form: `[build 3/4] RUN make`.
    pub fn name(&self) -> String {
        let stage = self.stage.as_ref().map_or(String::new(), |stage| format!("{stage} "));
        format!("[{stage}{}] {}", self.number, self.instruction)
    }
}

/// Makes one line of at most `limit` characters, without a terminal's colours.
fn shortened(text: &str, limit: usize) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // A sequence such as `ESC [ 31 m` ends with a letter.
            '\u{1b}' => drop(chars.by_ref().find(char::is_ascii_alphabetic)),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some(_) => line.chars().take(limit - 1).chain(['…']).collect(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_both_builders_are_read() {
        for (name, expected) in [
            ("[3/4] RUN make", Some("[3/4] RUN make")),
            ("[ 3/14] RUN  make \\\n  all", Some("[3/14] RUN make \\ all")),
            ("[build 3/4] RUN make", Some("[build 3/4] RUN make")),
            ("[linux/arm64 build  3/4] RUN make", Some("[linux/arm64 build 3/4] RUN make")),
            ("Step 3/4 : RUN make", Some("[3/4] RUN make")),
            ("[internal] load metadata for docker.io/library/busybox:1", None),
            ("https://example.com/x", None),
            ("", None),
        ] {
            assert_eq!(FailedStep::read(name, None).map(|step| step.name()).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn long_and_coloured_texts_are_shortened() {
        let step =
            FailedStep::read(&format!("[1/1] RUN {}", "é".repeat(90)), Some("\u{1b}[31mError:\u{1b}[0m\tno\r\n"));
        let step = step.unwrap();
        assert_eq!((step.instruction.chars().count(), step.last_line.as_deref()), (80, Some("Error: no")));
        assert!(step.instruction.ends_with('…'), "{step:?}");
        assert_eq!(FailedStep::read("[1/1] RUN x", Some(" \n")).unwrap().last_line, None);
    }
}
