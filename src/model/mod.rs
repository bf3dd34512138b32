//! The nouns of the domain and the rules that need no I/O.

mod access;
mod advice;
mod backoff;
mod commit;
mod destination;
mod failure;
mod further;
mod grants;
mod image;
mod job;
mod name;
mod naming;
mod notification;
mod occasion;
mod options;
mod origin;
mod percent;
mod repo_case;
mod repo_glob;
mod sink;
mod tag;
mod time;

pub use access::{ApiToken, Role};
pub use advice::Advice;
pub use backoff::Backoff;
pub use commit::CommitId;
pub use destination::{Destination, Destinations, NoDestination};
pub use failure::FailureClass;
pub use grants::ImageGrants;
pub use image::{ImageRef, ImageRefError, RequestedImage, is_tag};
pub use job::{
    Conflict, Event, Job, JobContext, JobId, JobProgress, NewJob, Outcome, StageName, StageRecord, StageStatus, Stages,
    Status, transition,
};
pub use name::{CommitSpec, GitRef, NameError, RepoName, bare_name, is_branch_or_tag, is_no_commit};
pub use naming::{ImageName, TagTemplate};
pub use notification::NotificationState;
pub use occasion::Occasion;
pub use options::{BadOption, BuildOptions, ContextPath, DockerfilePath, Problem};
pub use origin::{Dialect, Origin};
pub use percent::Percent;
pub use repo_case::RepoCase;
pub use repo_glob::RepoGlob;
pub use sink::LogSink;
pub use tag::{Push, RepoRef, TagHolder, TagResult};
pub use time::Millis;
