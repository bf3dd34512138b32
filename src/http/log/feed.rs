use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use tokio::sync::watch;

use crate::http::ApiState;
use crate::http::auth::RepoCaller;
use crate::http::credentials::CredentialSet;
use crate::http::error::ApiError;
use crate::http::extract::ConveyorCaller;
use crate::http::serve::FollowerPlace;
use crate::logs::LogFollower;
use crate::model::{Job, JobId, Status};

/// A log for one reader, until its job ends, the daemon stops, or the reader's token is revoked.
pub struct LogFeed {
    api: Arc<ApiState>,
    follower: LogFollower,
    job: JobId,
    repository: String,
    reader: LogReader,
    credentials: watch::Receiver<Arc<CredentialSet>>,
    /// False from a change of the credentials until the reader was looked at.
    is_admitted: bool,
    _place: FollowerPlace,
}

/// The reader of a log, which is looked at again when tokens change.
pub enum LogReader {
    /// Everybody may read the log.
    Anyone,
    /// The sender of this `Authorization`, or of none.
    Caller(Option<HeaderValue>),
    /// The same for Conveyor's API, which has a login of its own.
    ConveyorCaller(Option<HeaderValue>),
}

impl LogReader {
    /// Returns the sender of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::Caller(authorization(headers))
    }

    /// Returns the sender of a request to Conveyor's API.
    pub fn of_conveyor(headers: &HeaderMap) -> Self {
        Self::ConveyorCaller(authorization(headers))
    }
}

/// Copies the header. A clone would keep the 8 KiB that the request's headers were read into, as long as the log is followed.
fn authorization(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::AUTHORIZATION).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok())
}

/// The next part of a log, or the reason why there is none.
pub enum Piece {
    /// Never empty, and at most 64 KiB.
    Bytes(Bytes),
    /// The job has ended so.
    End(Status),
    /// The daemon stops.
    Stopped,
    /// The token was revoked.
    Refused,
}

impl LogFeed {
    /// Opens the log at a position for a reader who may see the job.
    ///
    /// # Errors
    /// The log has not as many bytes, or all places of followers are taken.
    pub async fn open(api: &Arc<ApiState>, job: &Job, start: u64, reader: LogReader) -> Result<Self, ApiError> {
        let len = length(api, job.id).await?;
        if start > len {
            return Err(ApiError::Range(len));
        }
        let place = api.places.follow()?;
        let mut follower = api.logs.follow(job.id, start);
        // The state is read now that the follower listens, because the job may have ended before without waking it.
        if api.store.job(job.id).await?.is_none_or(|job| job.status.is_terminal()) {
            follower.stop_at_end();
        }
        Ok(Self {
            api: api.clone(),
            follower,
            job: job.id,
            repository: job.repository.clone(),
            reader,
            credentials: api.credentials.changes(),
            // The token may have been revoked since it was looked at.
            is_admitted: false,
            _place: place,
        })
    }

    /// Returns the next part. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> io::Result<Piece> {
        loop {
            if !self.is_admitted {
                // A follower has no room for this look while it waits for the log.
                if !Box::pin(self.may_see()).await {
                    return Ok(Piece::Refused);
                }
                self.is_admitted = true;
            }
            tokio::select! {
                // A reader that is always behind is looked at all the same.
                biased;
                _ = self.credentials.changed() => self.is_admitted = false,
                bytes = self.follower.next() => {
                    let Some(bytes) = bytes? else { break };
                    return Ok(Piece::Bytes(bytes));
                }
                () = self.api.closing.cancelled() => return Ok(Piece::Stopped),
            }
        }
        let job = self.api.store.job(self.job).await.map_err(io::Error::other)?;
        Ok(match job.map(|job| job.status).filter(|status| status.is_terminal()) {
            Some(status) => Piece::End(status),
            None => Piece::Stopped,
        })
    }

    /// True if a request with the same credentials would be let in. While the store cannot be asked it is true.
    async fn may_see(&self) -> bool {
        let (authorization, is_conveyor) = match &self.reader {
            LogReader::Anyone => return true,
            LogReader::Caller(authorization) => (authorization, false),
            LogReader::ConveyorCaller(authorization) => (authorization, true),
        };
        let mut request = Request::new(());
        if let Some(authorization) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let mut parts = request.into_parts().0;
        let caller = match is_conveyor {
            true => {
                ConveyorCaller::from_request_parts(&mut parts, &self.api).await.map(|ConveyorCaller(caller)| caller)
            }
            false => RepoCaller::from_request_parts(&mut parts, &self.api).await,
        };
        match caller {
            Ok(caller) => caller.may_see(&self.api, &self.repository),
            Err(error) => error.status().is_server_error(),
        }
    }
}

/// Returns the number of bytes that the log has so far.
pub async fn length(api: &ApiState, job: JobId) -> Result<u64, ApiError> {
    let len = api.logs.len(job).await;
    len.map_err(|error| ApiError::Internal(format!("the log of job {job}: {error}")))
}
