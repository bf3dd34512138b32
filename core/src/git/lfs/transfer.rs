//! LFS by ssh alone (`docs/proposals/ssh_adapter.md` of git-lfs): `git-lfs-transfer PATH download` on the server speaks
//! pkt-lines. We use its commands for a download: `version`, `batch`, `get-object` and `quit`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::http::is_transient_status;
use super::incoming::{Incoming, not_stored};
use super::method::MethodError;
use super::pkt::{PktLine, PktReader, message};
use super::shell::{CommandFailure, RemoteShell, one_line, read_tail};
use super::{AT_ONCE, BATCH, LfsStore, WantedObject};
use crate::git::errors::{LFS_LOGIN, LFS_TROUBLE, MISSING_LFS_FILE, NO_LFS};
use crate::git::{Fault, GitError};
use crate::process::Running;

/// Longest answer that is kept: 100 objects take 10 KB, with long tokens 100 KB.
const LONGEST_ANSWER: usize = 4 << 20;
/// Longest wait for a server to end a session that has nothing more to do.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// Sessions with one server. In each, a `git-lfs-transfer` waits for commands.
pub struct SshTransfer<'a> {
    shell: &'a RemoteShell<'a>,
    sessions: Vec<TransferSession>,
}

struct TransferSession {
    stdin: ChildStdin,
    packets: PktReader<ChildStdout>,
    running: Running,
    stderr: AbortOnDropHandle<String>,
}

/// An answer without its data. `lines` are those behind the delimiter of an answer that has no data.
#[derive(Default)]
struct TransferAnswer {
    status: u16,
    arguments: Vec<String>,
    lines: Vec<String>,
    has_data: bool,
}

/// Words that the server gave with an object in the batch, and expects in the request for it.
type ObjectTokens = Vec<String>;

impl<'a> SshTransfer<'a> {
    /// Opens the first session. `Unavailable` means that the server has no such program, or another version of it.
    pub async fn open(shell: &'a RemoteShell<'a>) -> Result<Self, MethodError> {
        Ok(Self { sessions: vec![TransferSession::open(shell).await?], shell })
    }

    /// Fetches these objects into the store, also those that the store has for others, as the batch API's client does.
    pub async fn fetch(&mut self, wanted: &[WantedObject], store: &LfsStore, access: &str) -> Result<(), GitError> {
        // Each further session costs a connection, unless the sessions share one.
        let sessions = if self.shell.is_shared() { AT_ONCE.min(wanted.len()) } else { 1 };
        for wanted in wanted.chunks(BATCH) {
            let [first, ..] = &mut self.sessions[..] else { return Ok(()) };
            let tokens = first.batch(wanted, self.shell).await?;
            while self.sessions.len() < sessions {
                let session = TransferSession::open(self.shell).await.map_err(|error| match error {
                    MethodError::Failed(error) => error,
                    MethodError::Unavailable => broken(self.shell, "it has no second session"),
                })?;
                self.sessions.push(session);
            }
            let queue = Mutex::new(wanted.iter().zip(tokens));
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let shell = self.shell;
            try_join_all(self.sessions.iter_mut().map(|session| async move {
                while let Some((wanted, tokens)) = next() {
                    session.get(wanted, tokens, store, shell).await?;
                    store.grant(&wanted.oid, access).map_err(|error| not_stored(wanted, &error))?;
                }
                Ok::<_, GitError>(())
            }))
            .await?;
        }
        Ok(())
    }

    /// Ends the sessions by the protocol. A server that does not end in time is cut off.
    pub async fn quit(self) {
        let quits = self.sessions.into_iter().map(async |mut session| {
            let _ = session.stdin.write_all(&message("quit", &[], None)).await;
            let _ = session.packets.next().await;
            let _ = session.running.wait().await;
        });
        let _ = timeout(QUIT_LIMIT, futures_util::future::join_all(quits)).await;
    }
}

