//! Mail, with the subjects of docteurklein/compose-ci: one for each address, so that one that is refused keeps it from no
//! other.

mod content;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use zeroize::Zeroizing;

use super::NotifyConfig;
use super::send_error::Failure;
use super::summary::Story;
use crate::logs::Logs;
use crate::model::{Job, JobId, MailTls, Occasion, Status};
use crate::outbound::is_loopback_host;
use crate::store::{NewNotification, Notification};
use content::{Letter, Tail};

pub(super) const CHANNEL: &str = "mail";

/// So much of a log's end is in a mail.
const TAIL: u64 = 256 << 10;
/// Of connecting, and of each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Of one mail: with its HTML it has 2 MB at most.
const TIMEOUT: Duration = Duration::from_secs(120);

/// SMTP_*
pub struct MailConfig {
    pub host: String,
    /// None: the usual one.
    pub port: Option<u16>,
    pub tls: MailTls,
    /// Authorities beside the system's, PEM.
    pub cacert: Option<PathBuf>,
    pub login: Option<(String, Zeroizing<String>)>,
    pub from: String,
    pub to: Vec<String>,
}

/// Sends mail.
#[derive(Clone)]
pub struct Mail {
    /// `host:port`
    place: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

/// The mail of this daemon.
#[derive(Clone)]
pub struct Mailing {
    pub mail: Mail,
    pub logs: Logs,
    pub occasions: Vec<Occasion>,
}

impl Mail {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Which setting cannot be used, and why.
    pub fn new(config: MailConfig) -> Result<Self, String> {
        let MailConfig { host, port, tls, cacert, login, from, to } = config;
        let mailbox = |setting: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("{setting}={text:?} is no mail address: {error}"))
        };
        let from = mailbox("SMTP_FROM", &from)?;
        let mut all: Vec<Mailbox> = Vec::with_capacity(to.len());
        for to in &to {
            let to = mailbox("SMTP_TO", to)?;
            // Who is named twice gets it once.
            if all.iter().all(|other| other.email != to.email) {
                all.push(to);
            }
        }
        let to = all;
        if to.is_empty() {
            return Err("SMTP_HOST is set and SMTP_TO is not: name who gets the mail".into());
        }
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(format!("SMTP_HOST={host:?} is no name and no address of a host"));
        }
        if tls == MailTls::None && !is_loopback_host(&host) {
            return Err(format!(
                "SMTP_TLS=none with SMTP_HOST={host}: only a server of this machine is spoken to without TLS"
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
        let (usual, tls) = match tls {
            MailTls::Implicit => (465, Tls::Wrapper(parameters)),
            MailTls::StartTls => (587, Tls::Required(parameters)),
            MailTls::None => (25, Tls::None),
        };
        let port = port.unwrap_or(usual);
        // By its builder's name dangerous, because this one leaves TLS to us.
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT));
        if let Some((user, password)) = login {
            transport = transport.credentials(Credentials::new(user, password.as_str().to_owned()));
        }
        Ok(Self { place: format!("{host}:{port}"), from, to, transport: transport.build() })
    }

    /// `host:port`
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Connects, logs in, and sends nothing.
    pub async fn probe(&self) -> Result<(), String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not answer".into()),
            Err(error) => Err(words(&error)),
        }
    }
}

pub(super) fn rows(config: &NotifyConfig, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
    let Some(Mailing { mail, occasions, .. }) = &config.mail else { return Vec::new() };
    let Some(story) = Story::of(job, previous, occasions, &config.links) else { return Vec::new() };
    let body = serde_json::to_string(&Letter::of(&story)).expect("a struct of strings is JSON");
    let row = |to: &Mailbox| {
        let destination = to.email.to_string();
        let lane = format!("{CHANNEL} {destination} {}", job.id);
        NewNotification { channel: CHANNEL, destination, lane, replaces: false, body: body.clone() }
    };
    mail.to.iter().map(row).collect()
}

