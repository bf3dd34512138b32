use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

fn keys(cfg: &Dockercfg) -> Vec<String> {
    cfg.iter().map(|(key, _)| key.to_string()).collect()
}

fn get<'a>(cfg: &'a Dockercfg, registry: &str) -> Option<&'a RegistryAuth> {
    cfg.get(registry, "").map(|(_, auth)| auth)
}

fn parse(json: &str) -> (Dockercfg, Vec<String>) {
    Dockercfg::parse(json.as_bytes()).unwrap()
}

#[test]
fn both_shapes() {
    let entry = r#""https://quay.io":{"auth":"dG90ZW06c2VjcmV0Og==","email":""}"#;
    for json in [format!("{{{entry}}}"), format!(r#"{{"auths":{{{entry}}},"HttpHeaders":{{"a":"b"}}}}"#)] {
        let (cfg, trouble) = parse(&json);
        let auth = get(&cfg, "quay.io").unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("totem", "secret:"));
        assert!(trouble.is_empty());
    }
    assert_eq!(parse("{}").0.iter().count(), 0);
    assert_eq!(parse(r#"{"auths":{}}"#).0.iter().count(), 0);
}

#[test]
fn one_host_alone() {
    let (cfg, _) = parse(
        r#"{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"hub"},
            "https://index.docker.io/v1/access-token":{"username":"u","password":"no"},
            "HTTP://Localhost:5000/v2/":{"username":"<token>","identitytoken":"tok"},
            "quay.io/org":{"username":"q","password":"p"}}}"#,
    );
    for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        assert_eq!(get(&cfg, hub).unwrap().password.as_str(), "hub");
    }
    assert_eq!(get(&cfg, "localhost:5000").unwrap().identity_token.as_ref().unwrap().as_str(), "tok");
    for key in ["docker.io", "index.docker.io/v1/", "http://index.docker.io", "https://registry-1.docker.io/v2/"] {
        let (cfg, _) = parse(&format!(r#"{{"{key}":{{"username":"u","password":"hub"}}}}"#));
        assert!(get(&cfg, "docker.io").is_some(), "{key}");
    }
    for other in ["localhost", "localhost:5001", "evil-quay.io", "quay.io.evil", "io", ""] {
        assert!(get(&cfg, other).is_none(), "{other}");
    }
    assert_eq!(keys(&cfg), ["docker.io", "localhost:5000", "quay.io/org"]);
}

/// The cases of the man page of Podman's auth.json, and what Docker itself writes.
#[test]
fn the_longest_path_wins() {
    let entry = |key: &str| format!(r#""{key}":{{"username":"u","password":"for {key}"}}"#);
    let keys_of_file =
        ["quay.io", "Quay.io/Org1/", "quay.io/org2", "quay.io/org2/app", "docker.io/library", "[::1]:5000/a"];
    let entries = keys_of_file.map(entry).join(",");
    for json in [format!("{{{entries}}}"), format!(r#"{{"auths":{{{entries}}}}}"#)] {
        let (cfg, trouble) = parse(&json);
        assert!(trouble.is_empty(), "{trouble:?}");
        for (registry, repository, key) in [
            ("quay.io", "other/app", "quay.io"),
            ("quay.io", "org1/app", "Quay.io/Org1/"),
            ("quay.io", "org1/app/deeper", "Quay.io/Org1/"),
            ("quay.io", "org1", "Quay.io/Org1/"),
            ("quay.io", "org11/app", "quay.io"),
            ("quay.io", "org2/app", "quay.io/org2/app"),
            ("quay.io", "org2/app2", "quay.io/org2"),
            ("registry-1.docker.io", "library/busybox", "docker.io/library"),
            ("[::1]:5000", "a/b", "[::1]:5000/a"),
        ] {
            let found = cfg.get(registry, repository).unwrap().1;
            assert_eq!(found.password.as_str(), format!("for {key}"), "{registry}/{repository}");
        }
        assert!(cfg.get("docker.io", "acme/app").is_none() && cfg.get("quay.io.evil", "org1/app").is_none());
        assert_eq!(cfg.of_registry("quay.io").count(), 4);
    }
}

#[test]
fn a_path_behind_a_scheme_is_named_if_it_hides_another_entry() {
    let login = r#"{"username":"u","password":"p"}"#;
    let (cfg, trouble) = parse(&format!(r#"{{"https://quay.io/org1":{login}}}"#));
    assert!(trouble.is_empty() && get(&cfg, "quay.io").is_some());
    let (cfg, trouble) = parse(&format!(r#"{{"https://quay.io/org1":{login},"https://quay.io/org22":{login}}}"#));
    assert_eq!(keys(&cfg), ["quay.io"]);
    insta::assert_snapshot!(trouble.join("\n"), @"the dockercfg has several entries for all of quay.io, and https://quay.io/org1 is used: an entry for a path is written without https://");
}

#[test]
fn tokens_are_credentials() {
    let (cfg, trouble) = parse(
        r#"{"a.io":{"auth":"dTpw","identitytoken":"identity"},"b.io":{"registrytoken":"registry"},"c.io":{"identitytoken":""}}"#,
    );
    assert_eq!(get(&cfg, "a.io").unwrap().identity_token.as_ref().unwrap().as_str(), "identity");
    assert_eq!(get(&cfg, "b.io").unwrap().registry_token.as_ref().unwrap().as_str(), "registry");
    insta::assert_snapshot!(trouble.join("\n"), @"the dockercfg's entry for c.io has no `auth`, no `username` with `password`, no `identitytoken` and no `registrytoken`");
    let masks: Vec<_> = cfg.masks().map(|mask| mask.to_string()).collect();
    assert!(["identity", "registry", "dTpw"].iter().all(|secret| masks.contains(&secret.to_string())), "{masks:?}");
}

#[test]
fn a_bad_entry_is_named_and_quotes_no_secret() {
    let (cfg, trouble) =
        parse(r#"{"a.io":{"auth":"c2VjcmV0"},"b.io":{"auth":"dTpw"},"u:secret@c.io":{},"d.io":"secret"}"#);
    assert_eq!(keys(&cfg), ["b.io"]);
    assert_eq!(trouble.len(), 3);
    assert!(trouble[2].contains("entry c.io is not named after"), "{trouble:?}");
    assert!(trouble.iter().all(|t| !t.contains("secret") && !t.contains("c2Vj")), "{trouble:?}");
    for (json, part) in [
        (r#"{"a.io":{"auth":"c2VjcmV0"}}"#, "a.io has an `auth`"),
        (r#"{"auths":{"a.io":{}},"credsStore":"desktop"}"#, "credential helper (credsStore)"),
        (r#"{"a.io":"secret"}"#, "a.io is not an object"),
        (r#"{"auths":"secret"}"#, "must be"),
        ("[]", "must be"),
        ("{\n\"secret\"}", "not JSON (line 2, column 9)"),
    ] {
        let e = Dockercfg::parse(json.as_bytes()).err().unwrap().to_string();
        assert!(e.contains(part) && !e.contains("secret\""), "{json}: {e}");
    }
}

#[test]
fn keys_that_differ_only_in_case_are_not_used() {
    let login = |password: &str| format!(r#"{{"username":"u","password":"{password}"}}"#);
    let (one, other, hub) = (login("one"), login("other"), login("hub"));
    let (cfg, trouble) = parse(&format!(
        r#"{{"Quay.io":{one},"quay.io":{other},"docker.io":{hub},"https://index.docker.io/v1/":{other}}}"#
    ));
    assert_eq!(keys(&cfg), ["docker.io"]);
    assert_eq!(get(&cfg, "docker.io").unwrap().password.as_str(), "hub");
    assert_eq!(
        trouble,
        ["the dockercfg's entries Quay.io and quay.io differ only in case, and quay.io gets neither login: delete one"]
    );
    let error = Dockercfg::parse(format!(r#"{{"Quay.io":{one},"quay.io":{one}}}"#).as_bytes()).err().unwrap();
    assert!(error.to_string().contains("differ only in case"), "{error}");
}

proptest! {
    #[test]
    fn no_input_panics(json in prop_oneof!["\\PC{0,60}", "\\{\"[a-z./:]{0,12}\":\\{\"auth\":\"[a-zA-Z0-9=]{0,12}\"\\}\\}"]) {
        let _ = Dockercfg::parse(json.as_bytes());
    }

    #[test]
    fn credentials_that_docker_writes_are_found_and_masked(
        host in "[a-z0-9]{1,8}\\.[a-z]{2,3}(:[0-9]{2,4})?",
        scheme in prop_oneof!["", "http://", "https://"],
        path in prop_oneof!["", "/", "/v1/", "/v2/"],
        user in "[^:\\x00]{1,12}",
        password in "[^\\x00]{1,24}",
    ) {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let json = serde_json::json!({ "auths": { format!("{scheme}{host}{path}"): { "auth": auth } } });
        let (cfg, trouble) = Dockercfg::parse(json.to_string().as_bytes()).unwrap();
        prop_assert!(trouble.is_empty());
        let found = get(&cfg, &host).unwrap();
        prop_assert_eq!((&found.username, found.password.as_str()), (&user, password.as_str()));
        let masks: Vec<_> = cfg.masks().collect();
        for seen in [&password, &auth] {
            prop_assert!(masks.iter().any(|m| seen.starts_with(m.as_str())), "{}", seen);
        }
    }
}
