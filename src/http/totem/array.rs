//! Jobs as one JSON array, which goes out in parts if it is long: 1,000 jobs may have 40 MB of Dockerfiles.

use std::sync::Arc;

use axum::BoxError;
use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt, stream};

use super::views::JobView;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::memory::MemoryClaim;
use crate::model::JobId;
use crate::store::JobFilter;

/// Bytes of the first part. A list that has no more is complete in memory, such as one of 1,000 everyday jobs.
const WHOLE: usize = 2 << 20;
/// Bytes of each further part.
const PART: usize = 256 << 10;
/// Number of jobs that are read at once, and bytes of what their senders wrote at which there are fewer.
const READ: (usize, usize) = (20, 64 << 10);
/// Memory for the jobs that are read at once and for their text, in bytes. JSON makes up to six bytes of one, and a job in
/// memory takes up to ten times what its sender wrote, 60 KB at most.
const JOBS: u64 = 2 << 20;

/// A list of jobs that is written.
pub struct JobList {
    api: Arc<ApiState>,
    filter: JobFilter,
    /// The next jobs.
    ids: Vec<JobId>,
    /// True if jobs follow behind these until there are no more.
    is_whole: bool,
    /// The last job that was written.
    last: Option<JobId>,
    is_begun: bool,
    is_ended: bool,
}

impl JobList {
    /// Number of ids that are read at once.
    pub const IDS: u32 = 1000;
    /// Memory that the first part needs, in bytes.
    pub const FIRST: u64 = WHOLE as u64 + JOBS;

    /// Makes the list of these jobs, which meet the filter. With `is_whole` those behind them follow.
    pub fn new(api: Arc<ApiState>, filter: JobFilter, ids: Vec<JobId>, is_whole: bool) -> Self {
        Self { api, filter, ids, is_whole, last: None, is_begun: false, is_ended: false }
    }

    /// Returns the body of an answer, and true if it is complete in memory. `claim` is for the first part.
    pub async fn into_body(mut self, claim: MemoryClaim) -> Result<(Body, bool), ApiError> {
        let first = claim.hold(self.part(WHOLE).await?);
        if self.is_ended {
            return Ok((first.into(), true));
        }
        let first = stream::once(async { Ok(first) });
        Ok((Body::from_stream(first.chain(self.into_parts())), false))
    }

    /// Returns the further parts. A fault breaks the answer off, so that no client takes a part for the whole.
    fn into_parts(self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
        stream::try_unfold(self, |mut list| async move {
            if list.is_ended {
                return Ok(None);
            }
            let part = async {
                let claim = list.api.answers.claim(PART as u64 + JOBS).await?;
                Ok::<_, ApiError>(claim.hold(list.part(PART).await?))
            };
            let part = part.await.map_err(|error| error.cause().unwrap_or(error.code()).to_owned());
            let part = part.inspect_err(|error| tracing::error!(error, "a list broke off"))?;
            Ok(Some((part, list)))
        })
    }

    /// Returns the next part, of a little more than `size` bytes, or the rest.
    async fn part(&mut self, size: usize) -> Result<Vec<u8>, ApiError> {
        let (mut text, mut order) = (Vec::new(), None);
        while text.len() < size && !self.is_ended {
            if self.ids.is_empty() && self.is_whole {
                self.ids = self.api.store.job_ids_like(&self.filter, Self::IDS, self.last).await?;
            }
            let next = &self.ids[..self.ids.len().min(READ.0)];
            let (jobs, looked) = self.api.store.first_jobs(next, READ.1).await?;
            let Some(last) = self.ids.drain(..looked).next_back() else {
                text.extend(if self.is_begun { &b"]"[..] } else { b"[]" });
                self.is_ended = true;
                break;
            };
            self.last = Some(last);
            // A job may have got another status since its id was found.
            for job in jobs.iter().filter(|job| self.filter.status.is_none_or(|status| job.status == status)) {
                let waiting = self.api.queue.wait_reason_in(job, &mut order).await?;
                text.push(if self.is_begun { b',' } else { b'[' });
                self.is_begun = true;
                serde_json::to_writer(&mut text, &JobView::waiting((job, waiting)))
                    .map_err(|error| ApiError::Internal(format!("writing JSON: {error}")))?;
            }
        }
        text.shrink_to_fit();
        Ok(text)
    }
}
