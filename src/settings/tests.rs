use base64::Engine as _;
use std::collections::BTreeMap;

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn load(flags: &[(&'static str, &str)], file: Option<&str>, env: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.toml");
    std::fs::write(&path, file.unwrap_or_default()).unwrap();
    load_from(&path, flags, env)
}

fn load_from(path: &Path, flags: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Settings, String> {
    let flags = Flags(flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect());
    let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Settings::load(&flags, Some(path), |name| env.get(name).cloned())
        .map_err(|errors| errors.iter().map(|e| e.to_string().replace(path.to_str().unwrap(), "FILE") + "\n").collect())
}

fn error(flags: &[(&'static str, &str)], file: Option<&str>, env: &[(&str, &str)]) -> String {
    load(flags, file, env).err().expect("it should be refused")
}

#[test]
fn nothing_configured_is_enough() {
    let settings = load(&[], None, &[]).unwrap();
    assert_eq!(settings.concurrency, 2);
    assert_eq!(settings.drain_timeout, Duration::from_secs(60));
    assert!(settings.hook_secret.is_none() && settings.etcd().is_empty());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = Some("concurrency = 3\nallow_repos = [\"a/*\", \"b/*\"]\npush_retries = 1");
    let settings = load(&[("CONCURRENCY", "5")], file, &[("CONCURRENCY", "4"), ("PUSH_RETRIES", "2")]).unwrap();
    assert_eq!((settings.concurrency, settings.push_retries), (5, 2));
    assert_eq!(settings.allow_repos.0, ["a/*", "b/*"]);
}

#[test]
fn a_wrong_value_names_the_setting_the_value_and_what_is_allowed() {
    assert_eq!(
        error(&[], None, &[("CONCURRENCY", "many"), ("DRAIN_TIMEOUT", "60")]),
        "CONCURRENCY=\"many\" (CONCURRENCY in the environment) is not valid: it must be a whole number from 0 to 1000\n\
         DRAIN_TIMEOUT=\"60\" (DRAIN_TIMEOUT in the environment) is not valid: \
         it must be a whole number with ms, s, m or h, such as 60s, and at most a week\n"
    );
    let secret = error(&[], None, &[("API_TOKENS", "ci:owner:0123456789abcdef")]);
    assert!(secret.contains("API_TOKENS=…") && !secret.contains("0123456789abcdef"), "{secret}");
}

#[test]
fn a_number_out_of_its_range_is_refused() {
    for (name, value, range) in [
        ("INODE_FLOOR", "500", "it must be a whole number from 0 to 100, in percent"),
        ("INODE_FLOOR", "101", "it must be a whole number from 0 to 100, in percent"),
        ("INODE_FLOOR", "5%", "it must be a whole number from 0 to 100, in percent"),
        ("CONCURRENCY", "1001", "it must be a whole number from 0 to 1000"),
        ("ETCD_PORT", "0", "it must be a whole number from 1 to 65535"),
        ("SMTP_PORT", "65536", "it must be a whole number from 1 to 65535"),
        ("DRAIN_TIMEOUT", "169h", "and at most a week"),
    ] {
        let text = error(&[], None, &[(name, value)]);
        assert!(text.starts_with(&format!("{name}=\"{value}\"")) && text.contains(range), "{text}");
    }
    for (name, value) in [("INODE_FLOOR", "0"), ("INODE_FLOOR", "100"), ("SMTP_PORT", "1"), ("DRAIN_TIMEOUT", "0s")] {
        assert!(load(&[], None, &[(name, value)]).is_ok(), "{name}={value}");
    }
    for name in ["CLONE_TIMEOUT", "CHECKOUT_TIMEOUT", "BUILD_TIMEOUT", "PUSH_TIMEOUT", "STALL_TIMEOUT", "JOB_TIMEOUT"] {
        let text = error(&[], None, &[(name, "0s")]);
        assert!(text.starts_with(&format!("{name}=\"0s\"")) && text.contains("set 1s or more"), "{text}");
    }
}

#[test]
fn repositories_to_build_are_patterns_or_all() {
    for (value, why) in
        [(",", "it has no pattern in it"), (" , ,", "it has no pattern in it"), ("https://x.y/a", "is an address")]
    {
        assert!(error(&[], None, &[("ALLOW_REPOS", value)]).contains(why), "{value}");
    }
    for value in ["", "*", "acme/*,other/hello,"] {
        assert!(load(&[], None, &[("ALLOW_REPOS", value)]).is_ok(), "{value}");
    }
}

#[test]
fn unknown_keys_and_secrets_in_the_file_are_refused() {
    assert_eq!(
        error(&[], Some("concurency = 3"), &[]),
        "FILE: concurency: is no setting; docs/settings.md lists them\n"
    );
    let secret = error(&[], Some("hook_secret = \"s3cr3t-value\""), &[]);
    assert!(secret.contains("hook_secret_file") && !secret.contains("s3cr3t-value"), "{secret}");
}

#[test]
fn two_names_of_one_setting_may_not_differ() {
    assert_eq!(load(&[], None, &[("CONCURRENCY", "4"), ("WORKERS", "4")]).unwrap().concurrency, 4);
    let text = error(&[], None, &[("CONCURRENCY", "4"), ("WORKERS", "5")]);
    assert!(text.contains("CONCURRENCY and WORKERS are two names of one setting"), "{text}");
}

#[test]
fn secrets_come_from_files_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("HOOK_SECRET"), "from-systemd\n").unwrap();
    let path = dir.path().to_str().unwrap();
    let settings = load(&[], None, &[("CREDENTIALS_DIRECTORY", path)]).unwrap();
    assert_eq!(settings.hook_secret.unwrap().as_str(), "from-systemd");
    let file = format!("{path}/HOOK_SECRET");
    let settings = load(&[], None, &[("ENC_PASSPHRASE_FILE", &file)]).unwrap();
    assert_eq!(settings.enc_passphrase.unwrap().as_str(), "from-systemd");
    assert!(error(&[], None, &[("HOOK_SECRET_FILE", "/nowhere")]).starts_with("HOOK_SECRET: cannot read /nowhere"));
}

#[test]
fn the_old_default_secret_stays_on_loopback() {
    assert!(load(&[], None, &[("HOOK_SECRET", "changeit")]).is_ok());
    let text = error(&[], None, &[("GITHUB_SECRET", "changeit"), ("LISTEN", "0.0.0.0:8080")]);
    assert!(text.contains("HOOK_SECRET has its well-known old default"), "{text}");
}

#[test]
fn git_urls_with_passwords_or_odd_schemes_are_refused() {
    for url in [
        "ext::sh -c {repo}",
        "https://me:pw@h/{repo}",
        "https://token@h/{repo}",
        "ssh://me:pw@h/{repo}",
        "--upload-pack=x:{repo}",
        "ssh://host/fixed.git",
    ] {
        let text = error(&[], None, &[("GIT_URL", url)]);
        assert!(text.contains("GIT_URL") && !text.contains("pw") && !text.contains("token@"), "{text}");
    }
    for url in ["git@github.com:{owner}/{repo}.git", "ssh://git@h:22/{owner}/{repo}", "file:///srv/{owner}/{repo}.git"]
    {
        assert!(load(&[], None, &[("GIT_URL", url)]).is_ok(), "{url}");
    }
}

#[test]
fn where_etcd_is_and_how_it_is_spoken_to() {
    for (env, endpoints) in [
        (&[("ETCD_HOST", "etcd.test")][..], &["http://etcd.test:4001"][..]),
        (&[("ETCD_HOST", "::1"), ("ETCD_PORT", "2379")], &["http://[::1]:2379"]),
        (&[("ETCD_HOST", "etcd.test"), ("ETCD_CACERT", "/ca.pem")], &["https://etcd.test:4001"]),
        (&[("ETCD_ENDPOINTS", "https://a:1/, https://b:2")], &["https://a:1", "https://b:2"]),
    ] {
        assert_eq!(load(&[], None, env).ok().unwrap().etcd(), endpoints, "{env:?}");
    }
    for (env, part) in [
        (&[("ETCD_HOST", "http://etcd.test")][..], "a host's name or address alone"),
        (&[("ETCD_HOST", "etcd.test:2379")], "a host's name or address alone"),
        (&[("ETCD_ENDPOINTS", "etcd.test:2379")], "each must be http://HOST:PORT"),
        (&[("ETCD_ENDPOINTS", "http://a:1,https://b:2")], "all https:// or all http://"),
        (&[("ETCD_ENDPOINTS", "http://a:1/v2")], "must end after its port"),
        (&[("ETCD_ENDPOINTS", "http://me:hidden@a:1")], "set ETCD_USER and ETCD_PASSWORD"),
        (&[("ETCD_HOST", "a"), ("ETCD_ENDPOINTS", "http://a:1")], "ETCD_HOST and ETCD_ENDPOINTS are both set"),
        (&[("ETCD_HOST", "a"), ("ETCD_API", "v4")], "auto, v3 or v2"),
        (&[("ETCD_HOST", "a"), ("ETCD_CERT", "/c.pem")], "ETCD_CERT and ETCD_KEY belong together"),
        (&[("ETCD_HOST", "a"), ("ETCD_PASSWORD", "hidden")], "ETCD_USER and ETCD_PASSWORD belong together"),
        (&[("ETCD_HOST", "a"), ("ETCD_USER", "me")], "ETCD_USER and ETCD_PASSWORD belong together"),
        (&[("ETCD_CACERT", "/ca.pem")], "ETCD_CACERT is set, but not where etcd is"),
        (&[("ETCD_API", "v2")], "ETCD_API is set, but not where etcd is"),
        (&[("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_CACERT", "/ca.pem")], "ETCD_CACERT is for TLS"),
    ] {
        let text = error(&[], None, env);
        assert!(text.contains(part) && !text.contains("hidden") && text.lines().count() == 1, "{env:?}: {text}");
    }
}

#[test]
fn names_and_tags_of_images_are_checked_at_the_start() {
    let settings = load(&[], None, &[("IMAGE_NAME", "{owner}/{repo}"), ("IMAGE_TAGS", "latest, {branch},")]).unwrap();
    assert_eq!(settings.image_tags.len(), 2);
    for (name, value, words) in [
        ("IMAGE_NAME", "{org}-{repo}", "\"{org}\" is no placeholder; those are {owner}, {repo}"),
        ("IMAGE_NAME", "Acme-{repo}", "lower-case letters"),
        ("IMAGE_NAME", "{owner}", "it must have {repo}"),
        ("IMAGE_TAGS", "latest,{commit}", "\"{commit}\" is no placeholder; those are {branch}, {sha}, {short_sha}"),
        ("IMAGE_TAGS", "latest,a/b", "\"a/b\" makes no tag"),
        ("DOCKER_REPO_BASE", "docker.io", "docker.io/ACCOUNT"),
        ("DOCKER_REPO_BASE", "https://quay.io/totem", "without a scheme"),
    ] {
        let text = error(&[], None, &[(name, value)]);
        assert!(text.starts_with(&format!("{name}=\"{value}\"")) && text.contains(words), "{text}");
    }
}

#[test]
fn every_setting_has_a_group_and_an_example_that_is_valid() {
    for Spec { name, group, example, default, .. } in TABLE {
        assert!(!group.is_empty() && !example.is_empty() && example != default, "{name}");
        // Some examples need another setting beside them.
        let refused = load(&[], None, &[(name, example)]).err().filter(|text| text.contains("is not valid"));
        assert_eq!(refused, None, "{name}");
    }
    let groups: Vec<_> = TABLE.chunk_by(|one, next| one.group == next.group).map(|specs| specs[0].group).collect();
    assert_eq!(groups.iter().collect::<std::collections::BTreeSet<_>>().len(), groups.len(), "a group is in one piece");
}

proptest! {
    #[test]
    fn no_value_makes_it_panic(text in "\\PC{1,30}") {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for spec in TABLE {
            let _ = load_from(empty.path(), &[], &[(spec.name, text.as_str())]);
        }
    }
}

/// Each secret of the table that is set is among those that no log shows.
#[test]
fn all_secrets_are_known_as_such() {
    let value = |name: &str| match name {
        "API_TOKENS" => "ci:build:secret of API_TOKENS".to_owned(),
        "HOOK_SIGNING_KEY" => {
            format!("whsec_{}", base64::prelude::BASE64_STANDARD.encode("secret of HOOK_SIGNING_KEY"))
        }
        "SLACK_URL" => "https://hooks.example.com/services/T0/secret of SLACK_URL".to_owned(),
        name => format!("secret of {name}"),
    };
    let secret = |name: &str| TABLE.iter().any(|spec| spec.secret && spec.name == name);
    let env = |name: &str| match name {
        "ETCD_HOST" => Some("127.0.0.1".to_owned()),
        "ETCD_USER" => Some("factory".to_owned()),
        name => secret(name).then(|| value(name)),
    };
    let settings = Settings::load(&Flags::default(), Some(Path::new("/dev/null")), env).map_err(|e| format!("{e:?}"));
    let masks = settings.unwrap().secrets();
    for spec in TABLE.iter().filter(|spec| spec.secret) {
        let expected = match spec.name {
            "HOOK_SIGNING_KEY" => base64::prelude::BASE64_STANDARD_NO_PAD.encode("secret of HOOK_SIGNING_KEY"),
            name => format!("secret of {name}"),
        };
        assert!(masks.iter().any(|mask| mask.as_str() == expected), "{}", spec.name);
    }
}
