use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use zeroize::Zeroizing;

use super::uptake::{self, Uptake};
use super::{ConnectionArgs, LocalDaemon};
use crate::client::RemoteSecrets;
use crate::registry::{Registries, RegistryError};
use crate::secrets::admin::{self, ListedSecret};
use crate::secrets::{LoginKey, RegistryAuth, Scope, SecretName, SecretsConfig};

/// Store deploy keys and registry credentials where the daemon reads them, and check them
#[derive(Debug, clap::Args)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    /// Check a secret, encrypt it with ENC_PASSPHRASE if it is not encrypted yet, and store it in etcd or SECRETS_DIR
    Put {
        kind: SecretKind,
        /// The key or dockercfg is for this owner's repositories
        #[arg(long)]
        owner: Option<String>,
        /// The key or dockercfg is for this repository of the owner
        #[arg(long, requires = "owner")]
        repo: Option<String>,
        /// Store a dockercfg without trying its logins
        #[arg(long)]
        no_check: bool,
        /// The file with the secret; - is standard input
        file: PathBuf,
        /// Do not ask the running daemon whether it uses the secret
        #[arg(long)]
        no_wait: bool,
    },
    /// List what is stored, and whether the running daemon has it; nothing is decrypted
    List,
    /// Delete a secret, and say what the daemon does without it
    Rm {
        /// github-key, engine-key, dockercfg, authorized-keys or syslog-host; or a name as `secrets list` shows it
        name: String,
        /// The key or dockercfg is for this owner's repositories
        #[arg(long)]
        owner: Option<String>,
        /// The key or dockercfg is for this repository of the owner
        #[arg(long, requires = "owner")]
        repo: Option<String>,
        /// Do not ask the running daemon whether it still uses the secret
        #[arg(long)]
        no_wait: bool,
    },
    /// Show for each secret whether it is stored and decrypts, and what to do if not
    Check,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SecretKind {
    /// A private key for Git, as ssh-keygen writes it
    GithubKey,
    /// A private key for engines at ssh:// addresses, as ssh-keygen writes it
    EngineKey,
    /// Registry credentials: Docker's config.json or .dockercfg
    Dockercfg,
    /// Public keys for an sshd, one per line
    AuthorizedKeys,
    /// Host or host:port to which log lines are sent by syslog
    SyslogHost,
}

impl SecretKind {
    /// Returns the secret of this kind, for a key or a dockercfg that of an owner or a repository.
    fn secret(self, owner: Option<&str>, repo: Option<&str>) -> anyhow::Result<SecretName> {
        Ok(match self {
            Self::GithubKey => SecretName::GithubKey(Scope::new(owner, repo)?),
            Self::Dockercfg => SecretName::Dockercfg(Scope::new(owner, repo)?),
            _ if owner.is_some() => anyhow::bail!("--owner and --repo are for a github-key or a dockercfg"),
            Self::EngineKey => SecretName::EngineKey,
            Self::AuthorizedKeys => SecretName::AuthorizedKeys,
            Self::SyslogHost => SecretName::SyslogHost,
        })
    }
}