pub(super) async fn send(config: &NotifyConfig, notification: &Notification) -> Result<(), Failure> {
    let Notification { id, job, destination, created, body, .. } = notification;
    let found = config
        .mail
        .as_ref()
        .and_then(|mailing| Some((mailing, mailing.mail.to.iter().find(|to| to.email.to_string() == *destination)?)));
    let (Mailing { mail, logs, .. }, to) =
        found.ok_or_else(|| Failure::permanent("its address is not in SMTP_TO any more"))?;
    let letter: Letter =
        serde_json::from_str(body).map_err(|error| Failure::permanent(format!("its row cannot be read: {error}")))?;
    let tail = tail(logs, *job).await.map_err(|error| later(format!("the log cannot be read: {error}")))?;
    let message = letter.write(&mail.from, to, id, *created, &tail);
    let message = message.map_err(|error| Failure::permanent(format!("the mail cannot be written: {error}")))?;
    match tokio::time::timeout(TIMEOUT, mail.transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure { permanent: error.is_permanent(), ..later(words(&error)) }),
        Err(_) => Err(later(format!("{} took longer than {} s", mail.place, TIMEOUT.as_secs()))),
    }
}

fn later(error: String) -> Failure {
    Failure { error, permanent: false, retry_after: None }
}

/// The end of a log, from the beginning of a line on.
async fn tail(logs: &Logs, job: JobId) -> std::io::Result<Tail> {
    let end = logs.len(job).await?;
    let start = end.saturating_sub(TAIL);
    let (mut log, mut bytes) = (logs.range(job, start, end), Vec::with_capacity((end - start) as usize));
    while let Some(piece) = log.next().await? {
        bytes.extend_from_slice(&piece);
    }
    let mut cut = start;
    if start > 0
        && let Some(newline) = bytes.iter().position(|&byte| byte == b'\n')
    {
        bytes.drain(..=newline);
        cut += newline as u64 + 1;
    }
    Ok(Tail { bytes, cut })
}

/// One line, no longer than a server's answer should be.
fn words(error: &smtp::Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
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
    fn what_cannot_be_used_is_told_by_its_setting() {
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
            to: vec!["dev@acme.org".into()],
        };
        let twice = MailConfig { to: vec!["dev@acme.org".into(), "Dev <dev@acme.org>".into()], ..good() };
        let mail = Mail::new(twice).ok().unwrap();
        assert_eq!((mail.place(), mail.to.len()), ("localhost:465", 1));
        let login = || Some(("me".to_owned(), Zeroizing::new("s3cret-s3cret".to_owned())));
        for (config, words) in [
            (MailConfig { from: "nobody".into(), ..good() }, "SMTP_FROM=\"nobody\" is no mail address"),
            (MailConfig { to: vec!["a@b.c".into(), "@x".into()], ..good() }, "SMTP_TO=\"@x\" is no mail address"),
            (MailConfig { to: vec![], ..good() }, "SMTP_TO is not"),
            (
                MailConfig { tls: MailTls::None, host: "mail.acme.org".into(), ..good() },
                "only a server of this machine",
            ),
            (MailConfig { tls: MailTls::None, login: login(), ..good() }, "a password goes by TLS alone"),
            (MailConfig { cacert: Some(empty), login: login(), ..good() }, "it has no certificate in it"),
            (MailConfig { cacert: Some("/nowhere".into()), ..good() }, "No such file"),
            (MailConfig { host: "not a host".into(), ..good() }, "is no name and no address"),
        ] {
            let error = Mail::new(config).err().unwrap_or_else(|| panic!("{words}"));
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_long_log_is_cut_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, job) = (Logs::open(dir.path().into()).unwrap(), JobId::new());
        assert_eq!(tail(&logs, job).await.unwrap().bytes, b"");
        let line = "x".repeat(99) + "\n";
        fs::write(dir.path().join(format!("{job}.log")), "begin\n".to_owned() + &line.repeat(4000)).unwrap();
        let Tail { bytes, cut } = tail(&logs, job).await.unwrap();
        assert_eq!(cut + bytes.len() as u64, 400_006);
        assert!(bytes.len() as u64 <= TAIL && bytes.len() as u64 > TAIL - 200);
        assert!(bytes.starts_with(line.as_bytes()) && (cut - 6) % 100 == 0);
    }
}
