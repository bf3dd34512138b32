//! The command line. Each subcommand has a file with its arguments and its `run`.

mod alias;
mod build;
mod built;
mod cancel;
mod completions;
mod deliveries;
mod doctor;
mod engines;
mod files;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod init;
mod jobs;
mod known_hosts;
mod launch;
mod licenses;
mod logs;
mod man;
mod notifications;
mod pick;
mod rebuild;
mod scaffold;
mod secrets;
mod serve;
mod show;
mod ssh_login;
mod sshd;
mod terminal;
mod tokens;
mod uptake;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::{self, own_socket};
use crate::client::{ApiClient, ClientError, FreshBuild, RemoteJob, Status, is_same_place, is_this_machine};
use crate::model::{Pull, escape_bidi};
use crate::registry::Registries;
use crate::settings::{Flags, SettingsSource};

/// Turns a Git push into a Docker image in a registry.
#[derive(clap::Parser)]
#[command(name = "image-factory", version)]
pub struct Cli {
    #[command(flatten)]
    files: SettingsFiles,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(alias = "server")]
    Serve(Box<serve::ServeArgs>),
    Init(init::InitArgs),
    Health(health::HealthArgs),
    Build(Box<build::BuildArgs>),
    Jobs(jobs::JobsArgs),
    Show(show::ShowArgs),
    Logs(logs::LogsArgs),
    Files(files::FilesArgs),
    Cancel(cancel::CancelArgs),
    Rebuild(rebuild::RebuildArgs),
    Notifications(notifications::NotificationsArgs),
    Deliveries(deliveries::DeliveriesArgs),
    Secrets(secrets::SecretsArgs),
    Tokens(tokens::TokensArgs),
    Engines(engines::EnginesArgs),
    KnownHosts(known_hosts::KnownHostsArgs),
    Sshd(sshd::SshdArgs),
    #[command(hide = true)]
    SshLogin(ssh_login::SshLoginArgs),
    #[command(hide = true)]
    SshKeys(ssh_login::SshKeysArgs),
    Doctor(Box<doctor::DoctorArgs>),
    Scaffold(scaffold::ScaffoldArgs),
    Launch(launch::LaunchArgs),
    Completions(completions::CompletionsArgs),
    Licenses(licenses::LicensesArgs),
    Man(man::ManArgs),
}

impl Command {
    /// True if the subcommand writes JSON, errors included.
    fn json(&self) -> bool {
        match self {
            Self::Health(args) => args.connection.json,
            Self::Build(args) => args.connection.json,
            Self::Jobs(args) => args.connection.json,
            Self::Show(args) => args.connection.json,
            Self::Logs(args) => args.connection.json,
            Self::Files(args) => args.connection.json,
            Self::Cancel(args) => args.connection.json,
            Self::Rebuild(args) => args.connection.json,
            Self::Notifications(args) => args.json(),
            Self::Deliveries(args) => args.json(),
            Self::Tokens(args) => args.json(),
            Self::Engines(args) => args.json(),
            _ => false,
        }
    }
}