/// Runs the subcommand. Returns failure if `check` found a secret that cannot be used, or if a daemon that answers does not
/// have the change.
pub async fn run(
    args: SecretsArgs,
    config: SecretsConfig,
    registries: &Registries,
    daemon: anyhow::Result<LocalDaemon>,
) -> anyhow::Result<ExitCode> {
    match args.command {
        SecretsCommand::Put { kind, owner, repo, no_check, file, no_wait } => {
            let name = kind.secret(owner.as_deref(), repo.as_deref())?;
            let secret = read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            if matches!(name, SecretName::Dockercfg(_)) && !no_check {
                try_logins(registries, admin::logins(&config, &secret).await).await?;
            }
            println!("{}", admin::put(&config, name.clone(), secret).await?);
            if no_wait {
                return Ok(ExitCode::SUCCESS);
            }
            // A place may let us write and not read.
            let listed = admin::list(&config).await.unwrap_or_default();
            let stored = listed.into_iter().find(|secret| secret.name == name).and_then(|secret| secret.fingerprint);
            let place = config.place.describe();
            Ok(report(match stored {
                Some(stored) => uptake::wait(daemon, &place, &name.to_string(), Some(&stored)).await,
                None => Uptake::Unknown(format!("{place} cannot be read back, so the daemon was not asked about it")),
            }))
        }
        SecretsCommand::List => {
            let listed = admin::list(&config).await?;
            let known = match (ConnectionArgs { url: None, json: false }).client(daemon) {
                Ok(client) => client.secrets().await.ok(),
                Err(_) => None,
            };
            if listed.is_empty() {
                eprintln!(
                    "nothing is stored in {}: `image-factory secrets put` stores a secret",
                    config.place.describe()
                );
            }
            for ListedSecret { name, fingerprint } in listed {
                let name = name.to_string();
                println!("{name:48}  {}", use_of(known.as_ref(), &name, fingerprint.as_deref()));
            }
            Ok(ExitCode::SUCCESS)
        }
        SecretsCommand::Rm { name, owner, repo, no_wait } => {
            let unknown = || format!("{name:?} is no secret: `image-factory secrets list` shows the names");
            let name = match SecretKind::from_str(&name, false) {
                Ok(kind) => kind.secret(owner.as_deref(), repo.as_deref())?,
                Err(_) => SecretName::parse(&name).with_context(unknown)??,
            };
            for line in admin::remove(&config, &name).await? {
                println!("{line}");
            }
            if no_wait {
                return Ok(ExitCode::SUCCESS);
            }
            Ok(report(uptake::wait(daemon, &config.place.describe(), &name.to_string(), None).await))
        }
        SecretsCommand::Check => {
            let lines = admin::check(&config).await;
            for line in &lines {
                println!("{:4} {}: {}", if line.ok { "ok" } else { "BAD" }, line.name, line.text);
            }
            let all = lines.iter().all(|l| l.ok);
            Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Tries each login, and says of each whether its registry accepts it.
///
/// # Errors
/// A registry refuses a login. A registry that cannot be asked is no error, because the daemon may reach it from where it
/// runs.
async fn try_logins(registries: &Registries, logins: Vec<(LoginKey, RegistryAuth)>) -> anyhow::Result<()> {
    let tried = logins.iter().map(async |(key, auth)| (key, registries.check_login(&key.host, auth).await));
    let mut refused = Vec::new();
    for (key, tried) in futures_util::future::join_all(tried).await {
        match tried {
            Ok(Some(login)) => println!("{key}: the registry accepts the login of {}", login.shown()),
            Ok(None) => println!("{key}: not tried, because the registry asks for no login"),
            Err(e @ RegistryError::WrongLogin { .. }) => refused.push(format!("{key}: {e}")),
            Err(e) => println!("{key}: not tried: {e}"),
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => anyhow::bail!("{}; nothing was stored: --no-check stores it all the same", refused.join("; ")),
    }
}

/// Prints what the daemon answered.
fn report(uptake: Uptake) -> ExitCode {
    match uptake {
        Uptake::Done(said) => println!("{said}"),
        Uptake::Unknown(said) => eprintln!("{said}"),
        Uptake::Missing(said) => {
            eprintln!("image-factory: {said}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Says whether the daemon has this value.
fn use_of(known: Option<&RemoteSecrets>, name: &str, fingerprint: Option<&str>) -> &'static str {
    let Some(known) = known else { return "no running daemon was asked" };
    match known.find(name) {
        None => "the daemon does not have it",
        Some(secret) if fingerprint.is_some() && secret.fingerprint.as_deref() != fingerprint => {
            "the daemon has another value"
        }
        Some(secret) if secret.valid => "in use",
        Some(_) => "the daemon has trouble with it: `image-factory secrets check` says what",
    }
}

fn read(file: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut secret = Zeroizing::new(Vec::with_capacity(64 << 10));
    match file.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut secret)?,
        _ => std::fs::File::open(file)?.read_to_end(&mut secret)?,
    };
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_put_is_read_back() {
        for kind in SecretKind::value_variants() {
            let name = kind.secret(None, None).unwrap();
            assert_eq!(SecretName::parse(&name.to_string()), Some(Ok(name)));
        }
    }
}
