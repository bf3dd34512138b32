//! The commands `image-factory secrets put`, `rm`, `list` and `check`.

use std::collections::BTreeMap;

use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::authorized::without_consequence;
use super::contents::MAX_SIZE;
use super::name;
use super::source::Source;
use super::value::SecretValue;
use super::{
    LoginKey, Place, RegistryAuth, Scope, SecretName, SecretsConfig, SecretsError, digest, fingerprint, key, live,
    messages, pgp, value,
};
use crate::model::RepoCase;

/// Checks a secret, encrypts it with the passphrase if it is not encrypted yet, and stores it. Returns one line with the
/// description and the path.
///
/// # Errors
/// The daemon could not use the secret, or it could not be stored. Nothing is stored then.
pub async fn put(config: &SecretsConfig, name: SecretName, bytes: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
    let passphrase = config.passphrase.clone().filter(|p| !p.is_empty());
    let sealing = name.clone();
    let sealed = spawn_blocking(move || seal(&sealing, &bytes, passphrase.as_ref().map(|p| p.as_str())));
    let (sealed, what, trouble) =
        sealed.await.unwrap_or_else(|e| Err(SecretsError(format!("it could not be read: {e}"))))?;
    let mut source = Source::new(&config.place);
    // A place that lets us write and not read cannot be asked; `check` finds two spellings there, too.
    if let Ok(stored) = source.next().await
        && let Some(other) = name::ambiguous(stored.values.keys().chain([&name]), config.repo_case).get(&name)
    {
        return Err(SecretsError(format!(
            "{other} is stored, and differs from {name} only in case, so that neither would be used: take its spelling, \
             or delete it first"
        )));
    }
    let path = source.put(&name, sealed).await?;
    Ok(format!("stored {what} as {path}{trouble}"))
}

fn seal(
    name: &SecretName,
    bytes: &[u8],
    passphrase: Option<&str>,
) -> Result<(Zeroizing<Vec<u8>>, String, String), SecretsError> {
    refuse_other_kind(name, bytes)?;
    let sealed: Zeroizing<Vec<u8>> = match (name, passphrase) {
        (SecretName::AuthorizedKeys | SecretName::SyslogHost, _) => bytes.to_vec().into(),
        (_, None) => {
            return Err(SecretsError::of(&messages::NO_PASSPHRASE, &[]));
        }
        (SecretName::GithubKey(_) | SecretName::EngineKey, Some(passphrase)) => {
            key::seal(bytes, passphrase)?.as_bytes().to_vec().into()
        }
        (SecretName::Dockercfg(_), Some(passphrase)) if value::is_json(bytes) => {
            pgp::encrypt(bytes, passphrase)?.into_bytes().into()
        }
        (SecretName::Dockercfg(_), Some(_)) => bytes.to_vec().into(),
    };
    if sealed.len() as u64 > MAX_SIZE {
        return Err(SecretsError::of(&messages::LARGE_SECRET, &[]));
    }
    // The encrypted bytes are read back, because only what the daemon can use may be stored.
    let opened = value::open(name, &sealed, passphrase).map_err(|e| match name {
        SecretName::GithubKey(_) | SecretName::EngineKey => {
            SecretsError(format!("{e} (`ssh-keygen -p -f KEY` changes the passphrase of a key)"))
        }
        _ => e,
    })?;
    match (name, &opened.trouble[..]) {
        _ if opened.is_empty() => {
            Err(SecretsError(format!("it is empty: store one with an entry, or delete {name} to use none")))
        }
        (_, []) => Ok((sealed, opened.describe(), String::new())),
        // The logins that can be used are used.
        (SecretName::Dockercfg(_), trouble) => Ok((sealed, opened.describe(), format!("; but {}", trouble.join("; ")))),
        (_, trouble) => {
            let faults = without_consequence(trouble);
            Err(SecretsError(format!("{faults}; nothing was stored: mend each such line, or remove it")))
        }
    }
}

