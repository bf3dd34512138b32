//! The classic builder: `POST /build` without BuildKit, which takes the whole context as a tar.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::{Method, header};
use serde::Deserialize;
use serde_json::json;

use super::advice::{self, with_cure};
use super::api::connect::{invalid, request};
use super::api::engine::Engine;
use super::api::errors::{EngineError, SIGKILL_EXIT, StepReport, write_line};
use super::api::kind::ErrorKind;
use super::api::messages::{EngineMessage, MessageStream};
use super::buildkit::base_logins::BaseLogins;
use super::context::tar;
use super::context::tree::Tree;
use super::explain::{explain, here_document};
use super::push::{auth_config, auth_header};
use super::request::{BuiltImage, ImageBuild, StepCounts};
use crate::model::{BuildNetwork, Builder, Instruction, LogSink, instructions};
use crate::secrets::HostLogin;

/// End of what crun writes about a program of another processor architecture.
const FOREIGN: &str = "Exec format error";
/// Line that Podman adds to the output of a step that SIGKILL ended.
const PODMANS_KILLED: &str = "container exited on killed";
/// Said where CACHE_SCOPE and PROTECTED keep no cache mounts apart.
const SHARED_MOUNTS: &str = "Podman keeps no cache mounts apart: any build on this engine may have written what they have (CACHE_SCOPE, PROTECTED)";
/// Name under which the engine looks for Docker Hub's login. Other registries go by their host.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

impl Engine {
    /// Builds an image. Dropping the future cancels the build, and the engine then removes the container of its step.
    pub(super) async fn build_classic(
        &self,
        build: &ImageBuild<'_>,
        tree: Arc<Tree>,
        logins: &BaseLogins,
        log: &dyn LogSink,
    ) -> Result<BuiltImage, EngineError> {
        // Newer engines accept a here-document, leave out its content and report success. Podman understands it.
        let steps = tree.read(build.dockerfile).await.map(|text| instructions(&text)).unwrap_or_default();
        let is_podman = self.kind().await?.is_podman;
        let refused = match is_podman {
            true => of_hosts_network(&steps).map(|line| with_cure(&advice::HOSTS_NETWORK, &[&line])),
            false => here_document(&steps).map(|feature| with_cure(&advice::ONLY_BUILDKIT, &[&feature])),
        };
        if let Some(message) = refused {
            return Err(EngineError::new(ErrorKind::Build, message));
        }
        // The classic builder has no cache mounts.
        if is_podman && build.cache_namespace.is_some() && steps.iter().any(has_cache_mount) {
            write_line(log, SHARED_MOUNTS);
        }
        let mark = self.instance.as_ref().map(|instance| instance.mark(&build.build_id));
        // Podman takes the mark as a list in JSON.
        let mark = if is_podman { mark.map(|mark| format!("[{mark:?}]")) } else { mark };
        let result = self.run_classic(build, mark, tree.clone(), logins, log).await;
        match result {
            Ok(image_id) => Ok(BuiltImage { image_id, sync: None, steps: StepCounts::default() }),
            Err(e) => {
                let builder = (!is_podman).then_some(Builder::Classic);
                let failure = explain(tree.failure().unwrap_or(e), &tree, build.dockerfile, builder).await;
                Err(logins.explain(failure))
            }
        }
    }

