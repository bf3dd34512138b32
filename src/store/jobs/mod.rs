mod claim;
mod outcome;
mod retry;
mod rows;
mod supersede;

pub use retry::{LONGEST_REST, Retry};
pub use rows::JobFilter;
pub(super) use rows::{branch, by_id, columns, insert, read};
pub use supersede::Superseding;
pub(super) use supersede::settle;
