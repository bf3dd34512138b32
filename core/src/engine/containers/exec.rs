//! Commands beside a container's own.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::TryStreamExt;
use hyper::StatusCode;
use tokio::time::{Instant, sleep};

use super::output::LastLine;
use super::transport::of_bollard;
use super::{ContainerExit, RunContainer};
use crate::engine::api::errors::EngineError;
use crate::model::LogSink;

/// Time in which a container that was made is started.
const START: Duration = Duration::from_secs(60);
/// Podman's words about a container that is not running, which come with the status 500.
const NOT_RUNNING: &str = "can only create exec sessions on running containers";
const START_PAUSE: Duration = Duration::from_millis(50);
/// Longest standard output that is taken, in bytes.
const LARGEST: usize = 8 << 20;

impl RunContainer<'_> {
    /// Runs a command in the container, whose own command is just being started or runs, and waits for its end. The output
    /// goes to the log.
    pub async fn exec(&self, command: &[&str], log: &dyn LogSink) -> Result<ContainerExit, EngineError> {
        self.all.member.until_lost(Box::pin(self.try_exec(command, log, None))).await
    }

    /// Runs a command like [`RunContainer::exec`], and returns its standard output, of at most 8 MiB, instead of logging it.
    pub async fn exec_taking(
        &self,
        command: &[&str],
        log: &dyn LogSink,
    ) -> Result<(ContainerExit, Vec<u8>), EngineError> {
        let mut taken = Vec::new();
        let exit = self.all.member.until_lost(Box::pin(self.try_exec(command, log, Some(&mut taken)))).await?;
        Ok((exit, taken))
    }

    async fn try_exec(
        &self,
        command: &[&str],
        log: &dyn LogSink,
        mut taken: Option<&mut Vec<u8>>,
    ) -> Result<ContainerExit, EngineError> {
        let id = self.create_exec(command).await?;
        let StartExecResults::Attached { mut output, input: _input } =
            self.docker.start_exec(&id, None).await.map_err(of_bollard)?
        else {
            return Err(EngineError::engine("the Docker engine did not attach to a command that it ran"));
        };
        let mut last = LastLine::default();
        while let Some(piece) = output.try_next().await.map_err(of_bollard)? {
            match (&mut taken, &piece) {
                (Some(taken), LogOutput::StdOut { message }) => {
                    taken.extend(&message[..message.len().min(LARGEST - taken.len())]);
                    log.alive();
                }
                _ => {
                    log.write(piece.as_ref());
                    last.add(piece.as_ref());
                }
            }
        }
        let code = self.docker.inspect_exec(&id).await.map_err(of_bollard)?.exit_code;
        let unknown = || EngineError::engine("the Docker engine did not say how a command ended");
        let code = code.ok_or_else(unknown)? as i32;
        Ok(ContainerExit { code, last_line: log.masked(&last.text(code)), killed: None, not_in: None })
    }

    /// Waits until the container's own command runs.
    async fn create_exec(&self, command: &[&str]) -> Result<String, EngineError> {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let begun = Instant::now();
        loop {
            match self.docker.create_exec(&self.id, options.clone()).await.map_err(of_bollard) {
                // The container is not running yet.
                Err(error)
                    if (error.status == Some(StatusCode::CONFLICT) || error.message.contains(NOT_RUNNING))
                        && begun.elapsed() < START =>
                {
                    sleep(START_PAUSE).await;
                }
                created => return Ok(created?.id),
            }
        }
    }
}
