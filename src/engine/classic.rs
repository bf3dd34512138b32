//! The classic builder: `POST /build` without BuildKit. It takes the whole tree as a tar.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hyper::{Method, header};
use serde::Deserialize;

use crate::model::LogSink;
use crate::secrets::Secrets;

use super::Engine;
use super::api::connect::{invalid, request};
use super::api::errors::{EngineError, ErrorKind};
use super::api::messages::{Line, Lines};
use super::build::{BuildRequest, Built, Steps};
use super::buildkit::filesync::Tree;
use super::context::tar;
use super::push::{auth_config, auth_header};

/// Under which the engine looks for Docker Hub's login; other registries are named by their host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

impl Engine {
    /// Dropping the future cancels the build; the engine then removes the container of its step.
    pub(super) async fn build_classic(
        &self,
        build: &BuildRequest<'_>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<Built, EngineError> {
        // Newer engines take a here-document here, leave out what is in it and call that a success. Podman knows them.
        let here = tree.read(build.dockerfile).await.as_deref().and_then(here_document);
        let is_podman = self.version().await?.is_podman();
        if let Some(what) = here
            && !is_podman
        {
            return Err(EngineError::new(ErrorKind::Build, buildkit_alone("", &what)));
        }
        // Podman wants its hosts in another form, and its builds run in no container that could be left behind.
        let mark = self.owner.as_ref().filter(|_| !is_podman).map(|owner| owner.mark(&build.build_id));
        let result = self.run_classic(build, mark, tree.clone(), log).await;
        let error = match result {
            Ok(image_id) => return Ok(Built { image_id, sync: None, steps: Steps::default() }),
            Err(e) => tree.failure().unwrap_or(e),
        };
        if error.kind == ErrorKind::Build
            && error.exit_code.is_none()
            && let Some(what) = tree.read(build.dockerfile).await.as_deref().and_then(only_buildkit_knows)
        {
            return Err(EngineError::new(ErrorKind::Build, buildkit_alone(&format!("{error}; "), &what)));
        }
        Err(error)
    }

    async fn run_classic(
        &self,
        build: &BuildRequest<'_>,
        mark: Option<String>,
        tree: Arc<Tree>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        let mut query = vec![("version", "1"), ("rm", "1"), ("forcerm", "1")];
        query.extend(mark.iter().map(|mark| ("extrahosts", mark.as_str())));
        let tar::Upload { body, dockerfile } = tar::upload(tree, build.dockerfile, build.context).await?;
        let path = build.path(&dockerfile, &query);
        let request = request(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/x-tar")
            .header("X-Registry-Config", auth_header(&logins(&build.secrets))?);
        let reply = self.host.send(request.body(body).map_err(invalid)?).await?;
        // What is wrong before the first step is the status and not in the stream.
        let reply = reply.accepted().await.map_err(|e| EngineError::of_build(&e.message, None))?;
        let mut lines = Lines::new(reply);
        let mut progress = Progress::default();
        while let Some(line) = lines.next().await? {
            log.alive();
            if let Some(error) = line.error {
                log.write(progress.end());
                return Err(match line.error_detail.code {
                    0 => EngineError::of_build(&error, None),
                    code => EngineError::of_step(&progress.step, code),
                });
            }
            if let Some(text) = progress.text(&line) {
                log.write(text.as_bytes());
            }
        }
        log.write(progress.end());
        match progress.image {
            Some(id) if id.starts_with("sha256:") => Ok(id),
            Some(short) => self.full_id(&short).await,
            None => Err(EngineError::engine("the engine ended the build without an image: see its own log")),
        }
    }

    /// An engine of before 17.06 and Podman give twelve digits alone.
    async fn full_id(&self, short: &str) -> Result<String, EngineError> {
        #[derive(Deserialize)]
        struct Image {
            #[serde(rename = "Id")]
            id: String,
        }
        let image: Image = self.host.json(Method::GET, &format!("/images/{short}/json")).await?;
        Ok(image.id)
    }
}

/// All logins by registry: the engine sends each to its own registry alone. Unlike BuildKit it cannot ask for one.
fn logins(secrets: &Secrets) -> serde_json::Value {
    let login = |host: &str| {
        let server = if host == "docker.io" { DOCKER_HUB } else { host };
        Some((server.to_owned(), auth_config(server, &secrets.registry_auth(host)?)))
    };
    secrets.registries().filter_map(login).collect::<BTreeMap<_, _>>().into_iter().collect()
}

#[derive(Default)]
struct Progress {
    image: Option<String>,
    /// `Step 2/3 : RUN make`
    step: String,
    /// Layers of a base image whose end was written.
    layers: HashSet<String>,
    in_line: bool,
}

impl Progress {
    /// What a line adds to the log. Only the end of a layer is worth a line.
    fn text(&mut self, line: &Line) -> Option<String> {
        if let Some(id) = line.aux["ID"].as_str() {
            self.image = Some(id.into());
        }
        if !line.stream.is_empty() {
            let text = uncoloured(&line.stream);
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
        let is_layer = !line.progress_detail.is_null();
        let ends = ["Pull complete", "Already exists"].contains(&line.status.as_str());
        if line.status.is_empty() || is_layer && !(ends && self.layers.insert(line.id.clone())) {
            return None;
        }
        let id = if line.id.is_empty() { String::new() } else { format!("{}: ", line.id) };
        Some(format!("{id}{}\n", line.status))
    }

    /// What ends a last line that has no end.
    fn end(&self) -> &'static [u8] {
        if self.in_line { b"\n" } else { b"" }
    }
}

/// The engine makes what a step writes to standard error red.
fn uncoloured(text: &str) -> &str {
    text.strip_prefix("\x1b[91m").and_then(|text| text.strip_suffix("\x1b[0m")).unwrap_or(text)
}

fn buildkit_alone(error: &str, what: &str) -> String {
    format!(
        "{error}the Dockerfile uses {what}, which only BuildKit knows: it takes an engine with BuildKit, and BUILDER=auto \
         or buildkit"
    )
}

/// A here-document, told from a shell's `<<` by the line that ends it.
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

/// What a Dockerfile has that the classic builder either names in its error, or misreads. It passes over a line
/// `# syntax=`, which alone is no error.
fn only_buildkit_knows(dockerfile: &[u8]) -> Option<String> {
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
