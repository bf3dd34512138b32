use std::time::Duration;

use image_factory::secrets::{EtcdConfig, TlsFiles};

use crate::harness::{Authority, Cli, Daemon, DeployKey, Etcd, KeyType, PASSPHRASE, Settings, eventually, folder};
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
            assert!(ok && said.contains(" of https://127.0.0.1:") && said.contains("deploy key"), "{env:?}: {said}");
        }
        for (env, parts) in [
            (&[("ETCD_ENDPOINTS", &*open)][..], ["UnknownIssuer", "set ETCD_CACERT to that authority's"]),
            (
                &[("ETCD_ENDPOINTS", &open), ("ETCD_CACERT", others.cert())],
                ["UnknownIssuer", "is the authority that signed etcd's certificate in ETCD_CACERT="],
            ),
            (&[("ETCD_ENDPOINTS", &old), ca], ["expired", "renew etcd's certificate"]),
            (&[("ETCD_ENDPOINTS", &other), ca], ["etcd.test", "name etcd in ETCD_HOST or ETCD_ENDPOINTS"]),
            (&[("ETCD_ENDPOINTS", &tls), ca], ["alert", "set ETCD_CERT and ETCD_KEY"]),
            (
                &[("ETCD_ENDPOINTS", &tls), ca, ("ETCD_CERT", strange.cert()), ("ETCD_KEY", strange.key())],
                ["alert", "it does not take the certificate in ETCD_CERT"],
            ),
            (
                &[("ETCD_ENDPOINTS", &tls), ca, ("ETCD_CERT", expired.cert()), ("ETCD_KEY", expired.key())],
                ["alert", "it does not take the certificate in ETCD_CERT"],
            ),
            (&[("ETCD_ENDPOINTS", &bare)], ["does it speak TLS there", "write https://"]),
            (&[("ETCD_ENDPOINTS", &bare_https), ca], ["does it speak TLS there", "write http://"]),
        ] {
            let env = [env, &[api]].concat();
            let (ok, said) = secrets(&env, &["check"]);
            let is_one = said.lines().count() == 1;
            assert!(!ok && is_one && parts.iter().all(|part| said.contains(part)), "{env:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (_etcd, port) = Etcd::with_tls(ours.issue("IP:127.0.0.1"), Some(&ours)).await;
    let shown = others.issue("DNS:factory");
    let tls = TlsFiles { cacert: Some(ours.cert().into()), identity: Some((shown.cert().into(), shown.key().into())) };
    let mut live = Live::start(EtcdConfig { tls, ..plain(&[format!("https://127.0.0.1:{port}")]) });
    live.until(|s| s.trouble.iter().any(|t| t.contains("it does not take the certificate in ETCD_CERT"))).await;
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
    for (env, part) in [
        (&[("ETCD_CACERT", "/nowhere/ca.pem")][..], "ETCD_CACERT=/nowhere/ca.pem: it cannot be read"),
        (&[("ETCD_CACERT", &not_pem)], "it has no certificate in PEM form"),
        (&[("ETCD_CERT", &not_pem), ("ETCD_KEY", one.key())], "it has no certificate in PEM form"),
        (&[("ETCD_CERT", one.cert()), ("ETCD_KEY", &not_pem)], "it has no private key in PEM form"),
        (&[("ETCD_CERT", one.cert()), ("ETCD_KEY", two.key())], "it is not the key of ETCD_CERT="),
        (&[("ETCD_CERT", one.cert())], "ETCD_CERT is set and ETCD_KEY is not: set both, or neither"),
    ] {
        let env: Settings =
            env.iter().chain(&[("ETCD_HOST", "127.0.0.1")]).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let output = Daemon::fail(&env, &["--check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(part), "{env:?}: {said}");
    }
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
        eventually(Duration::from_secs(20), &line, async || daemon.output().contains(&line).then_some(())).await;
    }
}
