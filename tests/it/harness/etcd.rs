use std::process::Command;
use std::time::{Duration, Instant};

use etcd_client::{Client, CompactionOptions, ConnectOptions, Permission, PermissionType};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use tempfile::TempDir;

use super::ports::ports;
use super::proc::wait_ready;
use super::{Authority, Pem, Proc, eventually, folder, http_client, port};

/// The user who may only read the keys below `/totem/`, once [`Etcd::ask_for_users`] was called.
pub const USER: (&str, &str) = ("factory", "factory password");
const ROOT: (&str, &str) = ("root", "root password");

/// An etcd, or a member of a cluster.
pub struct Etcd {
    server: Option<Proc>,
    port: u16,
    args: Vec<String>,
    dir: TempDir,
    user: Option<(&'static str, &'static str)>,
    /// etcd reads the files again at each connection.
    certificate: Option<Pem>,
}

impl Etcd {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts an etcd with further arguments.
    pub async fn start_with(more: &[&str]) -> Self {
        let [member] = cluster(more).await;
        member
    }

    /// Starts an etcd that also serves API v2.
    pub async fn with_v2() -> Self {
        Self::start_with(&["--enable-v2"]).await
    }

    /// Three members.
    pub async fn cluster(more: &[&str]) -> [Self; 3] {
        cluster(more).await
    }

    /// Beside http on its usual port it speaks TLS on another, which is returned.
    pub async fn with_tls(server: Pem, clients: Option<&Authority>) -> (Self, u16) {
        let port = port();
        let url = format!("https://127.0.0.1:{port}");
        let mut more = vec!["--enable-v2", "--listen-client-urls", &url];
        more.extend(["--cert-file", server.cert(), "--key-file", server.key()]);
        if let Some(authority) = clients {
            more.extend(["--client-cert-auth", "--trusted-ca-file", authority.cert()]);
        }
        let mut etcd = Self::start_with(&more).await;
        etcd.certificate = Some(server);
        (etcd, port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn stop(&mut self) {
        self.server = None;
    }

    /// On the same port, with the same data.
    pub async fn restart(&mut self) {
        self.stop();
        let mut server = spawn(&self.dir, &self.args);
        assert!(wait_ready(&mut server, async || healthy(self.port).await).await, "etcd ended on its restart");
        self.server = Some(server);
    }

    /// STOP: it hangs and closes nothing; CONT.
    pub fn signal(&self, signal: Signal) {
        self.server.as_ref().unwrap().signal(signal);
    }

    pub async fn client(&self) -> Client {
        let options = self.user.map(|(user, password)| ConnectOptions::new().with_user(user, password));
        Client::connect([self.endpoint()], options).await.unwrap()
    }

    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.client().await.put(key, value, None).await.unwrap();
    }

    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.client().await.get(key, None).await.unwrap();
        answer.kvs().first().map(|kv| kv.value().to_vec())
    }

    pub async fn delete(&self, key: &str) {
        self.client().await.delete(key, None).await.unwrap();
    }

