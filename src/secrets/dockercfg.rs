use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::SecretsError;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: Zeroizing<String>,
    pub identity_token: Option<Zeroizing<String>>,
}

/// Credentials by registry host, each for that host alone.
#[derive(Default)]
pub struct Dockercfg(BTreeMap<String, RegistryAuth>);

impl Dockercfg {
    /// Reads both shapes of Docker's file: `{"https://quay.io": {"auth": …}}` (`.dockercfg`) and
    /// `{"auths": {…}}` (`config.json`). An entry has `auth` (base64 of `user:password`), else `username` and
    /// `password`, or an `identitytoken`. Returns one line for each entry that cannot be used.
    ///
    /// # Errors
    /// The file is not of either shape, or has entries of which none can be used.
    pub fn parse(json: &[u8]) -> Result<(Self, Vec<String>), SecretsError> {
        // serde's own message is left out, because it may quote the value.
        let json: Value = serde_json::from_slice(json).map_err(|e| {
            SecretsError(format!("the dockercfg is not JSON (line {}, column {})", e.line(), e.column()))
        })?;
        let wrong_shape = || {
            SecretsError::new(
                "the dockercfg must be {\"https://quay.io\": {\"auth\": …}} or {\"auths\": {\"quay.io\": {\"auth\": …}}}",
            )
        };
        let Value::Object(mut top) = json else { return Err(wrong_shape()) };
        let helper = ["credsStore", "credHelpers"].into_iter().find(|key| top.contains_key(*key));
        let entries = match top.remove("auths") {
            Some(Value::Object(auths)) => auths,
            Some(_) => return Err(wrong_shape()),
            None if helper.is_some() => Map::new(),
            None => top,
        };
        let (mut found, mut trouble) = (BTreeMap::<String, (usize, RegistryAuth)>::new(), Vec::new());
        let ambiguous = ambiguous(entries.keys());
        for (host, [one, other]) in &ambiguous {
            trouble.push(format!(
                "the dockercfg's entries {one} and {other} differ only in case, and {host} gets neither login: delete one"
            ));
        }
        for (key, entry) in entries {
            let Some(host) = registry_host(&key) else {
                trouble.push("an entry of the dockercfg is not named after a registry host".into());
                continue;
            };
            if ambiguous.contains_key(&host) {
                continue;
            }
            match registry_auth(entry) {
                // `docker.io`, `https://index.docker.io/v1/` and `…/v1/access-token` are one host; the shortest key wins.
                Ok(auth) => {
                    if found.get(&host).is_none_or(|(length, _)| key.len() < *length) {
                        found.insert(host, (key.len(), auth));
                    }
                }
                Err(why) => trouble.push(format!("the dockercfg's entry for {host} {why}")),
            }
        }
        if let Some(helper) = helper {
            trouble.push(format!(
                "the dockercfg names a credential helper ({helper}), which the daemon does not ask: \
                 `docker login` on a machine without one writes the passwords into the file"
            ));
        }
        if found.is_empty() && !trouble.is_empty() {
            return Err(SecretsError(trouble.join("; ")));
        }
        Ok((Self(found.into_iter().map(|(host, (_, auth))| (host, auth)).collect()), trouble))
    }

    /// Returns the credentials for exactly this registry, a host with its port, as an image reference names it.
    pub fn get(&self, registry: &str) -> Option<&RegistryAuth> {
        self.0.get(&registry_host(registry)?)
    }

    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the texts that a log must not show: passwords, tokens, and `user:password` in base64 of both alphabets. The
    /// base64 has no padding, because it then also matches text that is padded.
    pub fn masks(&self) -> impl Iterator<Item = Zeroizing<String>> {
        self.0.values().flat_map(|auth| {
            let pair = Zeroizing::new(format!("{}:{}", auth.username, auth.password.as_str()));
            let base64 = [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|e| Zeroizing::new(e.encode(pair.as_bytes())));
            let secrets = [auth.password.clone()].into_iter().chain(auth.identity_token.clone());
            secrets.chain(base64).filter(|mask| !mask.is_empty())
        })
    }
}

/// Returns the registry host of a key: `quay.io` for `https://Quay.io/v1/`, and `docker.io` for all names of Docker Hub.
/// Returns `None` if the key is not a host with an optional port.
fn registry_host(key: &str) -> Option<String> {
    let host = spelled_host(key).to_ascii_lowercase();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => Some("docker.io".into()),
        "" => None,
        host => host.bytes().all(valid).then(|| host.into()),
    }
}

/// Returns the host in a key of the file, as it is written there.
fn spelled_host(key: &str) -> &str {
    let key = key.trim();
    let schemes = ["https://", "http://"].into_iter();
    let scheme = schemes.map(str::len).find(|&length| {
        key.get(..length)
            .is_some_and(|start| start.eq_ignore_ascii_case("https://") || start.eq_ignore_ascii_case("http://"))
    });
    key[scheme.unwrap_or(0)..].split('/').next().unwrap_or_default()
}

