//! The build context: the tree of a build, and the entries of it that the engine gets by Docker's own rules for
//! `.dockerignore`, patterns and links.

pub(super) mod filter;
pub(super) mod follow_paths;
pub(super) mod git_dir;
mod git_dir_patterns;
mod glob;
mod go_regex;
mod index;
mod pattern;
pub(super) mod place;
pub(super) mod tar;
pub(super) mod tree;
