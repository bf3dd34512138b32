//! Explains why a build failed by what the Dockerfile and the context say, because the engine's own message names neither
//! the line nor the file that was meant.

use super::advice::{self, with_cure};
use super::api::errors::EngineError;
use super::api::kind::ErrorKind;
use super::context::place::FilePlace;
use super::context::tree::Tree;
use crate::model::{Builder, FailedStep, Instruction, instructions, names_syntax};

/// Podman's words behind the instruction `COPY --from=NAME`.
const PODMANS_NO_STAGE: &str = ": no stage or image found with that name";

/// Adds to a failure the step, and what was looked for and where. A step that ran says enough by its exit code. `builder`
/// is `None` for Podman's, which knows other instructions than either of Docker's.
pub(super) async fn explain(
    error: EngineError,
    tree: &Tree,
    dockerfile: &str,
    builder: Option<Builder>,
) -> EngineError {
    use ErrorKind::{Auth, Build, Refused, Registry};
    if let Some(message) = unreadable(&error, tree, dockerfile).await {
        return EngineError { kind: Build, message, ..error };
    }
    if error.exit_code.is_some() || !matches!(error.kind, Build | Auth | Refused | Registry) {
        return error;
    }
    let Some(text) = tree.read(dockerfile).await else { return error };
    let failure = BuildFailure { all: instructions(&text), step: error.step_name().to_owned(), error };
    let explained = failure.url().or_else(|| failure.image());
    let explained = match explained {
        None => failure.file(tree).await.map(|message| (Build, message)),
        found => found,
    };
    let explained = explained.or_else(|| Some((failure.error.kind, failure.frontend(&text, builder?)?)));
    let BuildFailure { error, .. } = failure;
    let (kind, message) = explained.unwrap_or((error.kind, error.message.clone()));
    let step = error.step.as_ref().and_then(|step| FailedStep::read(&step.name, None));
    let message = step.map_or(message.clone(), |step| format!("step \"{}\": {message}", step.name()));
    EngineError { kind, message, ..error }
}

/// Explains what newer BuildKits refuse before they ask for anything else: a path that is not UTF-8, which gRPC does not
/// carry, and a pattern of `.dockerignore` (seen with 28.5).
async fn unreadable(error: &EngineError, tree: &Tree, dockerfile: &str) -> Option<String> {
    if error.message.contains("invalid UTF-8") {
        let links = tree.links().await.ok()?;
        let entries = tree.context().iter();
        let mut paths = entries.flat_map(|entry| std::iter::once(&entry.path).chain(links.get(&entry.oid)));
        let path = paths.find(|path| std::str::from_utf8(path).is_err())?;
        return Some(with_cure(&advice::NO_UTF8_PATH, &[&path.escape_ascii()]));
    }
    match error.message.contains("syntax error in pattern") {
        true => tree.bad_pattern(dockerfile).await,
        false => None,
    }
}

struct BuildFailure {
    all: Vec<Instruction>,
    /// The builder's name of the step.
    step: String,
    error: EngineError,
}

impl BuildFailure {
    /// Explains that `ADD` could not get an address, which is no registry's.
    fn url(&self) -> Option<(ErrorKind, String)> {
        let is_url = |word: &&str| word.starts_with("http://") || word.starts_with("https://");
        let own = self.instruction().filter(|own| own.keyword == "ADD");
        let url = own.as_ref().and_then(|own| own.arguments().find(is_url));
        let url = url.or_else(|| Some(self.step.as_str()).filter(is_url))?;
        let line = self.line_of(|other| other.keyword == "ADD" && other.words.iter().any(|word| word == url));
        let text = unwrapped(&self.error.message);
        Some((ErrorKind::Build, with_cure(&advice::NO_URL, &[&url, &place(line), &text])))
    }

