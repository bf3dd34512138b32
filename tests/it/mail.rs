//! Mail, sent to a real server and read by a real MIME parser.

use std::fmt::Write;

use crate::harness::{Daemon, Settings, SmtpServer, SmtpTls, World, masked, unique};

/// The settings that send mail to this server.
fn settings<'a>(server: &'a SmtpServer, port: &'a str, tls: &'a str, to: &'a str) -> Vec<(&'a str, &'a str)> {
    let login = [("SMTP_USER", SmtpServer::USER), ("SMTP_PASS", SmtpServer::PASSWORD)];
    let mut all = vec![
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", port),
        ("SMTP_TLS", tls),
        ("SMTP_FROM", "Image Factory <ci@acme.org>"),
        ("SMTP_TO", to),
        ("BASE_URL", "https://ci.acme.org"),
    ];
    if tls != "none" {
        all.extend(login);
        all.push(("SMTP_CACERT", server.authority()));
    }
    all
}

/// Returns the body without the log, which differs from run to run.
fn frame(body: &str, values: &[(&str, &str)]) -> String {
    let note = body.find("cut off here").unwrap();
    let start = note + body[note..].find('\n').unwrap();
    let end = body.rfind("</pre>").or(body.trim_end().rfind('\n')).unwrap();
    let cut = regex::Regex::new("[(][0-9]+ bytes[)]").unwrap();
    masked(&format!("{}\n[log]\n{}", cut.replace_all(&body[..start], "([size] bytes)"), &body[end..]), values)
}

#[tokio::test]
async fn the_outcome_and_the_log_are_mailed_by_tls() {
    let server = SmtpServer::start(SmtpTls::FromTheFirstByte).await;
    let port = server.port().to_string();
    let world =
        World::start_with(&settings(&server, &port, "tls", "dev@acme.org, refused@acme.org, Ops <ops@acme.org>")).await;
    // The step prints 300 KB and a coloured line.
    let step = unique();
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nRUN echo {step} && seq 1 30000 | sed 's/^/line /' && printf '\\033[31mred & <b>\\033[0m\\n' && exit 2\n"
    );
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    server.answer(&["451 4.3.0 come again"]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_failure(&id).await;

    let mails = server.wait(3).await;
    let taken: Vec<_> = mails.iter().filter(|mail| mail.answer == "250 OK").collect();
    let refused = mails.iter().find(|mail| mail.answer.starts_with("451")).unwrap();
    for to in ["dev@acme.org", "ops@acme.org"] {
        let mail = taken.iter().find(|mail| mail.to == [to]).unwrap_or_else(|| panic!("{to} got no mail"));
        let header = |name: &str| mail.headers[name].as_str();
        assert_eq!((mail.from.as_str(), mail.authenticated, mail.encrypted), ("ci@acme.org", true, true));
        let subject = format!("[acme/hello]: {} failed! (exit code: 2) build: step", &sha[..7]);
        assert!(header("subject").starts_with(&subject), "{}", header("subject"));
        assert_eq!((header("from"), header("auto-submitted")), ("Image Factory <ci@acme.org>", "auto-generated"));
        assert_eq!((mail.kind.as_str(), &mail.defects), ("multipart/alternative", &vec![]));
        assert!(mail.longest_line <= 998 && mail.headers.contains_key("date"));
        // A mail that is sent again keeps its id and date, so that mail programs show it once.
        if refused.to == mail.to {
            for name in ["message-id", "date"] {
                assert_eq!(header(name), refused.headers[name]);
            }
        }
        for (name, body, colored) in [
            ("mail_failure_text", &mail.plain, "red & <b>"),
            ("mail_failure_html", &mail.html, "<span style=\"color:#ff7b72;\">red &amp; &lt;b&gt;</span>"),
        ] {
            for part in [colored, "line 30000"] {
                assert!(body.contains(part), "{part:?} is not in {}…", &body[..2000]);
            }
            assert!(!body.contains('\x1b') && !body.contains("line 1\n"), "it is not the end of the log");
            insta::assert_snapshot!(name, frame(body, &[(&id, "job"), (&sha, "sha"), (&step, "step")]));
        }
        assert!(mail.plain.len() < 300_000 && mail.plain.trim_end().ends_with(&format!("Job {id}")));
    }
    assert_ne!(taken[0].headers["message-id"], taken[1].headers["message-id"]);

    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    let mails = server.wait(5).await;
    assert!(mails[3..].iter().all(|mail| mail.headers["subject"] == format!("[acme/hello]: {} success!", &sha[..7])));
    // The refused address was tried once, and no address got a mail twice.
    assert_eq!(mails.len(), 5);
    assert!(!world.daemon.output().contains(SmtpServer::PASSWORD));
}

