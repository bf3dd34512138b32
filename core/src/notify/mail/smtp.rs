//! The SMTP server that takes the mails.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use zeroize::Zeroizing;

use crate::model::MailTls;
use crate::notify::send_error::SendError;
use crate::outbound::is_loopback_host;

/// The limit for connecting, and for each answer of the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit for one mail, which has at most 2 MB with its HTML.
const TIMEOUT: Duration = Duration::from_secs(120);

/// SMTP_*
pub struct MailConfig {
    pub host: String,
    /// The usual port of the protection, if none is set.
    pub port: Option<u16>,
    pub tls: MailTls,
    /// PEM file of authorities beside the system's.
    pub cacert: Option<PathBuf>,
    pub login: Option<(String, Zeroizing<String>)>,
    pub from: String,
    /// Name of the setting that has the receivers.
    pub to_setting: &'static str,
    pub to: Vec<String>,
}

/// Sends mails from one address to several through one server.
#[derive(Clone)]
pub struct Mailer {
    /// `host:port`
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    to_setting: &'static str,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// Checks the settings. It does not connect yet.
    ///
    /// # Errors
    /// The setting that cannot be used, and the reason.
    pub fn new(config: MailConfig) -> Result<Self, String> {
        let MailConfig { host, port, tls, cacert, login, from, to_setting, to } = config;
        let from = mailbox("SMTP_FROM", &from)?;
        let to = receivers(to_setting, &to)?;
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(format!("SMTP_HOST={host:?} is no name and no address of a host"));
        }
        if tls == MailTls::None && !is_loopback_host(&host) {
            return Err(format!(
                "SMTP_TLS=none with SMTP_HOST={host}: mail leaves this machine by TLS alone; set tls or starttls"
            ));
        }
        if tls == MailTls::None && login.is_some() {
            return Err("SMTP_TLS=none with SMTP_USER: a password goes by TLS alone".into());
        }
        let mut parameters = TlsParameters::builder(host.clone());
        for authority in cacert.map(|path| authorities(&path)).transpose()?.unwrap_or_default() {
            parameters = parameters.add_root_certificate(authority);
        }
        let parameters =
            parameters.build_rustls().map_err(|error| format!("SMTP_HOST={host:?} cannot be used: {error}"))?;
        let (usual_port, tls) = match tls {
            MailTls::Implicit => (465, Tls::Wrapper(parameters)),
            MailTls::StartTls => (587, Tls::Required(parameters)),
            MailTls::None => (25, Tls::None),
        };
        let port = port.unwrap_or(usual_port);
        // The builder is called dangerous because it leaves the choice of TLS to its caller.
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT));
        if let Some((user, password)) = login {
            transport = transport.credentials(Credentials::new(user, password.as_str().to_owned()));
        }
        Ok(Self { server: format!("{host}:{port}"), from, to, to_setting, transport: transport.build() })
    }

    /// Returns the server as `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the server without its port.
    pub(in crate::notify) fn host(&self) -> &str {
        self.server.rsplit_once(':').map_or(&self.server, |(host, _)| host)
    }

    pub(super) fn receivers_setting(&self) -> &'static str {
        self.to_setting
    }

    pub(super) fn from(&self) -> &Mailbox {
        &self.from
    }

    pub(super) fn to(&self) -> &[Mailbox] {
        &self.to
    }

    /// Connects and logs in without sending a mail.
    ///
    /// # Errors
    /// The reason, in one line.
    pub async fn probe(&self) -> Result<(), String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not answer".into()),
            Err(error) => Err(explain(&error)),
        }
    }

    fn failure(&self, error: &smtp::Error) -> String {
        format!("{}: {}", self.server, explain(error))
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        match tokio::time::timeout(TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(SendError::permanent(self.failure(&error))),
            Ok(Err(error)) => Err(SendError::transient(self.failure(&error))),
            Err(_) => Err(SendError::transient(format!("{} took longer than {} s", self.server, TIMEOUT.as_secs()))),
        }
    }
}