    /// Names an image that could not be had, and the line that asks for it.
    fn image(&self) -> Option<(ErrorKind, String)> {
        let of_flag = || self.error.message.strip_prefix("invalid from flag value ")?.split(": ").next();
        let of_podman = || self.error.message.strip_prefix("COPY --from=")?.strip_suffix(PODMANS_NO_STAGE);
        let metadata = || self.step.strip_prefix("[internal] load metadata for ");
        let of_step = || self.step.strip_prefix("FROM ");
        let own = self.instruction();
        let of_classic = || own.as_ref()?.base_image().filter(|image| !image.contains('$'));
        let image = of_flag().or_else(of_podman).or_else(metadata).or_else(of_step).or_else(of_classic)?;
        let text = unwrapped(&self.error.message);
        let text = text.strip_prefix("COPY --from=").unwrap_or(text);
        let text = text.strip_prefix(&format!("{image}: ")).unwrap_or(text);
        let sources = |other: &Instruction| other.sources().any(|source| canonical(source) == canonical(image));
        if let Some((line, name)) = self.all.iter().find(|other| sources(other)).and_then(|other| {
            let name = other.sources().find(|source| canonical(source) == canonical(image))?;
            Some((other.line, name.to_owned()))
        }) && !name.contains(['/', ':', '.'])
        {
            let stages: Vec<_> = self.all.iter().filter_map(Instruction::stage).collect();
            let stages = if stages.is_empty() {
                "there is none".into()
            } else {
                format!("the stages are {}", stages.join(", "))
            };
            // A registry that does not answer may have an image of that name.
            return Some(match self.error.kind {
                ErrorKind::Registry => {
                    (ErrorKind::Registry, with_cure(&advice::PERHAPS_NO_STAGE, &[&name, &line, &stages, &text]))
                }
                _ => (ErrorKind::Build, with_cure(&advice::NO_STAGE, &[&name, &line, &stages, &text])),
            });
        }
        let asks = |other: &Instruction| {
            sources(other) || other.base_image().is_some_and(|base| canonical(base) == canonical(image))
        };
        let by_argument = |other: &Instruction| other.base_image().is_some_and(|base| base.contains('$'));
        let line = self.line_of(asks).or_else(|| self.line_of(by_argument));
        let name = canonical(image);
        let registry = name.split('/').next().unwrap_or_default();
        let message = advice::BASE_IMAGE.fill(&[&image, &place(line), &registry, &text]);
        // The words about a login say already what to do.
        let has_cure = self.error.kind != ErrorKind::Build || text.contains("; ");
        let cure = if has_cure { String::new() } else { format!(": {}", advice::BASE_IMAGE.cure) };
        Some((self.error.kind, message + &cure))
    }

    /// Says whether the commit lacks the file that `COPY` or `ADD` names, or where it is.
    async fn file(&self, tree: &Tree) -> Option<String> {
        if self.error.kind != ErrorKind::Build {
            return None;
        }
        let own = self.instruction().filter(|own| ["COPY", "ADD"].contains(&own.keyword.as_str()))?;
        let path = missing_path(&self.error.message)?;
        let path = path.trim_start_matches("./").trim_matches('/');
        // A missing `.git` is explained elsewhere.
        if path.split('/').next() == Some(".git") {
            return None;
        }
        if let Some(source) = own.sources().next() {
            return Some(with_cure(&advice::NO_FILE_IN_STAGE, &[&source, &path]));
        }
        Some(match tree.place_of(path.as_bytes()).await {
            FilePlace::Ignored(pattern) => with_cure(&advice::IGNORED_FILE, &[&path, &pattern]),
            FilePlace::Outside => with_cure(&advice::FILE_OUTSIDE, &[&path]),
            FilePlace::OtherCase(name) => with_cure(&advice::OTHER_CASE, &[&path, &name]),
            FilePlace::Nowhere if tree.snapshot.is_of_request() => with_cure(&advice::NO_OTHER_FILE, &[&path]),
            FilePlace::Nowhere => with_cure(&advice::NO_FILE, &[&path]),
            FilePlace::Context => return None,
        })
    }

    /// Names the instruction that this engine's builder is too old for.
    fn frontend(&self, text: &[u8], builder: Builder) -> Option<String> {
        let message = &self.error.message;
        if self.error.kind != ErrorKind::Build {
            return None;
        }
        let lower = message.to_ascii_lowercase();
        if builder == Builder::Classic {
            let feature = buildkit_feature(&self.all, text)?;
            return Some(format!("{message}; {}", with_cure(&advice::ONLY_BUILDKIT, &[&feature])));
        }
        let here_document = || here_document(&self.all).filter(|_| lower.contains("unknown instruction"));
        let flag = lower.split_once("unknown flag: ").map(|(_, rest)| rest.trim_start_matches('-').trim());
        let flag = flag.map(|flag| format!("the flag --{}", flag.split_whitespace().next().unwrap_or_default()));
        let feature = flag.or_else(here_document)?;
        let hint = if names_syntax(text) { advice::OLD_SYNTAX } else { advice::OLD_FRONTEND };
        Some(format!("{message}; {}", with_cure(&hint, &[&feature])))
    }

