use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, plain, print_json, short};
use crate::client::{Millis, RemoteToken};

/// Make, list and revoke tokens of the API while the daemon runs
#[derive(Debug, clap::Args)]
pub struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokensCommand {
    /// Make a token and print it once; only its hash is stored
    Add {
        /// Name of the token, which its jobs keep
        name: String,
        #[arg(long, value_parser = ["read", "build", "admin"])]
        role: String,
        /// Limit the token to these repositories: OWNER/* or OWNER/REPO, comma-separated
        #[arg(long, value_name = "REPOSITORIES", value_delimiter = ',')]
        repos: Vec<String>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// List all tokens, also those of the settings
    List {
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Revoke a token: the next request with it is refused
    Revoke {
        name: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

impl TokensArgs {
    pub fn json(&self) -> bool {
        match &self.command {
            TokensCommand::Add { connection, .. }
            | TokensCommand::List { connection }
            | TokensCommand::Revoke { connection, .. } => connection.json,
        }
    }
}

/// Runs the subcommand.
pub async fn run(args: TokensArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match args.command {
        TokensCommand::Add { name, role, repos, connection } => {
            let made = connection.client(daemon)?.add_token(&name, &role, &repos).await?;
            match connection.json {
                true => print_json(&made)?,
                // Standard output gets the token alone, so that a script can take it as it is.
                false => {
                    writeln!(out, "{}", made.token.as_deref().unwrap_or_default())?;
                    let repositories = repositories(&made);
                    writeln!(io::stderr(), "token {name}: role {role}, {repositories}; it is not shown again")?;
                }
            }
        }
        TokensCommand::List { connection } => {
            let tokens = connection.client(daemon)?.tokens().await?;
            match connection.json {
                true => print_json(&tokens)?,
                false => out.write_all(table(&tokens, Millis::now()).as_bytes())?,
            }
        }
        TokensCommand::Revoke { name, connection } => {
            let revoked = connection.client(daemon)?.revoke_token(&name).await?;
            match connection.json {
                true => print_json(&revoked)?,
                false => writeln!(out, "token {} is revoked", revoked.name)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn repositories(token: &RemoteToken) -> String {
    match token.repositories.as_slice() {
        [] => "all repositories".into(),
        some => some.join(", "),
    }
}

fn table(tokens: &[RemoteToken], now: Millis) -> String {
    let line = |[name, role, from, age, by, used, repositories]: [&str; 7]| {
        let line = format!("{name:20}  {role:5}  {from:8}  {age:>6}  {by:16}  {used:>9}  {repositories}");
        format!("{}\n", line.trim_end())
    };
    let ago = |time: Option<Millis>| time.map_or("-".into(), |time| short(now.since(time)));
    let mut text = line(["NAME", "ROLE", "FROM", "AGE", "MADE BY", "LAST USED", "REPOSITORIES"]);
    for token in tokens {
        let by = plain(token.created_by.as_deref().unwrap_or("-"));
        let (age, used) = (ago(token.create_time), ago(token.last_use_time));
        text += &line([&plain(&token.name), &token.role, &token.source, &age, &by, &used, &repositories(token)]);
    }
    text
}
