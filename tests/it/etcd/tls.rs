use std::time::Duration;

use image_factory::secrets::{EtcdConfig, TlsFiles};

use crate::harness::{
    Authority, Cli, Daemon, DeployKey, Etcd, KeyType, PASSPHRASE, Settings, eventually, folder, masked,
};
use crate::secrets::{Live, plain};

type Env<'a> = &'a [(&'a str, &'a str)];

/// `secrets` with these arguments: whether it succeeded, and what it said.
fn secrets(env: Env, args: &[&str]) -> (bool, String) {
    let dir = folder();
    let cli = Cli::new(&[&["secrets"], args].concat()).env("DATA_DIR", dir.path().to_str().unwrap());
    let output = env.iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let (ours, others) = (Authority::new(), Authority::new());
    let [client, strange, expired] =
        [ours.issue("DNS:factory"), others.issue("DNS:factory"), ours.issue_expired("DNS:factory")];
    let (etcd, tls) = Etcd::with_tls(ours.issue("IP:127.0.0.1"), Some(&ours)).await;
    let (_open, open) = Etcd::with_tls(ours.issue("IP:127.0.0.1"), None).await;
    let (_old, old) = Etcd::with_tls(ours.issue_expired("IP:127.0.0.1"), None).await;
    let (_else, other) = Etcd::with_tls(ours.issue("DNS:etcd.test"), None).await;
    let at = |port: u16| format!("https://127.0.0.1:{port}");
    let (tls, open, old, other) = (at(tls), at(open), at(old), at(other));
    let (bare, bare_https) = (tls.replace("https", "http"), at(etcd.port()));
    let ca = ("ETCD_CACERT", ours.cert());
    let shown = [("ETCD_CERT", client.cert()), ("ETCD_KEY", client.key())];

    let key = folder();
    let file = key.path().join("key").display().to_string();
    std::fs::write(&file, DeployKey::generate(KeyType::Ed25519, PASSPHRASE).private).unwrap();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    let values = [(others.cert(), "others"), (strange.cert(), "strange"), (expired.cert(), "expired")];
    // The end of a plain connection to a server that wants TLS is seen by a write, by a read, or between them.
    let plain_end = regex::Regex::new("([(]http://[^ ]+: )[^)]*").unwrap();
    for api in ["v3", "v2", "auto"] {
        let api = ("ETCD_API", api);
        for env in [
            &[api, ("ETCD_ENDPOINTS", &tls), ca, shown[0], shown[1]][..],
            &[api, ("ETCD_ENDPOINTS", &open), ca],
            // The system's authorities are found as OpenSSL finds them.
            &[api, ("ETCD_ENDPOINTS", &open), ("SSL_CERT_FILE", ours.cert())],
            &[api, ("ETCD_HOST", "127.0.0.1"), ("ETCD_PORT", open.rsplit(':').next().unwrap()), ca],
        ] {
            let env = [env, &[("ENC_PASSPHRASE", PASSPHRASE)]].concat();
            let (ok, said) = secrets(&env, &["put", "github-key", &file]);
            assert!(ok, "{env:?}: {said}");
            let (ok, said) = secrets(&env, &["check"]);
            assert!(ok, "{env:?}: {said}");
            accepted.push(masked(&said, &[]));
        }
        let mut of_api = String::new();
        for env in [
            &[("ETCD_ENDPOINTS", &*open)][..],
            &[("ETCD_ENDPOINTS", &open), ("ETCD_CACERT", others.cert())],
            &[("ETCD_ENDPOINTS", &old), ca],
            &[("ETCD_ENDPOINTS", &other), ca],
            &[("ETCD_ENDPOINTS", &tls), ca],
            &[("ETCD_ENDPOINTS", &tls), ca, ("ETCD_CERT", strange.cert()), ("ETCD_KEY", strange.key())],
            &[("ETCD_ENDPOINTS", &tls), ca, ("ETCD_CERT", expired.cert()), ("ETCD_KEY", expired.key())],
            &[("ETCD_ENDPOINTS", &bare)],
            &[("ETCD_ENDPOINTS", &bare_https), ca],
        ] {
            let env = [env, &[api]].concat();
            let (ok, said) = secrets(&env, &["check"]);
            assert!(!ok && said.lines().count() == 1, "{env:?}: {said}");
            // An etcd without TLS ends the connection in one way or the other.
            let said = said.replace("Connection reset by peer (os error 104)", "tls handshake eof");
            of_api += &masked(&plain_end.replace(&said, "${1}[the end]"), &values);
        }
        refused.push(of_api);
    }
    // Each setting that is accepted leads to the same lines for one API, and each refusal to the same line for all.
    accepted.dedup();
    refused.dedup();
    insta::assert_snapshot!("accepted_certificates", accepted.join("\n"));
    insta::assert_snapshot!("refused_certificates", refused.concat());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (_etcd, port) = Etcd::with_tls(ours.issue("IP:127.0.0.1"), Some(&ours)).await;
    let shown = others.issue("DNS:factory");
    let tls = TlsFiles { cacert: Some(ours.cert().into()), identity: Some((shown.cert().into(), shown.key().into())) };
    let mut live = Live::start(EtcdConfig { tls, ..plain(&[format!("https://127.0.0.1:{port}")]) });
    let refused = live.until(|s| s.trouble.iter().any(|t| t.contains("it does not take the certificate"))).await;
    insta::assert_snapshot!(masked(&refused.trouble.join("\n"), &[(shown.cert(), "shown")]), @"etcd cannot be read (https://127.0.0.1:[port]: received fatal alert: [alert]): it does not take the certificate in ETCD_CERT=[shown]: has that expired, or does etcd trust another authority?; no job starts until it can be");
    shown.replace(&ours.issue("DNS:factory"));
    live.until(|s| s.loaded && s.trouble.is_empty()).await;
}

