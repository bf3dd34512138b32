//! Totem's wire: its requests, its views of a job, and its JSON Schemas.

pub mod jobs;
pub mod request;
pub mod schemas;
pub mod views;