/// Refuses a file of another kind than the secret's, because the error of reading it as that kind says less.
fn refuse_other_kind(name: &SecretName, bytes: &[u8]) -> Result<(), SecretsError> {
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    let given = match &*text {
        "" => "an empty file",
        text if text.contains("PRIVATE KEY-----") => "a private key",
        text if text.starts_with("-----BEGIN PGP") => "a gpg message",
        text if text.starts_with('{') => "JSON",
        text if text.starts_with("ssh-") || text.starts_with("ecdsa-") => "a public key",
        _ => return Ok(()),
    };
    let (kind, fits, wanted) = match name {
        SecretName::GithubKey(_) => ("a github-key", "a private key", "a private key, as ssh-keygen writes it"),
        SecretName::EngineKey => ("an engine-key", "a private key", "a private key, as ssh-keygen writes it"),
        SecretName::Dockercfg(_) => {
            ("a dockercfg", "JSON", "Docker's config.json or .dockercfg, or Podman's auth.json, plain or by `gpg -c`")
        }
        SecretName::AuthorizedKeys => ("authorized-keys", "a public key", "public keys, one per line"),
        SecretName::SyslogHost => ("syslog-host", "", "a host, or host:port"),
    };
    let is_sealed = given == "a gpg message" && matches!(name, SecretName::Dockercfg(_));
    match given == fits || is_sealed {
        true => Ok(()),
        false => Err(SecretsError(format!("this is {given}, and {kind} is {wanted}"))),
    }
}

/// Returns the logins in a dockercfg that is to be stored; none if it cannot be read, which [`put`] explains.
pub async fn logins(config: &SecretsConfig, bytes: &Zeroizing<Vec<u8>>) -> Vec<(LoginKey, RegistryAuth)> {
    let passphrase = config.passphrase.clone().filter(|p| !p.is_empty());
    let Ok(opened) = live::open(SecretName::Dockercfg(Scope::Common), Ok(bytes.clone()), passphrase.as_ref()).await
    else {
        return vec![];
    };
    match opened.value {
        SecretValue::Dockercfg(cfg) => cfg.iter().map(|(key, auth)| (key.clone(), auth.clone())).collect(),
        _ => vec![],
    }
}

/// A secret that is stored, for `secrets list`.
pub struct ListedSecret {
    pub name: SecretName,
    /// See [`SecretState`](super::SecretState).
    pub fingerprint: Option<String>,
}

/// Reads the place once, and returns the secrets in it. Nothing is decrypted.
pub async fn list(config: &SecretsConfig) -> Result<Vec<ListedSecret>, SecretsError> {
    let contents = Source::new(&config.place).next().await?;
    let listed = contents.values.into_iter().map(|(name, stored)| {
        let fingerprint = fingerprint(&digest(&stored), value::is_bare(&name, &stored));
        ListedSecret { name, fingerprint }
    });
    Ok(listed.collect())
}

/// Deletes a secret wherever the place has it. Returns a line for each path, and one about what the daemon does then.
///
/// # Errors
/// Nothing is stored by this name, or it could not be deleted.
pub async fn remove(config: &SecretsConfig, name: &SecretName) -> Result<Vec<String>, SecretsError> {
    let paths = Source::new(&config.place).delete(name).await?;
    if paths.is_empty() {
        return Err(SecretsError(format!("nothing is stored as {name}: `image-factory secrets list` shows the names")));
    }
    let left = list(config).await?;
    let left: Vec<_> = left.into_iter().map(|listed| listed.name).collect();
    let deleted = paths.into_iter().map(|path| format!("deleted {path}"));
    Ok(deleted.chain([format!("from now on {}", without(name, left.iter(), config.repo_case))]).collect())
}

