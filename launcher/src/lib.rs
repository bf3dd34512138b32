//! The launcher of the makina-states convention.

mod circus;
mod problem;
mod signals;

pub use problem::{Place, Problem};