#[tokio::test]
async fn starttls_is_required_and_doctor_names_what_is_wrong_with_the_mail_server() {
    let (server, plain) = tokio::join!(SmtpServer::start(SmtpTls::StartTls), SmtpServer::start(SmtpTls::None));
    let tls = SmtpServer::start(SmtpTls::FromTheFirstByte).await;
    let ports = [server.port().to_string(), plain.port().to_string(), tls.port().to_string()];
    let world = World::start_with(&settings(&server, &ports[0], "starttls", "dev@acme.org")).await;
    world.repo.commit("develop", &[("README", "no Dockerfile")]);
    let id = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_failure(&id).await;
    let mail = &server.wait(1).await[0];
    assert!(mail.authenticated && mail.encrypted);
    let subject = &mail.headers["subject"];
    assert!(
        subject.starts_with("[acme/hello]: ") && subject.contains(" failed! (exit code: 1) checkout: "),
        "{subject}"
    );

    let tls_ca = tls.authority();
    let mut lines = String::new();
    for (changed, check) in [
        (vec![], "mail"),
        (vec![("SMTP_PASS", "wrong-password")], "mail"),
        (vec![("SMTP_CACERT", tls_ca)], "mail"),
        (vec![("SMTP_PORT", &ports[1])], "mail"),
        (vec![("SMTP_PORT", &ports[2]), ("SMTP_TLS", "tls"), ("SMTP_CACERT", tls_ca)], "mail"),
        (vec![("SMTP_PORT", &ports[1]), ("SMTP_TLS", "none"), ("SMTP_USER", "")], "mail"),
        (vec![("SMTP_FROM", "nobody")], "settings"),
    ] {
        let cli = changed.iter().fold(world.daemon.beside(&["doctor"]), |cli, (name, value)| cli.env(name, value));
        let found = String::from_utf8(cli.run().stdout).unwrap();
        let _ = writeln!(lines, "{changed:?}");
        for line in found.lines().filter(|line| line[5..].starts_with(&format!("{check}: "))) {
            let _ = writeln!(lines, "    {line}");
        }
        assert!(!found.contains("wrong-password") && !found.contains(SmtpServer::PASSWORD), "{found}");
    }
    let names = [(ports[0].as_str(), "starttls port"), (&ports[1], "plain port"), (&ports[2], "tls port")];
    insta::assert_snapshot!("doctor_mail", masked(&lines, &names));
    // Doctor sends no mail, and the daemon sends none without TLS.
    assert_eq!((server.mails().len(), plain.mails().len(), tls.mails().len()), (1, 0, 0));
}

#[test]
fn wrong_mail_and_chat_settings_stop_the_start() {
    let good = [("SMTP_HOST", "mail.acme.org"), ("SMTP_FROM", "ci@acme.org"), ("SMTP_TO", "dev@acme.org")];
    let mut messages = String::new();
    for changed in [
        ("SMTP_FROM", ""),
        ("SMTP_TO", ""),
        ("SMTP_TO", "dev@acme.org, nobody"),
        ("SMTP_FROM", "a b@c"),
        ("SMTP_TLS", "none"),
        ("SMTP_TLS", "ssl"),
        ("SMTP_USER", "me"),
        ("SMTP_CACERT", "/nowhere"),
        ("SLACK_URL", "hooks.slack.com/secret-part"),
    ] {
        let settings = good.iter().chain([&changed]).map(|(name, value)| (name.to_string(), value.to_string()));
        let output = Daemon::fail(&settings.collect::<Settings>(), &["--check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{changed:?}: {said}");
        assert!(!said.contains("secret-part"), "{said}");
        let _ = writeln!(messages, "{}={}\n{said}", changed.0, changed.1);
    }
    insta::assert_snapshot!("refused_settings", messages.replace("secret-part", "[secret]"));
}