#[test]
fn wrong_files_stop_the_start() {
    let authority = Authority::new();
    let [one, two] = [(); 2].map(|()| authority.issue("DNS:factory"));
    let dir = folder();
    let not_pem = dir.path().join("not.pem").display().to_string();
    std::fs::write(&not_pem, "hello").unwrap();
    let mut messages = String::new();
    for env in [
        &[("ETCD_CACERT", "/nowhere/ca.pem")][..],
        &[("ETCD_CACERT", &not_pem)],
        &[("ETCD_CERT", &not_pem), ("ETCD_KEY", one.key())],
        &[("ETCD_CERT", one.cert()), ("ETCD_KEY", &not_pem)],
        &[("ETCD_CERT", one.cert()), ("ETCD_KEY", two.key())],
        &[("ETCD_CERT", one.cert())],
    ] {
        let env: Settings =
            env.iter().chain(&[("ETCD_HOST", "127.0.0.1")]).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let output = Daemon::fail(&env, &["--check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{env:?}: {said}");
        messages += &said;
    }
    let values = [(one.cert(), "one's certificate"), (one.key(), "one's key"), (two.key(), "two's key")];
    insta::assert_snapshot!(masked(&messages, &values), @r"
    image-factory: ETCD_CACERT=/nowhere/ca.pem: it cannot be read: No such file or directory (os error 2) (in the environment)
    image-factory: ETCD_CACERT=[folder]/not.pem: it has no certificate in PEM form (in the environment)
    image-factory: ETCD_CERT=[folder]/not.pem: it has no certificate in PEM form (in the environment)
    image-factory: ETCD_KEY=[folder]/not.pem: it has no private key in PEM form, or an encrypted one: etcd's clients take none that is encrypted (in the environment)
    image-factory: ETCD_KEY=[two's key]: it is not the key of ETCD_CERT=[one's certificate] (in the environment)
    image-factory: ETCD_CERT is set and ETCD_KEY is not: set both, or neither (in the environment)
    ");
}

#[tokio::test]
async fn the_daemon_logs_where_it_reads() {
    let authority = Authority::new();
    let (etcd, port) = Etcd::with_tls(authority.issue("IP:127.0.0.1"), None).await;
    etcd.v2_put("/totem/ssh/authorized-keys", "").await;
    let settings = [("ETCD_HOST", "127.0.0.1"), ("ETCD_PORT", &port.to_string()), ("ETCD_CACERT", authority.cert())]
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let daemon = Daemon::start(settings.into()).await;
    let endpoint = format!("https://127.0.0.1:{port}");
    for line in [
        format!(
            "secrets: from etcd at {endpoint}, below /totem, by its v3 API, else v2, for each secret (ETCD_API=auto)"
        ),
        format!("secrets: read by the v2 API of {endpoint}"),
    ] {
        eventually(Duration::from_secs(20), &line, async || {
            daemon.output().lines().any(|logged| logged.ends_with(&line)).then_some(())
        })
        .await;
    }
}
