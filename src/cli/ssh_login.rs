use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::app::login;

/// Start the shell of an ssh session; sshd runs this
#[derive(Debug, clap::Args)]
pub struct SshLoginArgs {
    /// Folder of `image-factory sshd`
    run_dir: PathBuf,
}

/// Print the line of an authorized key; sshd runs this
#[derive(Debug, clap::Args)]
pub struct SshKeysArgs {
    /// Folder of `image-factory sshd`
    run_dir: PathBuf,
    /// The key, as `SHA256:…`
    fingerprint: String,
}

/// Runs the subcommand `ssh-login`: becomes the user's shell, with the variables that `image-factory sshd` answers.
pub fn login(args: &SshLoginArgs) -> anyhow::Result<ExitCode> {
    let stream = connect(login::session_socket(&args.run_dir))?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    let (mut variables, mut is_admitted) = (Vec::new(), false);
    for line in BufReader::new(&stream).lines() {
        match line?.split_once('=') {
            Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
            None => {
                is_admitted = true;
                break;
            }
        }
    }
    anyhow::ensure!(is_admitted, "your key was removed from the authorized keys: ask who stores them");
    // The connection stays open in the shell and its children, so that its end is the session's.
    fcntl_setfd(&stream, FdFlags::empty())?;
    let args = match std::env::var_os("SSH_ORIGINAL_COMMAND") {
        Some(line) => vec!["-c".into(), line],
        None => vec!["-l".into()],
    };
    Err(login::replace_self(shell.as_ref(), &args, &variables, None)).with_context(|| format!("{shell} cannot be run"))
}

/// Runs the subcommand `ssh-keys`. It prints nothing for a key that may not log in.
pub fn keys(args: &SshKeysArgs) -> anyhow::Result<ExitCode> {
    let mut stream = connect(login::keys_socket(&args.run_dir))?;
    writeln!(stream, "{}", args.fingerprint)?;
    io::copy(&mut stream, &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn connect(socket: PathBuf) -> anyhow::Result<UnixStream> {
    UnixStream::connect(socket).context("`image-factory sshd` does not answer: start it again")
}
