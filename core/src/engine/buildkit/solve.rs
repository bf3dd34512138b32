//! The request to BuildKit that builds an image, and its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use hyper::Method;
use prost::Message;

use super::progress::BuildkitProgress;
use crate::engine::advice::{self, with_cure};
use crate::engine::api::connect::{invalid, no_body, request};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::{EngineError, StepReport, write_line};
use crate::engine::api::messages::MessageStream;
use crate::engine::request::{ImageBuild, StepCounts};
use crate::model::{BuildNetwork, LogSink};

impl Engine {
    /// Sends one `POST /build` and follows it to its end. The session with this id serves the context.
    pub(in crate::engine) async fn build_by_buildkit(
        &self,
        build: &ImageBuild<'_>,
        session: &str,
        log: &dyn LogSink,
    ) -> Result<(String, StepCounts), EngineError> {
        let path = build.path(
            build.dockerfile,
            build.network.map(BuildNetwork::as_str),
            &[("version", "2"), ("buildid", &build.build_id), ("remote", "client-session"), ("session", session)],
        );
        let request = request(Method::POST, &path).body(no_body()).map_err(invalid)?;
        let reply = self.send(request).await?.accepted().await.map_err(EngineError::classify_refusal)?;

        let mut progress = BuildkitProgress::default();
        let result = follow(MessageStream::new(reply), &mut progress, log).await;
        log.write(&progress.finish());
        let result = result.and_then(|ended| {
            ended.map_err(|message| {
                let step = progress.failed_step().map(|(name, last)| StepReport::masked(name, &last, log));
                EngineError::from_build(&message, step)
            })
        });
        if progress.is_clipped() {
            write_line(log, CLIPPED);
        }
        result.map(|image_id| (image_id, progress.steps())).map_err(|mut e| {
            if let Some(platform) = build.platform.filter(|_| progress.is_foreign()) {
                e.message += &format!("; {}", with_cure(&advice::FOREIGN_PLATFORM, &[&platform]));
            }
            e
        })
    }
}

/// Line for a step that wrote more than the engine passes on: 1 MiB (2 MiB in later engines), and 200 KiB/s. The
/// limits are not set to -1 (unlimited), because Docker 20.10 then leaves out everything. With a higher speed Docker
/// 20.10 may never end the build, see [`MAX_EMPTY_REPORTS`].
const CLIPPED: &str = "The engine left out a part of a step's output. To keep it all, set \
    BUILDKIT_STEP_LOG_MAX_SIZE=1073741824 and, unless it is Docker 20.10, BUILDKIT_STEP_LOG_MAX_SPEED=1073741824 in \
    dockerd's environment";

/// Number of empty reports in a row after which a build is given up. Docker 20.10 does not recover from more than 1
/// MiB of output at once: it sends thousands of empty reports a second for ever, and never the build's end
/// (<https://github.com/moby/buildkit/issues/1915>). No other build has so many in a row.
const MAX_EMPTY_REPORTS: u32 = 1000;

/// Reads the answer to its end and returns the image's id, or the message with which the build failed. The status of the answer is 200 even if the build fails, so
/// a build has succeeded if the answer names an image and ends without an error.
async fn follow(
    mut messages: MessageStream,
    progress: &mut BuildkitProgress,
    log: &dyn LogSink,
) -> Result<Result<String, String>, EngineError> {
    let (mut image, mut empty) = (None, 0);
    while let Some(message) = messages.next().await? {
        if let Some(error) = message.error() {
            return Ok(Err(error.to_owned()));
        }
        match message.id.as_str() {
            "moby.buildkit.trace" => {
                let trace = message.aux.as_str().and_then(|text| STANDARD.decode(text).ok());
                empty = if trace.as_ref().is_some_and(Vec::is_empty) { empty + 1 } else { 0 };
                if empty == 0 {
                    log.alive();
                }
                if empty == MAX_EMPTY_REPORTS {
                    return Err(EngineError::engine(with_cure(&advice::ENDLESS_OUTPUT, &[])));
                }
                // A report with a name that is not UTF-8 is skipped, and the build goes on.
                if let Some(Ok(status)) = trace.map(|bytes| StatusResponse::decode(bytes.as_slice())) {
                    let text = progress.add(status);
                    if !text.is_empty() {
                        log.write(&text);
                    }
                }
            }
            "moby.image.id" => image = message.aux["ID"].as_str().map(str::to_owned),
            _ => {}
        }
    }
    image.map(Ok).ok_or_else(|| EngineError::engine(with_cure(&advice::NO_IMAGE, &[])))
}
