use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::registry::{self, RegistryError};
use crate::secrets::{LoginKey, RegistryAuth, Scope, SecretName, SecretsConfig, admin};

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
        /// The key is for this owner's repositories
        #[arg(long)]
        owner: Option<String>,
        /// The key is for this repository of the owner
        #[arg(long, requires = "owner")]
        repo: Option<String>,
        /// Store a dockercfg without trying its logins
        #[arg(long)]
        no_check: bool,
        /// The file with the secret; - is standard input
        file: PathBuf,
    },
    /// Show for each secret whether it is stored and decrypts, and what to do if not
    Check,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SecretKind {
    /// A private key for Git, as ssh-keygen writes it
    GithubKey,
    /// Registry credentials: Docker's config.json or .dockercfg
    Dockercfg,
    /// Public keys for an sshd, one per line
    AuthorizedKeys,
    /// Host or host:port to which log lines are sent by syslog
    SyslogHost,
}

/// Runs the subcommand. Returns failure if `check` found a secret that cannot be used.
pub async fn run(args: SecretsArgs, config: SecretsConfig) -> anyhow::Result<ExitCode> {
    match args.command {
        SecretsCommand::Put { kind, owner, repo, no_check, file } => {
            let name = match kind {
                SecretKind::GithubKey => SecretName::GithubKey(Scope::new(owner.as_deref(), repo.as_deref())?),
                _ if owner.is_some() => anyhow::bail!("--owner and --repo are for a github-key only"),
                SecretKind::Dockercfg => SecretName::Dockercfg,
                SecretKind::AuthorizedKeys => SecretName::AuthorizedKeys,
                SecretKind::SyslogHost => SecretName::SyslogHost,
            };
            let secret = read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            if name == SecretName::Dockercfg && !no_check {
                try_logins(admin::logins(&config, &secret).await).await?;
            }
            println!("{}", admin::put(&config, name, secret).await?);
            Ok(ExitCode::SUCCESS)
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
async fn try_logins(logins: Vec<(LoginKey, RegistryAuth)>) -> anyhow::Result<()> {
    let tried = logins.iter().map(async |(key, auth)| (key, registry::check_login(&key.host, auth).await));
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

fn read(file: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut secret = Zeroizing::new(Vec::with_capacity(64 << 10));
    match file.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut secret)?,
        _ => std::fs::File::open(file)?.read_to_end(&mut secret)?,
    };
    Ok(secret)
}
