//! The classic builder: `POST /build` without BuildKit, which takes the whole context as a tar.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hyper::{Method, header};
use serde::Deserialize;

use super::advice::{self, with_cure};
use super::api::connect::{invalid, request};
use super::api::engine::Engine;
use super::api::errors::EngineError;
use super::api::kind::ErrorKind;
use super::api::messages::{EngineMessage, MessageStream};
use super::context::tar;
use super::context::tree::Tree;
use super::push::{auth_config, auth_header};
use super::request::{BuiltImage, ImageBuild, StepCounts};
use crate::model::LogSink;
use crate::secrets::{RegistryAuth, RegistryLogins};

/// Name under which the engine looks for Docker Hub's login. Other registries go by their host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

impl Engine {
    /// Builds an image. Dropping the future cancels the build, and the engine then removes the container of its step.
    pub(super) async fn build_classic(
        &self,
        build: &ImageBuild<'_>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<BuiltImage, EngineError> {
        // Newer engines accept a here-document, leave out its content and report success. Podman understands it.
        let here_document = tree.read(build.dockerfile).await.as_deref().and_then(here_document);
        let is_podman = self.version().await?.is_podman();
        if let Some(feature) = here_document
            && !is_podman
        {
            return Err(EngineError::new(ErrorKind::Build, with_cure(&advice::ONLY_BUILDKIT, &[&feature])));
        }
        // Podman expects another form of `extrahosts`, and its builds leave no container behind.
        let mark = self.instance.as_ref().filter(|_| !is_podman).map(|instance| instance.mark(&build.build_id));
        let result = self.run_classic(build, mark, tree.clone(), log).await;
        let error = match result {
            Ok(image_id) => return Ok(BuiltImage { image_id, sync: None, steps: StepCounts::default() }),
            Err(e) => tree.failure().unwrap_or(e),
        };
        if error.kind == ErrorKind::Build
            && error.exit_code.is_none()
            && let Some(feature) = tree.read(build.dockerfile).await.as_deref().and_then(buildkit_feature)
        {
            return Err(EngineError::new(
                ErrorKind::Build,
                format!("{error}; {}", with_cure(&advice::ONLY_BUILDKIT, &[&feature])),
            ));
        }
        Err(error)
    }

    async fn run_classic(
        &self,
        build: &ImageBuild<'_>,
        mark: Option<String>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        let mut query = vec![("version", "1"), ("rm", "1"), ("forcerm", "1")];
        query.extend(mark.iter().map(|mark| ("extrahosts", mark.as_str())));
        let tar::ContextUpload { body, dockerfile } = tar::upload(tree, build.dockerfile, build.context).await?;
        let path = build.path(&dockerfile, &query);
        let request = request(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/x-tar")
            .header("X-Registry-Config", auth_header(&login_values(&build.logins))?);
        let reply = self.host.send(request.body(body).map_err(invalid)?).await?;
        // An error before the first step shows in the status and not in the stream.
        let reply = reply.accepted().await.map_err(|e| EngineError::from_build(&e.message, None))?;
        let mut messages = MessageStream::new(reply);
        let mut progress = ClassicProgress::default();
        while let Some(message) = messages.next().await? {
            log.alive();
            if let Some(error) = message.error {
                log.write(progress.end());
                return Err(match message.error_detail.code {
                    0 => EngineError::from_build(&error, None),
                    code => EngineError::from_step(&progress.step, code),
                });
            }
            if let Some(text) = progress.add(&message) {
                log.write(text.as_bytes());
            }
        }
        log.write(progress.end());
        match progress.image {
            Some(id) if id.starts_with("sha256:") => Ok(id),
            Some(short) => self.full_id(&short).await,
            None => Err(EngineError::engine(with_cure(&advice::NO_IMAGE, &[]))),
        }
    }

    /// Asks for the full id of an image, because engines before 17.06 and Podman report twelve digits.
    async fn full_id(&self, short: &str) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        struct ImageId {
            #[serde(rename = "Id")]
            id: String,
        }
        let image: ImageId = self.host.json(Method::GET, &format!("/images/{short}/json")).await?;
        Ok(image.id)
    }
}

