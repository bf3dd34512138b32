use base64::Engine as _;
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
    source(path, Path::new("/dev/null"), flags, env).load().valid().map_err(|SettingErrors(errors)| {
        errors.iter().map(|e| e.to_string().replace(path.to_str().unwrap(), "FILE") + "\n").collect()
    })
}

fn source(file: &Path, env_file: &Path, flags: Flags, env: &[(&str, &str)]) -> SettingsSource {
    let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    SettingsSource::new(flags.0, Some(file.into()), Some(env_file.into()), env)
}

fn error(flags: &[(&'static str, &str)], file: Option<&str>, env: &[(&str, &str)]) -> String {
    load(flags, file, env).err().expect("it should be refused")
}

#[test]
fn nothing_configured_is_enough() {
    let settings = load(&[], None, &[]).unwrap();
    assert_eq!(settings.concurrency, None);
    assert_eq!(settings.drain_timeout, Duration::from_secs(60));
    assert!(settings.hook_secret.is_none() && settings.etcd().is_empty());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = Some("concurrency = 3\nallow_repos = [\"a/*\", \"b/*\"]\npush_retries = 1");
    let settings = load(&[("CONCURRENCY", "5")], file, &[("CONCURRENCY", "4"), ("PUSH_RETRIES", "2")]).unwrap();
    assert_eq!((settings.concurrency, settings.push_retries), (Some(5), 2));
    assert_eq!(settings.allow_repos.0, ["a/*", "b/*"]);
}

#[test]
fn a_wrong_value_names_the_setting_the_value_and_what_is_allowed() {
    assert_eq!(
        error(&[], None, &[("CONCURRENCY", "many"), ("DRAIN_TIMEOUT", "60")]),
        "CONCURRENCY=\"many\" (in the environment) is not valid: it must be a whole number from 0 to 1000\n\
         DRAIN_TIMEOUT=\"60\" (in the environment) is not valid: \
         it must be a whole number with ms, s, m or h, such as 60s, and at most a week\n"
    );
    let secret = error(&[], None, &[("API_TOKENS", "ci:owner:0123456789abcdef")]);
    assert!(secret.contains("API_TOKENS=…") && !secret.contains("0123456789abcdef"), "{secret}");
}

#[test]
fn values_that_could_not_work_are_refused() {
    for (name, value, words) in [
        ("CORS_ORIGINS", "*", "would let every web page use the API"),
        ("CORS_ORIGINS", "https://a.example,https://b.example/", "\"https://b.example/\" is no origin"),
        ("CORS_ORIGINS", "dashboard.example.com", "is no origin: write scheme, host and port alone"),
        ("DIALECTS", "totem,compose", "totem, conveyor, generator and compose-ci"),
        ("BASIC_AUTH", "conveyor", "it must be user:password"),
        ("BASIC_AUTH", "conveyor:0123456789abcde", "it has a password of less than 16 characters"),
        ("HOSTS", "https://ci.example", "is no host: write a name alone"),
        ("HOSTS", "*.example", "is no host"),
        ("API_TOKENS", "a:read:0123456789abcdef,b:admin:0123456789abcdef", "entry 2 has the token of another entry"),
        ("API_TOKENS", "a:read:0123456789abcdef,a:admin:fedcba9876543210", "entry 2 has the name of another entry"),
        ("API_TOKENS", "admin:read:0123456789abcdef", "entry 1 has the name of the token in DATA_DIR/admin-token"),
    ] {
        let text = error(&[], None, &[(name, value)]);
        assert!(text.contains(name) && text.contains(words), "{text}");
    }
    let settings =
        load(&[], None, &[("HOSTS", "ci, ci.example:8443"), ("CORS_ORIGINS", "http://a:1,https://b")]).unwrap();
    assert_eq!(settings.hosts.0, ["ci", "ci.example:8443"]);
    assert_eq!(settings.cors_origins.0, ["http://a:1", "https://b"]);
}

#[test]
fn a_login_beside_an_open_api_is_refused() {
    let text = error(&[], None, &[("BASIC_AUTH", "conveyor:secret-0123456789"), ("API_AUTH", "none")]);
    assert!(text.contains("API_AUTH=none admits everyone") && !text.contains("secret"), "{text}");
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
fn retention_is_an_age_or_a_size() {
    let keep = |value: &str| load(&[], None, &[("LOG_KEEP", value)]).map(|settings| settings.log_keep);
    for (value, age, size) in [
        ("", None, None),
        ("90d", Some(Days(90)), None),
        ("20GiB", None, Some(20 << 30)),
        ("1GiB, 7d", Some(Days(7)), Some(1 << 30)),
    ] {
        assert_eq!(keep(value), Ok(LogKeep { age, size }), "{value}");
    }
    assert!(keep("7d,8d").is_err() && keep("soon").is_err() && keep("20").is_err());
    assert_eq!(load(&[], None, &[("JOB_KEEP", "30d")]).unwrap().job_keep, Some(JobKeep(Days(30))));
    assert!(error(&[], None, &[("JOB_KEEP", "29d")]).contains("it must be 30d or more"));
}

#[test]
fn a_small_size_needs_a_unit() {
    for value in ["20", "1048575"] {
        let text = error(&[], None, &[("DISK_FLOOR", value)]);
        assert!(text.contains(&format!("it has no unit: write {value}GiB")), "{text}");
    }
    for (value, bytes) in [("0", 0), ("2147483648", 2 << 30), ("20 B", 20), ("3KiB", 3 << 10)] {
        assert_eq!(load(&[], None, &[("DISK_FLOOR", value)]).unwrap().disk_floor, Bytes(bytes));
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

/// Errors of all kinds come at once, each with its line: broken TOML, unknown and misspelt names, wrong values, secrets in
/// the wrong place, names that are there twice, and settings that do not go together.
#[test]
fn all_errors_of_the_file_come_at_once_with_their_lines() {
    let file = "concurency = 3\ndrain_timeout = \"soon\"\nbase_url = https://x\nlisten_here = 1\n\
                hook_secret = \"s3cr3t-value\"\nCLONE_TIMEOUT = \"0s\"\ncontext = 1.5\n\
                etcd_user = \"me\"\npush_retries = 1\nPUSH_RETRIES = 2\n";
    insta::assert_snapshot!(error(&[], Some(file), &[("WORKERS", "many"), ("JOB_TIMEOUT", "0s")]));
}

#[test]
fn a_file_that_is_no_toml_shows_no_line_of_it() {
    let text = error(&[], Some("hook_secret = s3cr3t-value\n"), &[]);
    assert!(text.starts_with("FILE:1: this is no TOML: ") && !text.contains("s3cr3t-value"), "{text}");
}

#[test]
fn the_environment_file_is_between_the_environment_and_the_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let (file, env_file) = (dir.path().join("settings.toml"), dir.path().join("env"));
    std::fs::write(&file, "concurrency = 3\npush_retries = 3\nallow_repos = \"c/*\"").unwrap();
    std::fs::write(&env_file, "CONCURRENCY=4\nPUSH_RETRIES='4'\nHTTPS_PROXY=http://p\nHOOK_SECRETS=x\n").unwrap();
    let loaded = source(&file, &env_file, Flags::default(), &[("CONCURRENCY", "5")]).load();
    let path = env_file.display();
    assert_eq!(loaded.warnings, [format!("{path}:4: HOOK_SECRETS is no setting: did you mean HOOK_SECRET?")]);
    let settings = loaded.valid().unwrap();
    assert_eq!(
        (settings.concurrency, settings.push_retries, settings.allow_repos.0),
        (Some(5), 4, vec!["c/*".to_owned()])
    );

    std::fs::write(&env_file, "\nCONCURRENCY=many\n").unwrap();
    let errors = source(&file, &env_file, Flags::default(), &[]).load().valid().err().unwrap().to_string();
    assert!(errors.starts_with(&format!("CONCURRENCY=\"many\" ({path}:2) is not valid")), "{errors}");
}

/// systemd passes over such lines. A setting in them would be lost, and without ALLOW_REPOS every repository is built.
#[test]
fn a_line_of_the_environment_file_that_would_lose_a_setting_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, env_file) = (dir.path().join("settings.toml"), dir.path().join("env"));
    std::fs::write(&file, "").unwrap();
    let errors = |text: &str| {
        std::fs::write(&env_file, text).unwrap();
        let loaded = source(&file, &env_file, Flags::default(), &[]).load().concerning(&["LISTEN"]);
        let shown = loaded.valid().err().map(|errors| errors.to_string()).unwrap_or_default();
        shown.replace(env_file.to_str().unwrap(), "env")
    };
    for (lines, at, why) in [
        ("ALLOW_REPOS acme/*", 2, "this line has no =: write NAME=value, or # before a comment"),
        ("ALLOW_REPOS: acme/*", 2, "this line has no =: write NAME=value, or # before a comment"),
        ("export ALLOW_REPOS=acme/*", 2, "this file is no shell script: write ALLOW_REPOS= without export"),
        ("allow_repos=acme/*", 2, "allow_repos is no setting: write ALLOW_REPOS"),
        ("Hook_Secret_File=/x", 2, "Hook_Secret_File is no setting: write HOOK_SECRET_FILE"),
        ("ALLOW-REPOS=acme/*", 2, "what is before = is no name"),
        ("=acme/*", 2, "what is before = is no name"),
        ("\u{feff}ALLOW_REPOS=acme/*", 2, "what is before = is no name"),
        ("\nHOOK_SECRET=\"s3cr3t\nALLOW_REPOS=acme/*", 3, "this quote is open to the end of the file"),
        ("HOOK_SECRET='s3cr3t\nALLOW_REPOS=acme/*\n", 2, "this quote is open to the end of the file"),
    ] {
        let text = errors(&format!("LISTEN=127.0.0.1:1\n{lines}"));
        assert!(text.starts_with(&format!("env:{at}: {why}")) && text.lines().count() == 1, "{lines:?}: {text}");
        assert!(!text.contains("s3cr3t") && !text.contains("acme"), "{text}");
    }
    assert_eq!(errors("# a comment\nHTTPS_PROXY=http://p\nhttps_proxy=http://p\n_X1='a\nb'\n\n"), "");
}

/// systemd hands the environment file's variables to the process, and the file may have changed since.
#[test]
fn changes_are_seen_and_those_that_the_process_hides_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (file, env_file) = (dir.path().join("settings.toml"), dir.path().join("env"));
    let write = |settings: &str, env: &str| {
        std::fs::write(&file, settings).unwrap();
        std::fs::write(&env_file, env).unwrap();
    };
    write("priorities = \"a/*=1\"", "ALLOW_REPOS=a/*\nCONCURRENCY=3\nPUSH_RETRIES=3\n");
    let env = [("ALLOW_REPOS", "a/*"), ("CONCURRENCY", "3"), ("PUSH_RETRIES", "7")];
    let source = source(&file, &env_file, Flags::default(), &env);
    let before = source.load();
    assert_eq!(source.load().changes_since(&before), SettingChanges::default());
    write("priorities = \"a/*=2\"", "ALLOW_REPOS=b/*\nPUSH_RETRIES=4\n");
    let after = source.load();
    let changes = after.changes_since(&before);
    assert_eq!(changes.live, ["ALLOW_REPOS", "PRIORITIES"]);
    assert_eq!(changes.restart, ["CONCURRENCY"]);
    assert_eq!(changes.hidden, [("PUSH_RETRIES", "in the environment".to_owned())]);
    let (before, after) = (before.valid().unwrap(), after.valid().unwrap());
    let now = before.with_live(&after, &[]);
    assert_eq!((now.allow_repos.0, now.concurrency, after.concurrency), (vec!["b/*".to_owned()], Some(3), None));
}

#[test]
fn errors_about_other_settings_do_not_concern_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let env = [("HOOK_SECRET_FILE", "/nowhere"), ("DATA_DIR", "/d")];
        source(&file, Path::new("/dev/null"), Flags::default(), &env).load().concerning(&["LISTEN", "DATA_DIR"]).valid()
    };
    assert_eq!(load("concurrency = \"many\"\nnothing = 1").unwrap().data_dir(), Path::new("/d"));
    assert!(load("listen = \"here\"").is_err());
    assert!(load("concurrency = ").is_err(), "nobody knows what else is in the file");
}