/// Says what the daemon does without the secret `name` where the secrets `left` are stored.
fn without<'a>(name: &SecretName, left: impl Iterator<Item = &'a SecretName>, case: RepoCase) -> String {
    let Some(scope) = name.scope() else {
        return match name {
            SecretName::AuthorizedKeys => "nobody is let in by it",
            SecretName::EngineKey => "engines are reached by ssh without a key",
            _ => "log lines go to a syslog server only if SYSLOG names one",
        }
        .into();
    };
    let kind = if matches!(name, SecretName::GithubKey(_)) { "key" } else { "dockercfg" };
    let (who, owner) = match scope {
        Scope::Common => (format!("repositories without a {kind} of their own are"), None),
        Scope::Owner(owner) => (format!("repositories of {owner} without a {kind} of their own are"), None),
        Scope::Repo(owner, repo) => (format!("{owner}/{repo} is"), Some(Scope::Owner(owner.clone()).key(case))),
    };
    let more_general = |other: &&SecretName| {
        let is_general = |scope: &Scope| *scope == Scope::Common || Some(scope.key(case)) == owner;
        other.kind() == name.kind() && *scope != Scope::Common && other.scope().is_some_and(is_general)
    };
    // An owner's secret is greater than the common one, and is the one that is used.
    match (name, left.filter(more_general).max()) {
        (SecretName::GithubKey(_), Some(key)) => format!("{who} fetched with the key {key}"),
        (SecretName::GithubKey(_), None) => format!("{who} fetched by https, or as GIT_URL says"),
        (_, Some(logins)) => format!("{who} built with the registry logins {logins}"),
        (_, None) => format!("{who} built without registry logins"),
    }
}

/// One line of `secrets check`.
pub struct CheckLine {
    /// Path below the base or in the folder, or the place itself.
    pub name: String,
    pub ok: bool,
    /// Description of the secret, or its fault and the move. Nothing secret is in it.
    pub text: String,
}

/// Reads the place once. Returns a line for each secret, with its description or the reason why it cannot be used.
pub async fn check(config: &SecretsConfig) -> Vec<CheckLine> {
    let place = config.place.describe();
    let mut contents = match Source::new(&config.place).next().await {
        Ok(contents) => contents,
        Err(e) => return vec![CheckLine { name: place, ok: false, text: e.to_string() }],
    };
    let passphrase = config.passphrase.clone().filter(|p| !p.is_empty());
    let text = match (&config.place, &contents.via) {
        (Place::Folder(root), _) if !root.exists() => "does not exist yet".into(),
        (_, Some(via)) => format!("can be read, by the {via}"),
        (_, None) => "can be read".into(),
    };
    let mut lines = vec![CheckLine { name: place, ok: true, text }];
    for name in SecretName::SINGLE {
        if !contents.values.contains_key(&name) {
            let text = format!("nothing is stored: {}", without(&name, contents.values.keys(), config.repo_case));
            lines.push(CheckLine { name: name.to_string(), ok: true, text });
        }
    }
    let values = std::mem::take(&mut contents.values);
    let ambiguous = name::ambiguous(values.keys(), config.repo_case);
    let ambiguous: BTreeMap<_, _> = ambiguous.into_iter().map(|(name, other)| (name.clone(), other.clone())).collect();
    for (name, stored) in values {
        let (ok, text) = match live::open(name.clone(), stored, passphrase.as_ref()).await {
            Ok(opened) if ambiguous.contains_key(&name) => {
                (false, format!("{}; but {}", opened.describe(), name::why_ambiguous(&ambiguous[&name])))
            }
            Ok(opened) if opened.trouble.is_empty() => (true, opened.describe()),
            Ok(opened) => (false, format!("{}; but {}", opened.describe(), opened.trouble.join("; "))),
            // The consequence is named here for authorized keys alone, because a running daemon may still use the last good value
            // of any other kind.
            Err(e) if name == SecretName::AuthorizedKeys => (false, format!("{e}; {}", live::without(&name))),
            Err(e) => (false, e.to_string()),
        };
        lines.push(CheckLine { name: name.to_string(), ok, text });
    }
    let trouble = contents.trouble.into_iter().map(|text| CheckLine { name: "names".into(), ok: false, text });
    lines.extend(trouble);
    lines
}

#[cfg(test)]
mod tests;