/// Returns all logins by registry. The engine sends each to its own registry only. Unlike BuildKit it cannot ask for
/// one.
fn login_values(logins: &RegistryLogins) -> serde_json::Value {
    let value = |(host, login): (String, RegistryAuth)| {
        let server = if host == "docker.io" { DOCKER_HUB } else { &host };
        (server.to_owned(), auth_config(server, &login))
    };
    logins.all().into_iter().map(value).collect::<BTreeMap<_, _>>().into_iter().collect()
}

#[derive(Default)]
struct ClassicProgress {
    image: Option<String>,
    /// The current step, such as `Step 2/3 : RUN make`.
    step: String,
    /// Layers of a base image whose end is written.
    layers: HashSet<String>,
    in_line: bool,
}

impl ClassicProgress {
    /// Returns the text that a message adds to the log. A layer adds a line when it ends.
    fn add(&mut self, message: &EngineMessage) -> Option<String> {
        if let Some(id) = message.aux["ID"].as_str() {
            self.image = Some(id.into());
        }
        if !message.stream.is_empty() {
            let text = uncoloured(&message.stream);
            if !self.in_line && text.starts_with("Step ") {
                self.step = text.trim().into();
            }
            if let Some(id) = text.strip_prefix("Successfully built ")
                && !self.image.as_ref().is_some_and(|image| image.starts_with("sha256:"))
            {
                self.image = Some(id.trim().into());
            }
            self.in_line = !text.ends_with('\n');
            return Some(text.into());
        }
        let is_layer = !message.progress_detail.is_null();
        let ends = ["Pull complete", "Already exists"].contains(&message.status.as_str());
        if message.status.is_empty() || is_layer && !(ends && self.layers.insert(message.id.clone())) {
            return None;
        }
        let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
        Some(format!("{id}{}\n", message.status))
    }

    /// Returns the line end that the output lacks.
    fn end(&self) -> &'static [u8] {
        if self.in_line { b"\n" } else { b"" }
    }
}

/// Removes the red colour that the engine gives to a step's standard error.
fn uncoloured(text: &str) -> &str {
    text.strip_prefix("\x1b[91m").and_then(|text| text.strip_suffix("\x1b[0m")).unwrap_or(text)
}

/// Finds a here-document, which differs from a shell's `<<` by the line that ends it.
fn here_document(dockerfile: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(dockerfile);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        if !["RUN", "COPY", "ADD"].contains(&instruction.as_str()) {
            continue;
        }
        let ends = |word: &str| {
            let name = word.strip_prefix("<<")?.trim_start_matches('-').trim_matches(['"', '\'']);
            (!name.is_empty() && lines.clone().any(|line| line.trim() == name)).then_some(())
        };
        if words.any(|word| ends(word).is_some()) {
            return Some(format!("a here-document in `{instruction}`"));
        }
    }
    None
}

/// Finds a feature of BuildKit that the classic builder reports as an error or misreads. A line `# syntax=` comes last,
/// because the classic builder ignores it, and alone it is no error.
fn buildkit_feature(dockerfile: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(dockerfile);
    let mut syntax = None;
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim_start().to_ascii_lowercase();
            let is_syntax = comment.strip_prefix("syntax").is_some_and(|rest| rest.trim_start().starts_with('='));
            syntax = syntax.or_else(|| is_syntax.then(|| "`# syntax=`".to_owned()));
            continue;
        }
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let known: &[&str] = match instruction.as_str() {
            "RUN" => &[],
            "COPY" | "ADD" => &["--chown", "--from"],
            _ => continue,
        };
        for word in words.take_while(|word| word.starts_with("--")) {
            let flag = word.split('=').next().unwrap_or(word);
            if !known.contains(&flag) {
                return Some(format!("`{instruction} {flag}`"));
            }
        }
    }
    syntax
}

#[cfg(test)]
#[path = "classic/tests.rs"]
mod tests;
