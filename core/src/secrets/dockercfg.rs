//! Registry logins, as Docker and Podman write them.

mod auth;
mod login_key;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::SecretsError;
pub use auth::RegistryAuth;
pub use login_key::LoginKey;
use login_key::{hides_path, shown};

/// Credentials by registry, or by a path of one. Each is for what its key names, and for nothing else.
#[derive(Default)]
pub struct Dockercfg(BTreeMap<LoginKey, RegistryAuth>);

impl Dockercfg {
    /// Reads both shapes of Docker's file: `{"https://quay.io": {"auth": …}}` (`.dockercfg`) and
    /// `{"auths": {…}}` (`config.json`, and Podman's `auth.json`). An entry has `auth` (base64 of `user:password`), else
    /// `username` and `password`, or an `identitytoken` or a `registrytoken`. Returns one line for each entry that cannot
    /// be used.
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
        let (found, mut trouble) = logins(entries);
        if let Some(helper) = helper {
            trouble.push(format!(
                "the dockercfg names a credential helper ({helper}), which the daemon does not ask: \
                 `docker login` on a machine without one writes the passwords into the file"
            ));
        }
        match found.is_empty() && !trouble.is_empty() {
            true => Err(SecretsError(trouble.join("; "))),
            false => Ok((Self(found), trouble)),
        }
    }

    /// Returns the credentials for a repository of a registry, and what they are for. Of several, those with the longest
    /// path are taken. The registry is a host with its port, as an image reference names it.
    pub fn get(&self, registry: &str, repository: &str) -> Option<(&LoginKey, &RegistryAuth)> {
        LoginKey::of_host(registry)?.candidates(repository).find_map(|key| self.0.get_key_value(&key))
    }

    /// Adds another file's credentials for the registries that have none here.
    pub fn add_registries(&mut self, more_general: &Self) {
        let hosts: BTreeSet<_> = self.0.keys().map(|key| key.host.clone()).collect();
        let added = more_general.iter().filter(|(key, _)| !hosts.contains(&key.host));
        self.0.extend(added.map(|(key, auth)| (key.clone(), auth.clone())));
    }

    /// Returns all credentials of a registry.
    pub fn of_registry(&self, registry: &str) -> impl Iterator<Item = (&LoginKey, &RegistryAuth)> {
        let host = LoginKey::of_host(registry).map(|key| key.host);
        self.0.iter().filter(move |(key, _)| host.as_ref() == Some(&key.host))
    }

    /// Returns all credentials.
    pub fn iter(&self) -> impl Iterator<Item = (&LoginKey, &RegistryAuth)> {
        self.0.iter()
    }

    /// Returns the texts that a log must not show.
    pub fn masks(&self) -> impl Iterator<Item = Zeroizing<String>> {
        self.0.values().flat_map(RegistryAuth::masks)
    }
}

/// Returns the entries that can be used, and one line for each other one.
fn logins(entries: Map<String, Value>) -> (BTreeMap<LoginKey, RegistryAuth>, Vec<String>) {
    let (mut found, mut trouble) = (BTreeMap::<LoginKey, (String, RegistryAuth)>::new(), Vec::new());
    let ambiguous = ambiguous(entries.keys());
    for (host, [one, other]) in &ambiguous {
        trouble.push(format!(
            "the dockercfg's entries {one} and {other} differ only in case, and {host} gets neither login: delete one"
        ));
    }
    let mut hidden = BTreeSet::new();
    for (name, entry) in entries {
        let Some(key) = LoginKey::read(&name) else {
            trouble.push(format!("the dockercfg's entry {} is not named after a registry", shown(&name)));
            continue;
        };
        if ambiguous.contains_key(&key) {
            continue;
        }
        let auth = match RegistryAuth::read(entry) {
            Ok(auth) => auth,
            Err(why) => {
                trouble.push(format!("the dockercfg's entry for {key} {why}"));
                continue;
            }
        };
        // `docker.io`, `https://index.docker.io/v1/` and `…/v1/access-token` are one host; the shortest key wins.
        match found.get(&key) {
            Some((other, _)) if hides_path(&name) || hides_path(other) => drop(hidden.insert(key.clone())),
            _ => {}
        }
        if found.get(&key).is_none_or(|(other, _)| name.len() < other.len()) {
            found.insert(key, (name, auth));
        }
    }
    for key in hidden {
        let used = found.get(&key).map(|(name, _)| shown(name)).unwrap_or_default();
        trouble.push(format!(
            "the dockercfg has several entries for all of {key}, and {used} is used: an entry for a path is written \
             without https://"
        ));
    }
    (found.into_iter().map(|(key, (_, auth))| (key, auth)).collect(), trouble)
}

/// Returns what two keys name which differ only in case, with both spellings.
fn ambiguous<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<LoginKey, [String; 2]> {
    let (mut first, mut ambiguous) = (BTreeMap::<String, &str>::new(), BTreeMap::new());
    for name in names {
        let Some(key) = LoginKey::read(name) else { continue };
        if let Some(one) = first.insert(name.trim().to_ascii_lowercase(), name) {
            ambiguous.insert(key, [one, name].map(shown));
        }
    }
    ambiguous
}