impl TransferSession {
    async fn open(shell: &RemoteShell<'_>) -> Result<Self, MethodError> {
        let mut running = shell.start("git-lfs-transfer")?;
        let stderr = AbortOnDropHandle::new(tokio::spawn(read_tail(running.stderr())));
        let (Some(stdin), Some(stdout)) = (running.stdin(), running.stdout()) else {
            return Err(MethodError::Unavailable);
        };
        let mut session = Self { stdin, packets: PktReader::new(stdout), running, stderr };
        match session.negotiate().await {
            Ok(true) => Ok(session),
            Ok(false) => Err(MethodError::Unavailable),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                Err(broken(shell, "git-lfs-transfer says nothing").into())
            }
            // A text that is no pkt-line comes from a shell, or from a server that allows other commands only.
            Err(_) => match session.end(shell).await {
                CommandFailure::Ssh(error) => Err(error.into()),
                CommandFailure::Command(..) => Err(MethodError::Unavailable),
            },
        }
    }

    /// Reads what the server can do, and chooses version 1.
    async fn negotiate(&mut self) -> std::io::Result<bool> {
        let (mut has_version, mut size) = (false, 0);
        loop {
            match self.packets.next().await? {
                PktLine::Data(line) => {
                    has_version = has_version || line.trim_ascii_end() == b"version=1";
                    size += line.len();
                }
                PktLine::Flush if has_version => break,
                _ => return Ok(false),
            }
            if size > LONGEST_ANSWER {
                return Ok(false);
            }
        }
        self.stdin.write_all(&message("version 1", &[], None)).await?;
        Ok(self.answer(false).await?.status == 200)
    }

    /// Ends a program that stopped speaking the protocol, and returns its failure.
    async fn end(mut self, shell: &RemoteShell<'_>) -> CommandFailure {
        // The program may be waiting for our input.
        drop((self.stdin, self.packets));
        let status = match timeout(QUIT_LIMIT, self.running.wait()).await {
            Ok(Ok(status)) => status.code(),
            Ok(Err(error)) => return CommandFailure::Ssh(error.into()),
            Err(_) => Some(1),
        };
        drop(self.running);
        let words = (&mut self.stderr).await.unwrap_or_default();
        shell.failure_of(status, &words)
    }

    /// Returns the server's words for each of these objects, in their order.
    async fn batch(&mut self, wanted: &[WantedObject], shell: &RemoteShell<'_>) -> Result<Vec<ObjectTokens>, GitError> {
        let (host, repo) = (shell.host(), &shell.source().repo);
        let lines: Vec<_> = wanted.iter().map(|wanted| format!("{} {}", wanted.oid, wanted.size)).collect();
        let request = message("batch", &["transfer=ssh".into(), "hash-algo=sha256".into()], Some(&lines));
        let TransferAnswer { status, arguments, lines, .. } = self.command(&request, false, shell).await?;
        if status != 200 {
            let said = lines.first().map(|line| format!(": {}", one_line(line))).unwrap_or_default();
            let (refusal, fault) = match status {
                401 | 403 => (LFS_LOGIN, Fault::Config),
                404 => (NO_LFS, Fault::Request),
                status => (LFS_TROUBLE, fault(status)),
            };
            let message = refusal.text(&[&host, &repo, &format!("git-lfs-transfer: {status}{said}")]);
            return Err(GitError { exit_code: 1, message, fault });
        }
        if let Some(other) = arguments.iter().find(|a| a.starts_with("hash-algo=") && *a != "hash-algo=sha256") {
            let message =
                format!("{host} gives the LFS files of {repo} by another hash ({}) than SHA-256", one_line(other));
            return Err(GitError::refused(message));
        }
        let mut tokens = HashMap::new();
        for line in &lines {
            let mut words = line.split(' ');
            if let (Some(oid), Some(_size), Some("download")) = (words.next(), words.next(), words.next()) {
                let is_for_later = |word: &&str| word.starts_with("id=") || word.starts_with("token=");
                tokens.insert(oid, words.filter(is_for_later).map(str::to_owned).collect::<ObjectTokens>());
            }
        }
        let missing = |object: &WantedObject| MISSING_LFS_FILE.error(&[&host, object, &repo, &"git-lfs-transfer"]);
        let of = |object: &WantedObject| tokens.get(object.oid.to_string().as_str()).cloned();
        wanted.iter().map(|object| of(object).ok_or_else(|| missing(object))).collect()
    }

    async fn get(
        &mut self,
        wanted: &WantedObject,
        tokens: ObjectTokens,
        store: &LfsStore,
        shell: &RemoteShell<'_>,
    ) -> Result<(), GitError> {
        let arguments = [vec![format!("size={}", wanted.size)], tokens].concat();
        let request = message(&format!("get-object {}", wanted.oid), &arguments, None);
        let answer = self.command(&request, true, shell).await?;
        if answer.status != 200 || !answer.has_data {
            let (host, status) = (shell.host(), answer.status);
            let said = answer.lines.first().map(|line| format!(": {}", one_line(line))).unwrap_or_default();
            let message = format!("{host} does not give out {wanted}: git-lfs-transfer says {status}{said}");
            return Err(GitError { exit_code: 1, message, fault: fault(status) });
        }
        let mut incoming = Incoming::new(wanted, store)?;
        loop {
            match self.packets.next().await {
                Ok(PktLine::Data(chunk)) => {
                    if !incoming.write(chunk).await? {
                        break;
                    }
                }
                Ok(PktLine::Flush) => break,
                Ok(PktLine::Delimiter) => return Err(broken(shell, "a delimiter within an object")),
                Err(error) => return Err(broken(shell, &error.to_string())),
            }
        }
        incoming.finish(shell.host(), store).await
    }

    async fn command(
        &mut self,
        request: &[u8],
        has_data: bool,
        shell: &RemoteShell<'_>,
    ) -> Result<TransferAnswer, GitError> {
        // A failed write is ignored, because the server's answer or its end says more.
        let _ = self.stdin.write_all(request).await;
        self.answer(has_data).await.map_err(|error| broken(shell, &error.to_string()))
    }

    /// Reads `status N`, arguments and, behind a delimiter, lines. The data of a success that has data is left unread.
    async fn answer(&mut self, has_data: bool) -> std::io::Result<TransferAnswer> {
        let no_answer = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what);
        let (mut answer, mut is_behind, mut size) = (TransferAnswer::default(), false, 0);
        loop {
            let line = match self.packets.next().await? {
                PktLine::Flush if answer.status != 0 => return Ok(answer),
                PktLine::Delimiter if answer.status == 200 && has_data => {
                    return Ok(TransferAnswer { has_data, ..answer });
                }
                PktLine::Delimiter if answer.status != 0 && !is_behind => {
                    is_behind = true;
                    continue;
                }
                PktLine::Data(line) => line,
                _ => return Err(no_answer("its answer has no status")),
            };
            // A line costs some memory besides its text.
            size += line.len() + 64;
            if size > LONGEST_ANSWER {
                return Err(no_answer("its answer is too long"));
            }
            let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
            match (answer.status, is_behind) {
                (0, _) => {
                    let status = line.strip_prefix("status ").and_then(|status| status.parse().ok());
                    answer.status =
                        status.filter(|s| *s >= 100).ok_or_else(|| no_answer("its answer has no status"))?;
                }
                (_, false) => answer.arguments.push(line),
                (_, true) => answer.lines.push(line),
            }
        }
    }
}

fn fault(status: u16) -> Fault {
    Fault::server_if(StatusCode::from_u16(status).is_ok_and(is_transient_status))
}

fn broken(shell: &RemoteShell<'_>, why: &str) -> GitError {
    let (host, repo) = (shell.host(), &shell.source().repo);
    let message =
        format!("{host} broke off while it gave the LFS files of {repo} by git-lfs-transfer ({why}): try again");
    GitError { exit_code: 1, message, fault: Fault::Server }
}
