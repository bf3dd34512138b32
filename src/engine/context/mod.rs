//! The build context: which entries of a repository's tree a build may read, by Docker's own rules for `.dockerignore`,
//! patterns and links.

pub(super) mod filter;
pub(super) mod follow_paths;
mod glob;
mod go_regex;
pub(super) mod hint;
pub(super) mod pattern;
pub(super) mod tar;