    /// Returns the instruction of the step that failed, as the builder names it.
    fn instruction(&self) -> Option<Instruction> {
        let buildkit = || self.step.strip_prefix('[')?.split_once("] ").filter(|(place, _)| place.contains('/'));
        let classic = self.step.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "));
        classic.or_else(buildkit).map(|(_, text)| Instruction::read(text, 0))
    }

    fn line_of(&self, is_meant: impl Fn(&Instruction) -> bool) -> Option<usize> {
        self.all.iter().find(|other| is_meant(other)).map(|other| other.line)
    }
}

/// Returns the path in an engine's message about a file that is missing in a context or a stage.
fn missing_path(message: &str) -> Option<String> {
    let quoted = || {
        // The last one is Podman's.
        let ends = ["\" not found", "\": not found", "\": no such file"];
        let (before, _) = ends.iter().find_map(|end| message.split_once(end))?;
        before.rsplit_once('"').map(|(_, path)| path)
    };
    // The classic builder, and BuildKit 0.8 for a missing folder of the path.
    let stat = || {
        let rest = message.split_once("lstat ").or_else(|| message.split_once("stat "))?.1;
        let path = rest.split(": no such file").next()?.split(": file does not exist").next()?;
        let is_whole = path.len() < rest.len();
        let in_mount = || path.split_once("/buildkit-mount")?.1.split_once('/').map(|(_, path)| path);
        let in_folder = || path.split_once("/docker-builder")?.1.split_once('/').map(|(_, path)| path);
        Some(in_mount().or_else(in_folder).unwrap_or(path)).filter(|_| is_whole)
    };
    quoted().or_else(stat).map(str::to_owned)
}

/// Removes what BuildKit writes before the words of a registry or a server.
fn unwrapped(message: &str) -> &str {
    let message = message.strip_prefix("failed to load cache key: ").unwrap_or(message);
    let message = message
        .strip_prefix("invalid from flag value ")
        .and_then(|rest| rest.split_once(": "))
        .map_or(message, |(_, rest)| rest);
    let message = message.strip_prefix("ADD failed: ").unwrap_or(message);
    match message.split_once("failed to resolve source metadata for ").and_then(|(_, rest)| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => message,
    }
}

fn place(line: Option<usize>) -> String {
    line.map_or_else(|| "the Dockerfile".to_owned(), |line| format!("line {line}"))
}

/// Returns the full name of an image, as engines write it: `docker.io/library/busybox:latest`.
fn canonical(image: &str) -> String {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let full = match name.split_once('/') {
        Some((first, _)) if is_host(first) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    };
    let has_tag = full.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match digest {
        Some(digest) => format!("{full}@{digest}"),
        None if has_tag => full,
        None => full + ":latest",
    }
}

/// Finds a here-document, which only BuildKit 0.10 and newer understand.
pub(super) fn here_document(all: &[Instruction]) -> Option<String> {
    let found = all.iter().find(|instruction| instruction.has_here_document)?;
    Some(format!("a here-document in `{}`", found.keyword))
}

/// Finds a feature of BuildKit that the classic builder reports as an error or misreads. A line `# syntax=` comes last,
/// because the classic builder ignores it, and alone it is no error.
fn buildkit_feature(all: &[Instruction], dockerfile: &[u8]) -> Option<String> {
    let flag = |instruction: &Instruction| {
        let known: &[&str] = match instruction.keyword.as_str() {
            "RUN" => &[],
            "COPY" | "ADD" => &["--chown", "--from"],
            _ => return None,
        };
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let flag = instruction.flags().map(name).find(|flag| !known.contains(&flag.as_str()))?;
        Some(format!("`{} {flag}`", instruction.keyword))
    };
    all.iter().find_map(flag).or_else(|| names_syntax(dockerfile).then(|| "`# syntax=`".to_owned()))
}

#[cfg(test)]
mod tests;
