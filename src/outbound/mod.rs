//! Outgoing HTTP: where requests may go.

mod address;

pub use address::{Except, is_inward, is_unfit, literal};
