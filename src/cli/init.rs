use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser as _;

use super::{Cli, Command, SettingsFiles};
use crate::app::login;
use crate::container::{self, SshdCommand, Surroundings};
use crate::settings::{Flags, Settings, SshdChoice, SyslogTarget};
use crate::telemetry;

/// Settings that concern the subcommand. The daemon itself says what is wrong with the others.
const INIT: &[&str] = &[
    "DATA_DIR",
    "DOCKER_HOST",
    "DOCKER_HOSTS",
    "POOL_FILE",
    "DOCKERD_ARGS",
    "INSECURE_REGISTRIES",
    "REGISTRY_MIRROR",
    "LOG_FORMAT",
    "RUST_LOG",
    "NO_COLOR",
    "LOG_IDENTIFIER",
    "SSHD",
];

/// Run the daemon, or another subcommand, as a container's first process
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Subcommand to run as user 8080 with the group of the engine's socket, or options of `serve` [default: serve]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the subcommand. The exit code is that of the daemon or of the command.
pub async fn run(args: InitArgs, files: SettingsFiles) -> anyhow::Result<ExitCode> {
    container::check_container()?;
    let own = std::env::current_exe()?;
    let command = command(args.command, &files);
    let parsed = Cli::try_parse_from([own.clone().into_os_string()].iter().chain(&command));
    let parsed = parsed.ok().map(|cli| cli.command);
    let flags = match &parsed {
        Some(Command::Serve(args)) => args.flags.clone(),
        _ => Flags::default(),
    };
    let mut settings = files.clone().source(flags.clone()).load().concerning(INIT).valid()?;
    let is_one = settings.docker_hosts.0.is_empty() && settings.pool_file.is_none();
    let mut surroundings = Surroundings {
        data_dir: settings.data_dir(),
        engine: is_one.then(|| settings.docker_host.clone()),
        dockerd_args: dockerd_args(&settings),
        sshd: None,
    };
    match parsed {
        Some(Command::Serve(args)) if !args.check => {}
        // The one subcommand that root runs.
        Some(Command::Sshd(_)) => return Err(container::replace_by(&surroundings, &own, &command, false).into()),
        _ => return Err(container::replace_by(&surroundings, &own, &command, true).into()),
    }
    // The container's log has these lines; the daemon's alone go to syslog, too.
    settings.syslog = Some(SyslogTarget::Off);
    telemetry::init(&settings)?;
    surroundings.sshd = match settings.sshd {
        SshdChoice::Off => None,
        // The daemon says why it stays closed.
        SshdChoice::Auto => login::check(&settings).ok().map(|()| sshd(flags, &files)),
    };
    Ok(ExitCode::from(container::run(&surroundings, &own, &command).await?))
}

/// Returns the arguments of the program that is to run: the given ones, with `serve` where they name no subcommand, and the
/// files of settings that this subcommand was given.
fn command(given: Vec<OsString>, files: &SettingsFiles) -> Vec<OsString> {
    let given: Vec<_> = given.into_iter().skip_while(|arg| arg == "init").collect();
    let is_whole =
        given.first().is_some_and(|arg| !arg.as_bytes().starts_with(b"-") || arg == "--version" || arg == "-V");
    let serve = (!is_whole).then(|| "serve".into());
    files.args().chain(serve).chain(given).collect()
}

/// Returns the `image-factory sshd` that has the settings of this daemon.
fn sshd(flags: Flags, files: &SettingsFiles) -> SshdCommand {
    SshdCommand {
        args: files.args().chain(["sshd".into()]).collect(),
        variables: flags.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

/// Returns the arguments of the engine inside of the container.
fn dockerd_args(settings: &Settings) -> Vec<String> {
    let insecure = settings.insecure_registries.0.iter().map(|registry| insecure_flag(registry));
    let mirror = settings.registry_mirror.iter().map(|mirror| format!("--registry-mirror={mirror}"));
    let more = settings.dockerd_args.iter().flat_map(|args| args.split_whitespace()).map(str::to_owned);
    insecure.chain(mirror).chain(more).collect()
}

/// Returns the argument for a registry without TLS, or for a range of addresses. The BuildKit of Docker 20.10 takes only an
/// entry with its scheme for one without TLS. dockerd itself does without it.
fn insecure_flag(registry: &str) -> String {
    let scheme = if registry.contains('/') { "" } else { "http://" };
    format!("--insecure-registry={scheme}{registry}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insecure_registry_has_its_scheme_and_a_range_has_none() {
        for (registry, expected) in [
            ("registry.example.com:5000", "--insecure-registry=http://registry.example.com:5000"),
            ("http://registry.example.com", "--insecure-registry=http://registry.example.com"),
            ("192.0.2.0/24", "--insecure-registry=192.0.2.0/24"),
        ] {
            assert_eq!(insecure_flag(registry), expected);
        }
    }

    #[test]
    fn what_is_no_subcommand_is_an_option_of_serve() {
        let made = |given: &[&str], config: Option<&str>| {
            let files = SettingsFiles { config: config.map(Into::into), env_file: None };
            let made = command(given.iter().map(Into::into).collect(), &files);
            made.join(" ".as_ref()).into_string().unwrap()
        };
        for (given, config, expected) in [
            (&[][..], None, "serve"),
            (&["init"], None, "serve"),
            (&["--listen", "[::]:80"], Some("/f"), "--config /f serve --listen [::]:80"),
            (&["jobs", "--json"], Some("/f"), "--config /f jobs --json"),
            (&["--version"], None, "--version"),
        ] {
            assert_eq!(made(given, config), expected);
        }
    }
}