    async fn run_classic(
        &self,
        build: &ImageBuild<'_>,
        mark: Option<String>,
        tree: Arc<Tree>,
        logins: &BaseLogins,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        let mut query = vec![("version", "1"), ("rm", "1"), ("forcerm", "1")];
        query.extend(mark.iter().map(|mark| ("extrahosts", mark.as_str())));
        query.extend(build.limits.iter().map(|(name, limit)| (name.as_str(), limit.as_str())));
        let is_podman = self.kind().await?.is_podman;
        let mut network = build.network.map(BuildNetwork::as_str);
        let of_podman = podmans_network(build.network);
        if is_podman {
            query.push(("nsoptions", &of_podman));
            network = build.network.filter(|network| !network.is_named()).map(|_| "NetworkDisabled");
        }
        let tar::ContextUpload { body, dockerfile } =
            tar::upload(tree, build.dockerfile, build.context, is_podman).await?;
        let path = build.path(&dockerfile, network, &query);
        let request = request(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/x-tar")
            .header("X-Registry-Config", auth_header(&login_values(logins).await?)?);
        logins.notes().iter().for_each(|line| write_line(log, line));
        let reply = self.send(request.body(body).map_err(invalid)?).await?;
        // The engine answers when it has the whole tar.
        build.context_sent.cancel();
        // An error before the first step shows in the status and not in the stream.
        let reply = reply.accepted().await.map_err(|e| EngineError::from_build(&e.message, None))?;
        let mut messages = MessageStream::new(reply);
        let mut progress = ClassicProgress::default();
        while let Some(message) = messages.next().await? {
            log.alive();
            if let Some(error) = message.error() {
                log.write(progress.end());
                let is_missing = |network: &&BuildNetwork| {
                    error.ends_with(&format!("network {network} not found"))
                        || error.trim_end().ends_with(&format!(" {network}: network not found"))
                };
                if let Some(network) = build.network.filter(is_missing) {
                    return Err(EngineError::new(ErrorKind::Setup, with_cure(&advice::NO_NETWORK, &[network])));
                }
                let step = StepReport::masked(&progress.step, progress.last_line(), log);
                let mut failure = match message.error_detail.code {
                    0 if progress.is_killed => EngineError::from_step(step, SIGKILL_EXIT),
                    0 => EngineError::from_build(error, Some(step)),
                    code => EngineError::from_step(step, code),
                };
                let is_foreign = || progress.last_line().trim_end().ends_with(FOREIGN);
                if let Some(platform) = build.platform.filter(|_| is_foreign()) {
                    failure.message += &format!("; {}", with_cure(&advice::FOREIGN_PLATFORM, &[&platform]));
                }
                return Err(failure);
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
        let image: ImageId = self.json(Method::GET, &format!("/images/{short}/json")).await?;
        Ok(image.id)
    }
}

/// Returns the namespaces of Podman's steps. Without them the steps are in the network of Podman's machine, whatever
/// `networkmode` is (seen with 5.8 and 6.1).
fn podmans_network(network: Option<&BuildNetwork>) -> String {
    let named = network.filter(|network| network.is_named()).map_or("", BuildNetwork::as_str);
    json!([{ "Name": "network", "Host": false, "Path": named }]).to_string()
}

/// Returns the line of a step that may leave its network for that of Podman's machine, which no option of a build
/// forbids. Podman puts variables into a flag.
fn of_hosts_network(steps: &[Instruction]) -> Option<usize> {
    let leaves = |step: &&Instruction| {
        let words = match (step.keyword.as_str(), step.words.split_first()) {
            ("RUN", _) => &step.words[..],
            ("ONBUILD", Some((keyword, words))) if keyword.eq_ignore_ascii_case("RUN") => words,
            _ => return false,
        };
        let networks = flags(&words.join(" ")).into_iter().filter(|flag| flag.starts_with("--network="));
        networks.into_iter().any(|flag| !["--network=none", "--network=default"].contains(&flag.as_str()))
    };
    steps.iter().find(leaves).map(|step| step.line)
}

/// Returns true for a step that keeps files in the engine's cache, by `RUN --mount=type=cache`.
fn has_cache_mount(step: &Instruction) -> bool {
    let flags = flags(&step.words.join(" "));
    let mut mounts = flags.iter().filter_map(|flag| flag.strip_prefix("--mount="));
    step.keyword == "RUN" && mounts.any(|mount| mount.split(',').any(|part| part == "type=cache"))
}

/// Returns the flags at the beginning of an instruction's words. Quotes may be anywhere in a flag, and keep a space in it.
fn flags(text: &str) -> Vec<String> {
    let (mut found, mut chars) = (Vec::new(), text.chars().peekable());
    loop {
        let (mut flag, mut quote) = (String::new(), None);
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match c {
                '\\' => flag.extend(chars.next()),
                '"' | '\'' if quote.is_none() => quote = Some(c),
                _ if quote == Some(c) => quote = None,
                _ => flag.push(c),
            }
        }
        if !flag.starts_with("--") || flag == "--" {
            return found;
        }
        found.push(flag);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
}

/// Returns all logins by registry. The engine sends each to its own registry only. Unlike BuildKit it cannot ask for
/// one.
async fn login_values(logins: &BaseLogins) -> Result<serde_json::Value, EngineError> {
    let value = |(host, login): (String, HostLogin)| {
        let auth = login.auth?;
        let server = if host == "docker.io" { DOCKER_HUB } else { &host };
        Some((server.to_owned(), auth_config(server, &auth)))
    };
    Ok(logins.by_host().await?.into_iter().filter_map(value).collect())
}

#[derive(Default)]
struct ClassicProgress {
    image: Option<String>,
    /// The current step, such as `Step 2/3 : RUN make`.
    step: String,
    is_podman: bool,
    /// True if Podman has said that SIGKILL ended the step. It then reports the exit code 1.
    is_killed: bool,
    /// Last line of its output that is not empty, and the beginning of the next one.
    last_line: String,
    begun_line: String,
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
            let podmans = podman_step(text).filter(|_| self.step.is_empty() || self.is_podman);
            self.is_podman |= podmans.is_some();
            let step =
                podmans.or_else(|| (!self.is_podman && text.starts_with("Step ")).then(|| text.trim().to_owned()));
            if let Some(step) = step.filter(|_| !self.in_line) {
                self.step = step;
                self.is_killed = false;
                self.last_line.clear();
                self.begun_line.clear();
            } else {
                self.read_lines(text);
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

    /// Takes a part of the output, without the engine's own lines about its containers, which may follow an incomplete one.
    fn read_lines(&mut self, text: &str) {
        if [" ---> ", "Removing intermediate container "].iter().any(|own| text.starts_with(own)) {
            return;
        }
        for piece in text.split_inclusive('\n') {
            self.begun_line += piece;
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.begun_line);
                if self.is_podman && line.trim_end() == PODMANS_KILLED {
                    self.is_killed = true;
                } else if !line.trim().is_empty() {
                    self.last_line = line;
                }
            }
        }
    }

    /// Returns the last line of the step's output.
    fn last_line(&self) -> &str {
        if self.begun_line.trim().is_empty() { &self.last_line } else { &self.begun_line }
    }

    /// Returns the line end that the output lacks.
    fn end(&self) -> &'static [u8] {
        if self.in_line { b"\n" } else { b"" }
    }
}

/// Reads Podman's form of a step, `STEP 2/3: RUN make`, before which a build of several stages has the stage's number.
fn podman_step(text: &str) -> Option<String> {
    let (before, rest) = text.split_once("STEP ")?;
    let is_stage = before.is_empty() || before.starts_with('[') && before.ends_with("] ");
    let (number, instruction) = rest.trim_end().split_once(": ")?;
    is_stage.then(|| format!("Step {number} : {instruction}"))
}

/// Removes the red colour that the engine gives to a step's standard error.
fn uncoloured(text: &str) -> &str {
    text.strip_prefix("\x1b[91m").and_then(|text| text.strip_suffix("\x1b[0m")).unwrap_or(text)
}

#[cfg(test)]
#[path = "classic/tests.rs"]
mod tests;