    /// Forgets all history: a watch from an older revision is cancelled.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let revision = client.get("/", None).await.unwrap().header().unwrap().revision();
        client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
    }

    /// Returns true if this member leads its cluster.
    pub async fn is_leader(&self) -> bool {
        let status = self.client().await.status().await.unwrap();
        status.leader() == status.header().unwrap().member_id()
    }

    /// Makes both APIs require a login from now on. [`USER`] may read the keys below `/totem/`.
    pub async fn ask_for_users(&mut self) {
        let mut client = self.client().await;
        client.user_add(ROOT.0, ROOT.1, None).await.unwrap();
        client.user_grant_role(ROOT.0, "root").await.unwrap_or_else(|e| panic!("{e}"));
        self.add_user(USER.0, "/totem/").await;
        client.auth_enable().await.unwrap();
        self.user = Some(ROOT);
        for (path, body) in [
            ("users/root", format!(r#"{{"user":"root","password":"{}"}}"#, ROOT.1)),
            ("roles/reader", r#"{"role":"reader","permissions":{"kv":{"read":["/totem/*"],"write":[]}}}"#.into()),
            ("users/factory", format!(r#"{{"user":"factory","password":"{}","roles":["reader"]}}"#, USER.1)),
            ("enable", String::new()),
            ("roles/guest", r#"{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}"#.into()),
        ] {
            let answer = self.v2(Method::PUT, &format!("v2/auth/{path}"), &body).await;
            assert!(answer.0.is_success() || answer.0 == StatusCode::NOT_FOUND, "{path}: {answer:?}");
        }
    }

    /// A user with USER's password whose role may read the keys that begin with `prefix`.
    pub async fn add_user(&self, name: &str, prefix: &str) {
        let mut client = self.client().await;
        client.user_add(name, USER.1, None).await.unwrap();
        client.role_add(name).await.unwrap();
        let permission = Permission::new(PermissionType::Read, prefix).with_prefix();
        client.role_grant_permission(name, permission).await.unwrap();
        client.user_grant_role(name, name).await.unwrap();
    }

    /// Waits until a token that was given now is no longer good.
    pub async fn until_tokens_expire(&self) {
        let options = ConnectOptions::new().with_user(USER.0, USER.1);
        let client = Client::connect([self.endpoint()], Some(options)).await.unwrap();
        // Each use of a simple token prolongs it: so it is used seldom.
        let (mut attempted, mut pause) = (Instant::now(), Duration::from_secs(2));
        eventually(Duration::from_secs(60), "the token expires", async || {
            if attempted.elapsed() < pause {
                return None;
            }
            (attempted, pause) = (Instant::now(), pause * 2);
            client.kv_client().get("/totem/", None).await.is_err().then_some(())
        })
        .await;
    }

    pub async fn v2_put(&self, key: &str, value: &str) {
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("value", value).finish();
        let (status, answer) = self.v2(Method::PUT, &format!("v2/keys{key}"), &form).await;
        assert!(status.is_success(), "{key}: {status} {answer}");
    }

    /// A request of API v2.
    pub async fn v2(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        let request = http_client().request(method, format!("{}/{path}", self.endpoint())).body(body.to_owned());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let request = match self.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

/// Starts a cluster and returns when its members answer.
async fn cluster<const N: usize>(more: &[&str]) -> [Etcd; N] {
    for _ in 0..5 {
        let ports: [[u16; 2]; N] = [(); N].map(|()| ports());
        let mut members = std::array::from_fn(|i| member(i, &ports, more));
        let mut up = true;
        for member in &mut members {
            let (server, port) = (member.server.as_mut().unwrap(), member.port);
            up = up && wait_ready(server, async || healthy(port).await).await;
        }
        if up {
            return members;
        }
        let output: String = members.iter().map(|m| m.server.as_ref().unwrap().output()).collect();
        assert!(output.contains("address already in use"), "etcd ended before it was ready: {output}");
    }
    panic!("etcd found no free ports in five attempts");
}

fn member(i: usize, ports: &[[u16; 2]], more: &[&str]) -> Etcd {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let dir = folder();
    let [port, peer] = ports[i];
    let members: Vec<_> = ports.iter().enumerate().map(|(i, [_, peer])| format!("member{i}={}", url(*peer))).collect();
    let mut clients = url(port);
    let mut rest = Vec::new();
    let mut more = more.iter();
    while let Some(arg) = more.next() {
        match *arg {
            "--listen-client-urls" => clients += &format!(",{}", more.next().unwrap()),
            arg => rest.push(arg.to_owned()),
        }
    }
    let mut args: Vec<String> = ["--logger", "zap", "--log-level", "warn"].map(Into::into).into();
    for (name, value) in [
        ("--name", format!("member{i}")),
        ("--data-dir", dir.path().join("data").display().to_string()),
        ("--listen-client-urls", clients.clone()),
        ("--advertise-client-urls", clients),
        ("--listen-peer-urls", url(peer)),
        ("--initial-advertise-peer-urls", url(peer)),
        ("--initial-cluster", members.join(",")),
    ] {
        args.extend([name.into(), value]);
    }
    args.extend(rest);
    Etcd { server: Some(spawn(&dir, &args)), port, args, dir, user: None, certificate: None }
}

fn spawn(dir: &TempDir, args: &[String]) -> Proc {
    Proc::spawn("etcd", Command::new("etcd").args(args), &dir.path().join("log"))
}

/// Returns true if etcd answers. With users, a refusal is an answer.
async fn healthy(port: u16) -> bool {
    // A new client each time: one that was refused waits longer and longer.
    let Ok(mut client) = Client::connect([format!("127.0.0.1:{port}")], None).await else { return false };
    match tokio::time::timeout(Duration::from_secs(1), client.get("/", None)).await {
        Ok(Ok(_)) => true,
        Ok(Err(e)) => e.to_string().contains("user name is empty"),
        Err(_) => false,
    }
}
