use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Proc, eventually, folder, start};

const LIMIT: Duration = Duration::from_secs(20);

/// Debian's rsyslogd: on a UDP port, a TCP port and a socket of its own, with what it receives in a file.
pub struct Rsyslog {
    server: Proc,
    port: u16,
    dir: TempDir,
}

/// A message as rsyslogd understood it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// imudp, imtcp, imuxsock
    pub input: String,
    pub app: String,
    pub process: String,
    pub severity: String,
    pub facility: String,
    pub data: String,
    pub text: String,
}

impl Rsyslog {
    pub async fn start() -> Self {
        let dir = folder();
        let (server, [port]) = start(
            "rsyslogd",
            &dir.path().join("own-log"),
            |[port]| {
                std::fs::write(dir.path().join("conf"), config(&dir, port)).unwrap();
                command(&dir)
            },
            async |[port]| listens(port).await,
        )
        .await;
        Self { server, port, dir }
    }

    /// Returns its address, for UDP and TCP.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub async fn stop(&mut self) {
        self.server.signal(Signal::TERM);
        self.server.exit(LIMIT).await;
    }

    /// After `stop`: on the same port and socket, with the same file.
    pub async fn restart(&mut self) {
        self.server = Proc::spawn("rsyslogd", &mut command(&self.dir), &self.dir.path().join("own-log"));
        let port = self.port;
        eventually(LIMIT, "rsyslogd listens again", async || listens(port).await.then_some(())).await;
    }

    pub fn messages(&self) -> Vec<Message> {
        let text = std::fs::read_to_string(self.dir.path().join("messages")).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(read).collect()
    }

    /// The first message with `part` in its text.
    pub async fn wait(&self, part: &str) -> Message {
        eventually(LIMIT, &format!("rsyslogd has {part:?}"), async || {
            self.messages().into_iter().find(|message| message.text.contains(part))
        })
        .await
    }
}

fn read(line: &str) -> Option<Message> {
    let fields: Vec<&str> = line.splitn(7, '\t').collect();
    let [input, app, process, severity, facility, data, text] = fields[..] else { return None };
    let own = str::to_owned;
    Some(Message {
        input: own(input),
        app: own(app),
        process: own(process),
        severity: own(severity),
        facility: own(facility),
        data: own(data),
        text: own(text.trim_start()),
    })
}

fn command(dir: &TempDir) -> Command {
    let mut command = Command::new("rsyslogd");
    let path = format!("/usr/sbin:{}", std::env::var("PATH").unwrap());
    command.arg("-n").arg("-f").arg(dir.path().join("conf")).arg("-i").arg(dir.path().join("pid")).env("PATH", path);
    command
}

fn config(dir: &TempDir, port: u16) -> String {
    let dir = dir.path().display();
    let fields =
        ["inputname", "app-name", "procid", "syslogseverity-text", "syslogfacility-text", "structured-data", "msg"];
    let template = fields.map(|field| format!("%{field}%")).join("\\t");
    format!(
        "global(workDirectory=\"{dir}\")\n\
         module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" socket=\"{dir}/socket\")\n\
         template(name=\"fields\" type=\"string\" string=\"{template}\\n\")\n\
         action(type=\"omfile\" file=\"{dir}/messages\" template=\"fields\")\n"
    )
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
