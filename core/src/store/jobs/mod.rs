//! Jobs: their rows, and the operations that move a job from one state to another.

mod claim;
mod held;
mod order;
mod outcome;
mod retry;
mod rows;
mod supersede;
mod unfinished;

pub use order::QueueOrder;
pub use retry::{LONGEST_REST, Retry};
pub use rows::JobFilter;
pub(super) use rows::{LAST_ID, branch, by_id, columns, decode, insert, within};
pub(super) use supersede::supersede_older;
pub(super) use unfinished::same_build;