/// The files of settings, which every subcommand reads.
#[derive(Clone, clap::Args)]
struct SettingsFiles {
    /// File of settings instead of /etc/image-factory/image-factory.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File of variables, one NAME=value a line, instead of /etc/image-factory/env
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl SettingsFiles {
    /// Returns the places of the settings. The environment of this process is one of them.
    fn source(self, flags: Flags) -> SettingsSource {
        let environment = std::env::vars_os();
        let environment =
            environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        SettingsSource::new(flags.0, self.config, self.env_file, environment)
    }

    /// Returns the arguments that name the files to another process of this program.
    fn args(&self) -> impl Iterator<Item = OsString> {
        let named = [("--config", &self.config), ("--env-file", &self.env_file)];
        named.into_iter().flat_map(|(flag, file)| file.iter().flat_map(move |file| [flag.into(), file.into()]))
    }
}

/// Reads the arguments of this process. Returns an exit code if the program was called by the name of one that it replaces
/// and does not do what that one did; standard error then says what to use.
pub fn parse() -> Result<Cli, ExitCode> {
    let args: Vec<_> = std::env::args_os().collect();
    match alias::replacement(&args) {
        Some(instead) => {
            let _ = writeln!(io::stderr(), "{instead}");
            Err(ExitCode::from(USAGE))
        }
        None => Ok(clap::Parser::parse_from(args)),
    }
}

/// Runs the subcommand. Returns the exit code of the process.
pub async fn run(cli: Cli) -> ExitCode {
    let json = cli.command.json();
    run_command(cli.command, cli.files).await.unwrap_or_else(|error| fail(&error, json))
}

async fn run_command(command: Command, files: SettingsFiles) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(*args, files).await,
        Command::Init(args) => init::run(args, files).await,
        Command::Health(args) => health::run(args, LocalDaemon::here(files)).await,
        Command::Build(args) => build::run(*args, LocalDaemon::here(files)).await,
        Command::Jobs(args) => jobs::run(args, LocalDaemon::here(files)).await,
        Command::Show(args) => show::run(args, LocalDaemon::here(files)).await,
        Command::Logs(args) => logs::run(args, LocalDaemon::here(files)).await,
        Command::Files(args) => files::run(args, LocalDaemon::here(files)).await,
        Command::Cancel(args) => cancel::run(args, LocalDaemon::here(files)).await,
        Command::Rebuild(args) => rebuild::run(args, LocalDaemon::here(files)).await,
        Command::Notifications(args) => notifications::run(args, LocalDaemon::here(files)).await,
        Command::Deliveries(args) => deliveries::run(args, LocalDaemon::here(files)).await,
        Command::KnownHosts(args) => {
            let loaded = files.source(Flags::default()).load().concerning(&["DATA_DIR", "KNOWN_HOSTS"]);
            known_hosts::run(args, loaded.valid()?).await
        }
        Command::Tokens(args) => tokens::run(args, LocalDaemon::here(files)).await,
        Command::Engines(args) => engines::run(args, LocalDaemon::here(files)).await,
        Command::Secrets(args) => {
            let loaded = files.clone().source(Flags::default()).load().concerning(SECRETS);
            let settings = loaded.valid()?;
            let registries = Registries::new(settings.token_servers_allowed.clone());
            secrets::run(args, app::secrets_config(&settings), &registries, LocalDaemon::here(files)).await
        }
        Command::Sshd(args) => sshd::run(args, files).await,
        Command::SshLogin(args) => ssh_login::login(&args),
        Command::SshKeys(args) => ssh_login::keys(&args),
        Command::Doctor(args) => doctor::run(*args, files).await,
        Command::Scaffold(args) => scaffold::run(&args),
        Command::Launch(args) => Ok(launch::run(args)),
        Command::Completions(args) => completions::run(&args),
        Command::Licenses(args) => licenses::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Settings that concern a subcommand for secrets. Other ones may be wrong, or in files that its user may not read.
const SECRETS: &[&str] = &[
    "DATA_DIR",
    "SECRETS_DIR",
    "ENC_PASSPHRASE",
    "TOKEN_SERVERS_ALLOWED",
    "AUTHORIZED_KEYS_FILE",
    "ETCD_HOST",
    "ETCD_PORT",
    "ETCD_ENDPOINTS",
    "ETCD_API",
    "ETCD_USER",
    "ETCD_PASSWORD",
    "ETCD_CACERT",
    "ETCD_CERT",
    "ETCD_KEY",
    "ETCD_TOTEM_BASE",
    "GIT_URL",
    "REPO_CASE",
];

/// Settings that say where the daemon of this machine is.
const LOCAL: &[&str] = &["LISTEN", "PORT", "BIND", "TLS_CERT", "TLS_KEY", "CERT_PATH", "DATA_DIR"];

/// The daemon of this machine, as its settings say. Subcommands use it unless the user names another one.
pub struct LocalDaemon {
    /// The address of LISTEN; loopback's, if LISTEN names every address.
    pub url: String,
    /// The file of the certificate that the daemon shows, if it speaks TLS.
    certificate: Option<PathBuf>,
    data_dir: PathBuf,
}

impl LocalDaemon {
    /// Reads where the daemon is. Settings that do not concern a client may be wrong.
    fn here(files: SettingsFiles) -> anyhow::Result<Self> {
        let settings = files.source(Flags::default()).load().concerning(LOCAL).valid()?;
        let certificate = settings.certificate().map(|(_, cert, _)| cert);
        let url = settings.listen.local_url(certificate.is_some());
        Ok(Self { url, certificate, data_dir: settings.data_dir() })
    }
}

/// The arguments that the subcommands with a daemon share. The token has no flag, because a command line is visible to all.
#[derive(Debug, clap::Args)]
pub struct ConnectionArgs {
    /// The daemon's address [default: IMAGE_FACTORY_URL, else this machine's daemon]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Write JSON: one document, or one line per event when a log is followed
    #[arg(long)]
    json: bool,
}

/// The arguments by which a build takes less from what the engine has.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FreshArgs {
    /// Look up base images in their registry: all of them (always), or those that the engine does not have (missing)
    /// [default: the daemon's PULL]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pull: Option<Pull>,
    /// Run every step, whatever the engine has in its cache
    #[arg(long)]
    no_cache: bool,
}

impl From<FreshArgs> for FreshBuild {
    fn from(FreshArgs { pull, no_cache }: FreshArgs) -> Self {
        Self { pull, no_cache }
    }
}

// Exit codes beside 0. clap's own code for wrong usage is 2.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const CANCELLED: u8 = 3;
const UNREACHED: u8 = 4;
const REFUSED: u8 = 5;
/// 128 + SIGINT, as in shells.
const INTERRUPTED: u8 = 130;