#[test]
fn two_names_of_one_setting_may_not_differ() {
    assert_eq!(load(&[], None, &[("CONCURRENCY", "4"), ("WORKERS", "4")]).unwrap().concurrency, Some(4));
    let text = error(&[], None, &[("CONCURRENCY", "4"), ("WORKERS", "5")]);
    let both =
        "CONCURRENCY (in the environment) and WORKERS (in the environment) are two names of one setting and differ";
    assert!(text.starts_with(both), "{text}");
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
    assert!(
        error(&[], None, &[("HOOK_SECRET_FILE", "/nowhere")])
            .starts_with("HOOK_SECRET: /nowhere (HOOK_SECRET_FILE, in the environment) cannot be read")
    );
}

#[test]
fn a_secret_and_its_file_are_not_both_set() {
    for spec in TABLE.iter().filter(|spec| spec.secret) {
        let text = error(&[], None, &[(spec.name, "s3cr3t-value"), (&format!("{}_FILE", spec.name), "/nowhere")]);
        let name = spec.name;
        let both = format!("{name} (in the environment) and {name}_FILE (in the environment) are both set: keep one");
        assert!(text.starts_with(&both) && !text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn an_address_that_is_shown_has_no_login() {
    for name in ["BASE_URL", "GITHUB_API", "HIPCHAT_API", "CORS_ORIGINS", "HOSTS", "ALLOW_REPOS", "DOCKER_REPO_BASE"] {
        for value in ["https://u:hidden@h", "https://hidden@h", "https://u:hid/den@h"] {
            let text = error(&[], None, &[(name, value)]);
            assert!(text.starts_with(name) && !text.contains("hid"), "{text}");
        }
    }
    for value in ["tcp://u:hidden@h:2", "https://hidden@h:2", "u:hidden@h", "tcp://u:hid,den@h:2"] {
        for name in ["DOCKER_HOST", "DOCKER_HOSTS"] {
            let text = error(&[], None, &[(name, value)]);
            let what = format!("{name} is not valid: take the login out of the address");
            assert!(text.starts_with(&what) && !text.contains("hid"), "{text}");
        }
    }
    for name in ["DOCKER_HOST", "DOCKER_HOSTS"] {
        let text = error(&[], None, &[(name, "ssh://u:hidden@h")]);
        assert!(text.contains("ssh uses a key, the secret engine-key") && !text.contains("hidden"), "{text}");
        assert!(!text.contains("DOCKER_TLS_VERIFY"), "{text}");
    }
    assert!(error(&[], None, &[("BASE_URL", "u:hidden@h")]).starts_with("BASE_URL=\"…@h\""));
    assert!(load(&[], None, &[("HOOK_POST_URL", "https://u:p@h"), ("DOCKER_HOST", "unix:///a@b")]).is_ok());
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
        (&[("ETCD_HOST", "a"), ("ETCD_CERT", "/c.pem")], "ETCD_CERT is set and ETCD_KEY is not"),
        (&[("ETCD_HOST", "a"), ("ETCD_PASSWORD", "hidden")], "ETCD_PASSWORD is set and ETCD_USER is not"),
        (&[("ETCD_HOST", "a"), ("ETCD_USER", "me")], "ETCD_USER is set and ETCD_PASSWORD is not"),
        (&[("ETCD_CACERT", "/ca.pem")], "ETCD_CACERT has no effect without ETCD_HOST or ETCD_ENDPOINTS"),
        (&[("ETCD_API", "v2")], "ETCD_API has no effect without ETCD_HOST or ETCD_ENDPOINTS"),
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
    assert!(load(&[], None, &[]).is_ok(), "every default is valid");
    for Spec { name, group, example, default, .. } in TABLE {
        assert!(!group.is_empty() && !example.is_empty() && example != default, "{name}");
        // Some examples need another setting beside them.
        let refused = load(&[], None, &[(name, example)]).err().filter(|text| text.contains("is not valid"));
        assert_eq!(refused, None, "{name}");
    }
    let groups: Vec<_> = TABLE.chunk_by(|one, next| one.group == next.group).map(|specs| specs[0].group).collect();
    assert_eq!(groups.iter().collect::<std::collections::BTreeSet<_>>().len(), groups.len(), "a group is in one piece");
}

/// Every setting meets the values that parsers most often trip over.
#[test]
fn no_awkward_value_makes_it_panic() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for text in
        [" ", "0", "-1", "99999999999999999999GiB", "1e999", ",", "=", ":", "/", "@", "{", "[", "%", "é", "\u{0}"]
    {
        for spec in TABLE {
            let _ = load_from(empty.path(), &[], &[(spec.name, text)]);
        }
    }
}

proptest! {
    // A case loads all settings to try one of them, and each meets several values in a run.
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_value_makes_it_panic(at in 0..TABLE.len(), text in "\\PC{1,30}") {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let _ = load_from(empty.path(), &[], &[(TABLE[at].name, text.as_str())]);
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
        "BASIC_AUTH" => "conveyor:secret of BASIC_AUTH".into(),
        "SLACK_URL" => "https://hooks.example.com/services/T0/secret of SLACK_URL".to_owned(),
        "NOTIFY_OPERATORS" => {
            "https://chat.example.com/v2/room/ops/notification?auth_token=secret+of+NOTIFY_OPERATORS".into()
        }
        name => format!("secret of {name}"),
    };
    let secrets = TABLE.iter().filter(|spec| spec.secret).map(|spec| (spec.name, value(spec.name)));
    let env: Vec<_> = secrets.chain([("ETCD_HOST", "127.0.0.1".into()), ("ETCD_USER", "factory".into())]).collect();
    let env: Vec<_> = env.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let masks = load(&[], None, &env).unwrap().secrets();
    for spec in TABLE.iter().filter(|spec| spec.secret) {
        let expected = match spec.name {
            "HOOK_SIGNING_KEY" => base64::prelude::BASE64_STANDARD_NO_PAD.encode("secret of HOOK_SIGNING_KEY"),
            name => format!("secret of {name}"),
        };
        assert!(masks.iter().any(|mask| mask.as_str() == expected), "{}", spec.name);
    }
}

/// A file of generator's is told by its name, its settings are checked like any others, and flags and the environment beat it.
#[test]
fn a_runtime_conf_is_a_file_of_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runtime.conf");
    let load = |text: &str, env: &[(&str, &str)]| {
        std::fs::write(&path, text).unwrap();
        load_from(&path, &[], env)
    };
    let https = "runmode = dev\nlistenmode = https\nhttpscertfile = /etc/tls/cert.pem\nhttpskeyfile = /etc/tls/key.pem\n\
        [db]\npasswd = containerops\n[generator]\ngenurl = containerops.me/cts\n";
    let settings = load(https, &[]).unwrap();
    assert_eq!(
        (settings.listen.to_string().as_str(), settings.docker_repo_base.as_str()),
        ("0.0.0.0:443", "containerops.me/cts")
    );
    assert_eq!(
        (settings.tls_cert, settings.tls_key),
        (Some("/etc/tls/cert.pem".into()), Some("/etc/tls/key.pem".into()))
    );
    let settings = load(https, &[("LISTEN", "127.0.0.1:8443"), ("DOCKER_REPO_BASE", "q.io/x")]).unwrap();
    assert_eq!(
        (settings.listen.to_string().as_str(), settings.docker_repo_base.as_str()),
        ("127.0.0.1:8443", "q.io/x")
    );
    let warnings = source(&path, Path::new("/dev/null"), Flags::default(), &[]).load().warnings.join("\n");
    assert!(warnings.contains("passwd is passed over") && !warnings.contains("containerops"), "{warnings}");

    let socket = load("listenmode = unix\n", &[("LISTEN", "unix:/run/generator.sock")]).unwrap();
    assert_eq!(socket.listen.to_string(), "unix:/run/generator.sock");
    let refused = load("listenmode = unix\n", &[]).err().unwrap();
    assert!(refused.contains("FILE:1: listenmode = unix names no socket"), "{refused}");
    let plain = load("listenmode = https\n", &[]).err().unwrap();
    assert_eq!(plain, "FILE:1: listenmode = https names no certificate: set httpscertfile and httpskeyfile\n");
    let elsewhere = load("listenmode = https\n", &[("CERT_PATH", "/etc/tls/both.pem")]).unwrap();
    assert_eq!(elsewhere.listen.to_string(), "0.0.0.0:443");
    let relative = load("listenmode = https\nhttpscertfile = cert.pem\nhttpskeyfile = key.pem\n", &[]).err().unwrap();
    assert!(
        relative.contains("TLS_CERT=\"cert.pem\" (FILE:2) is not valid: it must be an absolute path"),
        "{relative}"
    );
}