/// Returns the hosts that two keys name which differ only in case, with both spellings.
fn ambiguous<'a>(keys: impl Iterator<Item = &'a String>) -> BTreeMap<String, [String; 2]> {
    let (mut first, mut ambiguous) = (BTreeMap::<String, &str>::new(), BTreeMap::new());
    for key in keys {
        let Some(host) = registry_host(key) else { continue };
        if let Some(one) = first.insert(key.trim().to_ascii_lowercase(), key) {
            ambiguous.insert(host, [one, key].map(|key| spelled_host(key).to_owned()));
        }
    }
    ambiguous
}

/// Reads one entry. The error completes "the entry for HOST …", and quotes nothing of the entry.
fn registry_auth(entry: Value) -> Result<RegistryAuth, &'static str> {
    let Value::Object(mut entry) = entry else { return Err("is not an object") };
    let mut take = |key| match entry.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(Zeroizing::new(text)),
        _ => None,
    };
    let (auth, username, password) = (take("auth"), take("username"), take("password"));
    let identity_token = take("identitytoken");
    let (username, password) = match (auth, username, password) {
        (Some(auth), _, _) => user_and_password(&auth)?,
        (None, Some(username), Some(password)) => (username.to_string(), password),
        (None, username, _) if identity_token.is_some() => {
            (username.map(|u| u.to_string()).unwrap_or_default(), Zeroizing::default())
        }
        _ => return Err("has neither `auth`, nor `username` and `password`, nor `identitytoken`"),
    };
    Ok(RegistryAuth { username, password, identity_token })
}

fn user_and_password(auth: &str) -> Result<(String, Zeroizing<String>), &'static str> {
    let auth: Zeroizing<Vec<u8>> = Zeroizing::new(auth.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
    let pair = Zeroizing::new(BASE64.decode(&*auth).map_err(|_| "has an `auth` that is not base64")?);
    let pair = std::str::from_utf8(&pair).map_err(|_| "has an `auth` that is not the base64 of a text")?;
    let (username, password) = pair.split_once(':').ok_or("has an `auth` that is not the base64 of user:password")?;
    if username.is_empty() {
        return Err("has an `auth` without a user");
    }
    // Zero bytes are removed, because Docker's own command pads with them and removes them, too.
    Ok((username.into(), Zeroizing::new(password.trim_matches('\0').into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn parse(json: &str) -> (Dockercfg, Vec<String>) {
        Dockercfg::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn both_shapes() {
        let entry = r#""https://quay.io":{"auth":"dG90ZW06c2VjcmV0Og==","email":""}"#;
        for json in [format!("{{{entry}}}"), format!(r#"{{"auths":{{{entry}}},"HttpHeaders":{{"a":"b"}}}}"#)] {
            let (cfg, trouble) = parse(&json);
            let auth = cfg.get("quay.io").unwrap();
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("totem", "secret:"));
            assert!(trouble.is_empty());
        }
        assert_eq!(parse("{}").0.hosts().count(), 0);
        assert_eq!(parse(r#"{"auths":{}}"#).0.hosts().count(), 0);
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
            assert_eq!(cfg.get(hub).unwrap().password.as_str(), "hub");
        }
        assert_eq!(cfg.get("localhost:5000").unwrap().identity_token.as_ref().unwrap().as_str(), "tok");
        for key in ["docker.io", "index.docker.io/v1/", "http://index.docker.io", "https://registry-1.docker.io/v2/"] {
            let (cfg, _) = parse(&format!(r#"{{"{key}":{{"username":"u","password":"hub"}}}}"#));
            assert!(cfg.get("docker.io").is_some(), "{key}");
        }
        for other in ["localhost", "localhost:5001", "evil-quay.io", "quay.io.evil", "io", ""] {
            assert!(cfg.get(other).is_none(), "{other}");
        }
        assert_eq!(cfg.hosts().collect::<Vec<_>>(), ["docker.io", "localhost:5000", "quay.io"]);
    }

    #[test]
    fn a_bad_entry_is_named_and_quotes_no_secret() {
        let (cfg, trouble) =
            parse(r#"{"a.io":{"auth":"c2VjcmV0"},"b.io":{"auth":"dTpw"},"u:secret@c.io":{},"d.io":"secret"}"#);
        assert_eq!(cfg.hosts().collect::<Vec<_>>(), ["b.io"]);
        assert_eq!(trouble.len(), 3);
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
        assert_eq!(cfg.hosts().collect::<Vec<_>>(), ["docker.io"]);
        assert_eq!(cfg.get("docker.io").unwrap().password.as_str(), "hub");
        assert_eq!(
            trouble,
            [
                "the dockercfg's entries Quay.io and quay.io differ only in case, and quay.io gets neither login: delete one"
            ]
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
            let found = cfg.get(&host).unwrap();
            prop_assert_eq!((&found.username, found.password.as_str()), (&user, password.as_str()));
            let masks: Vec<_> = cfg.masks().collect();
            for seen in [&password, &auth] {
                prop_assert!(masks.iter().any(|m| seen.starts_with(m.as_str())), "{}", seen);
            }
        }
    }
}