impl ConnectionArgs {
    /// Makes a client. `daemon` may be an error, because not every user may read the settings; a user who names a server does
    /// not need them.
    fn client(&self, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ApiClient> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (url, daemon) = match (self.url.clone().or_else(|| set("IMAGE_FACTORY_URL")), daemon) {
            (Some(url), daemon) => (url, daemon.ok()),
            (None, daemon) => {
                let daemon = daemon
                    .context("IMAGE_FACTORY_URL is not set, and the settings of this machine cannot be used: set it, or mend them")?;
                (daemon.url.clone(), Some(daemon))
            }
        };
        let daemon = daemon.filter(|daemon| url == daemon.url || is_this_machine(&url));
        // The daemon of this machine is known by its certificate's file. A user who may not read that relies on the
        // authorities.
        let mut trusted = daemon.as_ref().and_then(|daemon| std::fs::read(daemon.certificate.as_ref()?).ok());
        if let Some(path) = set("IMAGE_FACTORY_CACERT") {
            let named = std::fs::read(&path).with_context(|| format!("IMAGE_FACTORY_CACERT={path} cannot be read"))?;
            trusted.get_or_insert_default().extend([&b"\n"[..], &named].concat());
        }
        // The daemon is reached by its own socket, because while it is down every user may listen on its port.
        let daemon = daemon.filter(|daemon| is_same_place(&url, &daemon.url));
        let socket = daemon.as_ref().and_then(|daemon| own_socket::find(&daemon.data_dir));
        let mut token = set("IMAGE_FACTORY_TOKEN");
        let url = socket.as_ref().map_or(url, |socket| format!("unix:{}", socket.display()));
        // A user who may not read the daemon's own token goes without, because API_AUTH=none needs none.
        if let Some(daemon) = daemon
            && token.is_none()
            && let Ok(own) = std::fs::read_to_string(app::admin_token_path(&daemon.data_dir))
        {
            if socket.is_none() {
                let url = format!("unix:{}", own_socket::path(&daemon.data_dir).display());
                return Err(ClientError::Unreachable { url, cause: "the daemon has no socket there".into() }.into());
            }
            token = Some(own);
        }
        let token = token.map(|token| Zeroizing::new(token.trim().to_owned())).filter(|token| !token.is_empty());
        Ok(ApiClient::new(&url, token, trusted.as_deref())?)
    }
}

/// The reason why the arguments do not name what the subcommand needs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Writes to stderr why a subcommand failed, in one line. With `json` it is `{"code","message"}`: the server's own answer if
/// it refused. Returns the exit code.
fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let is_broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(is_broken_pipe) {
        // The reader of our output, for example `head`, has read enough.
        return ExitCode::SUCCESS;
    }
    let (code, hint) = match error.downcast_ref() {
        _ if error.is::<UsageError>() => (USAGE, ""),
        Some(ClientError::Address { .. }) => (USAGE, ""),
        Some(
            ClientError::Unreachable { .. } | ClientError::Unavailable { .. } | ClientError::UnexpectedAnswer { .. },
        ) => (UNREACHED, ""),
        Some(ClientError::Refused { status: 401, .. }) => {
            (REFUSED, "; set IMAGE_FACTORY_TOKEN, or run this as a user who may read DATA_DIR/admin-token")
        }
        Some(ClientError::Refused { .. } | ClientError::NoJobOf { .. }) => (REFUSED, ""),
        None => (FAILED, ""),
    };
    let mut stderr = io::stderr();
    let _ = match error.downcast_ref() {
        Some(ClientError::Refused { answer, .. }) if json => writeln!(stderr, "{}", json!(answer)),
        _ if json => writeln!(stderr, "{}", json!({ "code": null, "message": format!("{error:#}") })),
        _ => writeln!(stderr, "image-factory: {error:#}{hint}"),
    };
    ExitCode::from(code)
}

/// Returns the exit code of a job's result.
fn exit_code(job: &RemoteJob) -> ExitCode {
    match job.status {
        _ if job.cancelled => ExitCode::from(CANCELLED),
        Status::Failure => ExitCode::from(FAILED),
        _ => ExitCode::SUCCESS,
    }
}

/// Returns the job's state in one word.
fn state(job: &RemoteJob) -> &'static str {
    if job.cancelled { "cancelled" } else { job.status.as_str() }
}

/// Returns the word in green, red or yellow if `colors` is set.
fn colored(word: &str, state: &str, colors: bool) -> String {
    let color = match state {
        "success" => 32,
        "failure" => 31,
        "running" | "cancelled" => 33,
        _ => 0,
    };
    if colors && color != 0 { format!("\x1b[{color}m{word}\x1b[0m") } else { word.into() }
}

/// True for a terminal, unless NO_COLOR (no-color.org) is set.
fn colors_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Replaces the control characters in a sender's text, because they would move the terminal's cursor or the text itself.
fn plain(text: &str) -> String {
    escape_bidi(text).chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Formats a duration as `4.2s`, `1m05s`, `2h03m` or `5d`.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86400),
    }
}

/// Prints one JSON document on a line of its own.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
