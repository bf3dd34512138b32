//! Jobs: their rows, and the operations that move a job from one state to another.

mod claim;
mod outcome;
mod retry;
mod rows;
mod supersede;

pub use retry::{LONGEST_REST, Retry};
pub use rows::JobFilter;
pub(super) use rows::{LAST_ID, branch, by_id, columns, decode, insert, within};
pub use supersede::Superseding;
pub(super) use supersede::supersede_older;
