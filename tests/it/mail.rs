//! Mail, by a real server, read by a real MIME parser.

use crate::harness::{Daemon, Settings, SmtpServer, SmtpTls, World, unique};

/// Returns the settings that send mail to this server.
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

#[tokio::test]
async fn the_outcome_and_the_log_are_mailed_by_tls() {
    let server = SmtpServer::start(SmtpTls::FromTheFirstByte).await;
    let port = server.port().to_string();
    let world =
        World::start_with(&settings(&server, &port, "tls", "dev@acme.org, refused@acme.org, Ops <ops@acme.org>")).await;
    // 300 KB of output beside the colours.
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nRUN echo {} && seq 1 30000 | sed 's/^/line /' && printf '\\033[31mred & <b>\\033[0m\\n' && exit 2\n",
        unique()
    );
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    server.answer(&["451 4.3.0 come again"]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_failure(&id).await;

    let mails = server.wait(3).await;
    let taken: Vec<_> = mails.iter().filter(|mail| mail.answer == "250 OK").collect();
    let again = mails.iter().find(|mail| mail.answer.starts_with("451")).unwrap();
    for to in ["dev@acme.org", "ops@acme.org"] {
        let mail = taken.iter().find(|mail| mail.to == [to]).unwrap_or_else(|| panic!("{to} got no mail"));
        let header = |name: &str| mail.headers[name].as_str();
        assert_eq!((mail.from.as_str(), mail.authenticated, mail.encrypted), ("ci@acme.org", true, true));
        assert_eq!(header("subject"), format!("[acme/hello]: {} failed! (exit code: 2)", &sha[..7]));
        assert_eq!((header("from"), header("auto-submitted")), ("Image Factory <ci@acme.org>", "auto-generated"));
        assert_eq!((mail.kind.as_str(), &mail.defects), ("multipart/alternative", &vec![]));
        assert!(mail.longest_line <= 998 && mail.headers.contains_key("date"));
        // Repeated tries are one mail.
        if again.to == mail.to {
            for name in ["message-id", "date"] {
                assert_eq!(header(name), again.headers[name]);
            }
        }
        let link = format!("https://ci.acme.org/job/{id}/log");
        for (body, parts) in [
            (&mail.plain, ["red & <b>", "Cause: build: ", "Class: dockerfile"]),
            (&mail.html, ["<span style=\"color:#ff7b72;\">red &amp; &lt;b&gt;</span>", "build: ", "dockerfile"]),
        ] {
            for part in
                parts.iter().copied().chain(["cut off here", "line 30000", &link, "Mend what the message names"])
            {
                assert!(body.contains(part), "{part:?} is not in {}…", &body[..2000]);
            }
            assert!(!body.contains('\x1b') && !body.contains("line 1\n"), "it is not the end of the log");
        }
        assert!(mail.plain.len() < 300_000 && mail.plain.trim_end().ends_with(&format!("Job {id}")));
    }
    assert_ne!(taken[0].headers["message-id"], taken[1].headers["message-id"]);

    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    let mails = server.wait(5).await;
    assert!(mails[3..].iter().all(|mail| mail.headers["subject"] == format!("[acme/hello]: {} success!", &sha[..7])));
    // The refused one was given up at once, and nobody got a mail twice.
    assert_eq!(mails.len(), 5);
    assert!(!world.daemon.output().contains(SmtpServer::PASSWORD));
}

#[tokio::test]
async fn starttls_is_no_offer_that_may_be_declined() {
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
    assert!(subject.starts_with("[acme/hello]: ") && subject.ends_with(" failed! (exit code: 1)"), "{subject}");

    let tls_ca = tls.authority();
    for (changed, line, words) in [
        (vec![], "ok   mail", "lets us in, for dev@acme.org"),
        (vec![("SMTP_PASS", "wrong-password")], "BAD  mail", "535"),
        (vec![("SMTP_CACERT", tls_ca)], "BAD  mail", "UnknownIssuer"),
        (vec![("SMTP_PORT", &ports[1])], "BAD  mail", "STARTTLS"),
        (vec![("SMTP_PORT", &ports[2]), ("SMTP_TLS", "tls"), ("SMTP_CACERT", tls_ca)], "ok   mail", "lets us in"),
        (vec![("SMTP_PORT", &ports[1]), ("SMTP_TLS", "none"), ("SMTP_USER", "")], "ok   mail", "lets us in"),
        (vec![("SMTP_FROM", "nobody")], "BAD  settings", "SMTP_FROM"),
    ] {
        let cli = changed.iter().fold(world.daemon.beside(&["doctor"]), |cli, (name, value)| cli.env(name, value));
        let found = String::from_utf8(cli.run().stdout).unwrap();
        let found_line = found.lines().find(|found| found.starts_with(line));
        assert!(found_line.is_some_and(|found| found.contains(words)), "{changed:?}: {found}");
        assert!(!found.contains("wrong-password") && !found.contains(SmtpServer::PASSWORD), "{found}");
    }
    // Doctor sends nothing, and without TLS nothing is sent.
    assert_eq!((server.mails().len(), plain.mails().len(), tls.mails().len()), (1, 0, 0));
}

#[test]
fn settings_of_mail_that_cannot_be_are_refused_at_the_start() {
    let good = [("SMTP_HOST", "mail.acme.org"), ("SMTP_FROM", "ci@acme.org"), ("SMTP_TO", "dev@acme.org")];
    for (changed, words) in [
        (("SMTP_FROM", ""), "SMTP_HOST is set and SMTP_FROM is not"),
        (("SMTP_TO", ""), "SMTP_TO is not"),
        (("SMTP_TO", "dev@acme.org, nobody"), "SMTP_TO=\"nobody\" is no mail address"),
        (("SMTP_FROM", "a b@c"), "SMTP_FROM="),
        (("SMTP_TLS", "none"), "only a server of this machine"),
        (("SMTP_TLS", "ssl"), "it must be tls, starttls or none"),
        (("SMTP_USER", "me"), "SMTP_USER is set and SMTP_PASS is not"),
        (("SMTP_CACERT", "/nowhere"), "SMTP_CACERT=\"/nowhere\" cannot be used"),
        (("SLACK_URL", "hooks.slack.com/secret-part"), "SLACK_URL cannot be used"),
    ] {
        let settings = good.iter().chain([&changed]).map(|(name, value)| (name.to_string(), value.to_string()));
        let output = Daemon::fail(&settings.collect::<Settings>(), &["--check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{changed:?}: {said}");
        assert!(!said.contains("secret-part"), "{said}");
    }
}