fn mailbox(setting: &str, text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| {
        format!(
            "{setting}={text:?} is no mail address: write one such as builds@example.com or Name <builds@example.com>"
        )
    })
}

/// Parses the receivers. An address that is listed twice gets one mail.
fn receivers(setting: &str, to: &[String]) -> Result<Vec<Mailbox>, String> {
    let mut all: Vec<Mailbox> = Vec::with_capacity(to.len());
    for to in to {
        let to = mailbox(setting, to)?;
        if all.iter().all(|other| other.email != to.email) {
            all.push(to);
        }
    }
    match all.is_empty() {
        true => Err(format!("SMTP_HOST is set and {setting} is not: name who gets the mail")),
        false => Ok(all),
    }
}

/// Returns what went wrong and what to do, as one line of at most 500 characters, because a server's answer is part of it.
fn explain(error: &smtp::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = match error.status().map(u16::from) {
        Some(code @ (530 | 534 | 535)) => {
            format!("the login is refused ({code} {cause}): correct SMTP_USER and SMTP_PASS")
        }
        Some(code) => format!("the server refuses ({code} {cause}): correct SMTP_FROM and SMTP_TO, or ask who runs it"),
        None if error.is_timeout() => "no answer in time: check SMTP_HOST, SMTP_PORT and SMTP_TLS".into(),
        None => format!("no connection ({cause}): check SMTP_HOST, SMTP_PORT, SMTP_TLS and SMTP_CACERT"),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

fn authorities(path: &PathBuf) -> Result<Vec<Certificate>, String> {
    let wrong = |why: String| format!("SMTP_CACERT={path:?} cannot be used: {why}");
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| wrong(format!("it is not PEM ({error})")))?;
    if certificates.is_empty() {
        return Err(wrong("it has no certificate in it: give a PEM file with the authority's".into()));
    }
    let read = certificates.iter().map(|certificate| Certificate::from_der(certificate.to_vec()));
    read.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_setting_is_named() {
        crate::outbound::install_tls_provider();
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("ca.pem");
        fs::write(&empty, "nothing").unwrap();
        let good = || MailConfig {
            host: "localhost".into(),
            port: None,
            tls: MailTls::Implicit,
            cacert: None,
            login: None,
            from: "Image Factory <ci@acme.org>".into(),
            to_setting: "SMTP_TO",
            to: vec!["dev@acme.org".into()],
        };
        let twice = MailConfig { to: vec!["dev@acme.org".into(), "Dev <dev@acme.org>".into()], ..good() };
        let mailer = Mailer::new(twice).ok().unwrap();
        assert_eq!((mailer.server(), mailer.to().len()), ("localhost:465", 1));
        let login = || Some(("me".to_owned(), Zeroizing::new("s3cret-s3cret".to_owned())));
        for (config, words) in [
            (MailConfig { from: "nobody".into(), ..good() }, "SMTP_FROM=\"nobody\" is no mail address"),
            (MailConfig { to: vec!["a@b.c".into(), "@x".into()], ..good() }, "SMTP_TO=\"@x\" is no mail address"),
            (MailConfig { to: vec![], ..good() }, "SMTP_TO is not"),
            (
                MailConfig { tls: MailTls::None, host: "mail.acme.org".into(), ..good() },
                "mail leaves this machine by TLS alone",
            ),
            (MailConfig { tls: MailTls::None, login: login(), ..good() }, "a password goes by TLS alone"),
            (MailConfig { cacert: Some(empty), login: login(), ..good() }, "it has no certificate in it"),
            (MailConfig { cacert: Some("/nowhere".into()), ..good() }, "No such file"),
            (MailConfig { host: "not a host".into(), ..good() }, "is no name and no address"),
        ] {
            let error = Mailer::new(config).err().unwrap_or_else(|| panic!("{words}"));
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
    }
}
