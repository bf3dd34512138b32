use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::{Authority, Pem, Proc, eventually, folder, start};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    FromTheFirstByte,
    StartTls,
    None,
}

/// One mail that came, as Python's `email` reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// The headers' values, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The violations of the standards that the parser found.
    pub defects: Vec<String>,
    pub kind: String,
    pub plain: String,
    pub html: String,
    pub authenticated: bool,
    pub encrypted: bool,
    pub longest_line: usize,
    /// The server's answer to this mail.
    pub answer: String,
}

/// aiosmtpd, with a certificate for 127.0.0.1 of an authority of its own.
pub struct SmtpServer {
    _server: Proc,
    port: u16,
    authority: Authority,
    _certificate: Pem,
    dir: TempDir,
}

impl SmtpServer {
    pub const USER: &str = "factory";
    pub const PASSWORD: &str = "s3cret:mail";

    /// Starts a server that requires USER and PASSWORD where there is TLS. It answers 550 to the address `refused@…`.
    pub async fn start(tls: SmtpTls) -> Self {
        let (dir, authority) = (folder(), Authority::new());
        let certificate = authority.issue("IP:127.0.0.1");
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("faults"), "").unwrap();
        std::fs::write(at("mails"), "").unwrap();
        std::fs::write(at("server.py"), include_str!("smtp.py")).unwrap();
        let (mode, user, password) = match tls {
            SmtpTls::FromTheFirstByte => ("tls", Self::USER, Self::PASSWORD),
            SmtpTls::StartTls => ("starttls", Self::USER, Self::PASSWORD),
            SmtpTls::None => ("none", "", ""),
        };
        let (server, [port]) = start(
            "aiosmtpd",
            &dir.path().join("log"),
            |[port]| {
                // Debian's own, which has Debian's aiosmtpd.
                let mut command = Command::new("/usr/bin/python3");
                command.args([&at("server.py"), &port.to_string(), mode, certificate.cert(), certificate.key()]);
                command.args([user, password, &at("mails"), &at("faults")]);
                command
            },
            async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        )
        .await;
        Self { _server: server, port, authority, _certificate: certificate, dir }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the file of its authority's certificate.
    pub fn authority(&self) -> &str {
        self.authority.cert()
    }

    /// Sets the answers to the next mails, one each.
    pub fn answer(&self, answers: &[&str]) {
        std::fs::write(self.dir.path().join("faults"), answers.join("\n")).unwrap();
    }

    pub fn mails(&self) -> Vec<Mail> {
        let text = std::fs::read_to_string(self.dir.path().join("mails")).unwrap();
        // The last line may be half written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    /// Waits for `count` mails and returns them.
    pub async fn wait(&self, count: usize) -> Vec<Mail> {
        eventually(Duration::from_secs(30), &format!("{count} mails have come"), async || {
            Some(self.mails()).filter(|mails| mails.len() >= count)
        })
        .await
    }
}
