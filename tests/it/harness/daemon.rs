use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder, Response};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::Sha256;
use tempfile::TempDir;

use super::canary::{API_TOKENS, Canaries};
use super::proc::wait_ready;
use super::{Proc, eventually, folder, http_client, port, start};

/// Variable that names an older program, for `scripts/bench-before`. Among a daemon's settings it is that daemon's own.
pub const BENCH_BINARY: &str = "BENCH_BINARY";

/// Returns the program under test.
pub fn binary() -> OsString {
    std::env::var_os(BENCH_BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_image-factory").into())
}

/// Environment variables for the daemon.
pub type Settings = BTreeMap<String, String>;

/// `image-factory serve` with a data folder of its own (or DATA_DIR) and no environment but the given settings. At its
/// end all that it wrote is searched for its secrets.
pub struct Daemon {
    server: Proc,
    settings: Settings,
    canaries: Canaries,
    port: u16,
    client: reqwest::Client,
    dir: TempDir,
}

impl Daemon {
    /// Starts a daemon and returns when `/ready` answers 200 and each engine was looked at, after 30 s at most.
    pub async fn start(settings: Settings) -> Self {
        let dir = folder();
        let client = client(&settings);
        let (server, [port]) = start(
            "image-factory",
            &dir.path().join("log"),
            |[port]| serve(&settings, dir.path(), port),
            async |[port]| ready(&client, &settings, port).await,
        )
        .await;
        let mut canaries = Canaries::default();
        canaries.add_setting("API_TOKENS", API_TOKENS);
        settings.iter().for_each(|(name, value)| canaries.add_setting(name, value));
        Self { server, settings, canaries, port, client, dir }
    }

    /// Runs `serve` with these further arguments to its end, because the start is expected to fail or to end by itself.
    pub fn fail(settings: &Settings, args: &[&str]) -> Output {
        let dir = folder();
        let output = serve(settings, dir.path(), port()).args(args).output().unwrap();
        let mut canaries = Canaries::known();
        settings.iter().for_each(|(name, value)| canaries.add_setting(name, value));
        let text = [&output.stdout[..], &output.stderr].concat();
        let shown = canaries.found_in(&text);
        assert!(shown.is_empty(), "{shown:?} shown: {}", String::from_utf8_lossy(&text));
        output
    }

    /// Starts another daemon on the same data folder and another port, which is expected to fail.
    pub fn second(&self) -> Output {
        serve(&self.settings, self.dir.path(), port()).output().unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.settings.get("DATA_DIR").map_or_else(|| self.dir.path().join("data"), PathBuf::from)
    }

    /// Adds a secret that the daemon must not show.
    pub fn guard(&mut self, name: &str, secret: &str) {
        self.canaries.add(name, secret);
    }

    /// Returns the places in the daemon's output and files that have one of its secrets.
    fn leaks(&self) -> Vec<String> {
        let mut canaries = self.canaries.clone();
        let token = std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap_or_default();
        canaries.add("the admin token", token.trim());
        // These files are the place of the secrets.
        let mut leaks = canaries.found_below(&self.data_dir(), &["admin-token", "secrets"]);
        leaks.extend(canaries.found_in(self.output().as_bytes()).iter().map(|name| format!("standard error: {name}")));
        leaks
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", scheme(&self.settings), self.port)
    }

    pub fn pid(&self) -> i32 {
        self.server.pid().as_raw_nonzero().get()
    }

    /// Returns the admin token that the first start made.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap().trim().to_string()
    }

    /// Returns the daemon's standard error, from all its starts.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.canaries.add_setting(name, value);
        self.settings.insert(name.into(), value.into());
    }

    pub fn kill9(&mut self) {
        self.server.kill9();
    }

    /// Writes the daemon's environment file and sends SIGHUP. Returns what the daemon logs about it, up to `last`.
    pub async fn reload(&mut self, variables: &str, last: &str) -> String {
        for (name, value) in variables.lines().filter_map(|line| line.split_once('=')) {
            self.canaries.add_setting(name, value);
        }
        std::fs::write(env_file(self.dir.path()), variables).unwrap();
        let before = self.output().len();
        self.signal(Signal::HUP);
        let said = async || Some(self.output()[before..].to_owned()).filter(|said| said.contains(last));
        eventually(Duration::from_secs(20), &format!("the daemon logs {last:?}"), said).await
    }

    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Sends SIGTERM and returns when the daemon has ended.
    pub async fn term(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit(limit).await
    }

    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        self.server.exit(limit).await
    }

    /// Starts the ended daemon again, on the same port and with the same data.
    pub async fn restart(&mut self) {
        self.spawn();
        let (client, settings, port) = (&self.client, &self.settings, self.port);
        let started = wait_ready(&mut self.server, async || ready(client, settings, port).await).await;
        assert!(started, "it ended on its restart");
    }

    /// Starts the daemon as `restart` does, without waiting until it is ready.
    pub fn spawn(&mut self) {
        assert!(!self.server.running(), "it still runs");
        let mut command = serve(&self.settings, self.dir.path(), self.port);
        self.server = Proc::spawn("image-factory", &mut command, &self.dir.path().join("log"));
    }

    /// Makes a request with the admin token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare_request(method, path).bearer_auth(self.token())
    }

    /// Makes a request without a token.
    pub fn bare_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    /// Returns the JSON of a GET, which must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert!(response.status().is_success(), "GET {path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// Returns the value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/job/{id}")).await
    }

    pub async fn log(&self, id: &str) -> String {
        self.request(Method::GET, &format!("/job/{id}/log")).send().await.unwrap().text().await.unwrap()
    }

    /// Makes a job by `POST /job` and returns its id.
    pub async fn submit(&self, body: Value) -> String {
        let response = self.request(Method::POST, "/job").json(&body).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        id_of(&serde_json::from_str(&text).unwrap())
    }

    /// Waits at most 90 s for the end of the job, and returns it.
    pub async fn wait(&self, id: &str) -> Value {
        self.wait_for(id, Duration::from_secs(90), |job| {
            matches!(job["status"].as_str(), Some("success" | "failure" | "cancelled"))
        })
        .await
    }

    /// Waits for the job's success and returns the job. Panics with its cause and log if it fails.
    pub async fn wait_success(&self, id: &str) -> Value {
        let job = self.wait(id).await;
        assert_eq!(job["status"], "success", "{job:#}\n{}", self.log(id).await);
        job
    }

    /// Waits for the job's failure and returns the job.
    pub async fn wait_failure(&self, id: &str) -> Value {
        let job = self.wait(id).await;
        assert_eq!(job["status"], "failure", "{job:#}\n{}", self.log(id).await);
        job
    }

    pub async fn wait_for(&self, id: &str, limit: Duration, condition: impl Fn(&Value) -> bool) -> Value {
        let what = format!("job {id} is as it should be");
        eventually(limit, &what, async || Some(self.job(id).await).filter(&condition)).await
    }

    /// Waits at most 30 s until this stage of the job runs, and returns the job.
    pub async fn wait_stage(&self, id: &str, stage: &str) -> Value {
        self.wait_for(id, Duration::from_secs(30), |job| job["results"][stage]["status"] == "running").await
    }

    /// Waits at most 60 s until the log contains `part`, and returns the log.
    pub async fn wait_log(&self, id: &str, part: &str) -> String {
        let what = format!("the log of {id} has {part:?}");
        eventually(Duration::from_secs(60), &what, async || Some(self.log(id).await).filter(|log| log.contains(part)))
            .await
    }

    /// Sends a webhook as GitHub does, signed with the daemon's HOOK_SECRET.
    pub async fn hook(&self, event: &str, payload: &Value) -> Response {
        let body = payload.to_string();
        self.bare_request(Method::POST, "/hooks/github")
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", uuid::Uuid::now_v7().to_string())
            .header("X-Hub-Signature", format!("sha1={}", self.sha1(&body)))
            .header("X-Hub-Signature-256", format!("sha256={}", self.sha256(&body)))
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Sends the webhook of a push of `sha` to a branch, and returns the job's id.
    pub async fn push_event(&self, repo: &str, branch: &str, sha: &str) -> String {
        let response = self.hook("push", &push_payload(repo, &format!("refs/heads/{branch}"), sha)).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        id_of(&serde_json::from_str(&text).unwrap())
    }

    pub fn sha1(&self, body: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.settings["HOOK_SECRET"].as_bytes()).unwrap();
        mac.update(body.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    pub fn sha256(&self, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.settings["HOOK_SECRET"].as_bytes()).unwrap();
        mac.update(body.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Returns the variables that give a shell on the daemon's machine its settings, address and token.
    pub fn environment(&self) -> Settings {
        let mut variables = self.settings.clone();
        variables.insert("DATA_DIR".into(), self.data_dir().to_str().unwrap().into());
        variables.insert("LISTEN".into(), format!("127.0.0.1:{}", self.port));
        variables.insert("IMAGE_FACTORY_URL".into(), self.url());
        variables.insert("IMAGE_FACTORY_TOKEN".into(), self.token());
        variables
    }

    /// Returns the command line on this daemon's machine, with its settings.
    pub fn beside(&self, args: &[&str]) -> Cli {
        let cli = self.settings.iter().fold(Cli::new(args), |cli, (name, value)| cli.env(name, value));
        let (data, listen) = (self.data_dir(), format!("127.0.0.1:{}", self.port));
        cli.env("DATA_DIR", data.to_str().unwrap()).env("LISTEN", &listen)
    }

    /// Returns the command line of a user of this daemon.
    pub fn cli(&self, args: &[&str]) -> Cli {
        Cli::new(args).env("IMAGE_FACTORY_URL", &self.url()).env("IMAGE_FACTORY_TOKEN", &self.token())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if self.server.running() {
            self.server.kill9();
        }
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "secrets of the daemon are in {leaks:#?}");
    }
}

fn id_of(job: &Value) -> String {
    job["id"].as_str().unwrap_or_else(|| panic!("no id in {job}")).to_string()
}

/// Makes the payload of a push, with the fields that we and others read.
pub fn push_payload(repo: &str, git_ref: &str, sha: &str) -> Value {
    let (owner, name) = repo.split_once('/').unwrap();
    json!({
        "ref": git_ref, "before": "0".repeat(40), "after": sha, "deleted": false, "forced": false, "created": false,
        "head_commit": {"id": sha, "message": "A change"}, "commits": [],
        "repository": {
            "name": name, "full_name": repo, "fork": false, "private": true, "default_branch": "develop",
            "owner": {"name": owner, "login": owner},
        },
    })
}

fn serve(settings: &Settings, dir: &Path, port: u16) -> Command {
    let mut command = Command::new(settings.get(BENCH_BINARY).map_or_else(binary, OsString::from));
    command
        .arg("serve")
        .arg("--env-file")
        .arg(env_file(dir))
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", dir)
        .env("DATA_DIR", dir.join("data"))
        .env("LISTEN", format!("127.0.0.1:{port}"))
        .env("API_TOKENS", API_TOKENS)
        .envs(settings);
    command
}

/// Returns the daemon's environment file in its folder; it is empty at first.
fn env_file(dir: &Path) -> PathBuf {
    let path = dir.join("env");
    std::fs::File::options().append(true).create(true).open(&path).unwrap();
    path
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.keys().any(|name| ["TLS_CERT", "CERT_PATH"].contains(&&**name)) { "https" } else { "http" }
}

/// A client that asks for no certificate. Tests of the certificates have clients of their own.
fn client(settings: &Settings) -> reqwest::Client {
    let plain = http_client();
    match scheme(settings) {
        "https" => reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap(),
        _ => plain,
    }
}

async fn ready(client: &reqwest::Client, settings: &Settings, port: u16) -> bool {
    let url = format!("{}://127.0.0.1:{port}/ready", scheme(settings));
    let Ok(answer) = client.get(url).send().await else { return false };
    // The status is 200 before the first ping of the engines has ended, and the reasons name it until then.
    let is_ok = answer.status() == 200;
    let text = answer.text().await.unwrap_or_default();
    is_ok && !["was not pinged yet", "was not read yet", "were not tried yet"].iter().any(|early| text.contains(early))
}

/// One run of the command line, with only the given variables in its environment.
pub struct Cli(Command);

impl Cli {
    pub fn new(args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", "/nonexistent");
        Self(command)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Output {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// Runs it beside the test; its output is in `log`.
    pub fn spawn(mut self, log: &Path) -> Proc {
        Proc::spawn("the command line", &mut self.0, log)
    }
}
