//! Entry for the target in `fuzz/` that reads the output of Docker Compose.

pub use super::test::read_compose_config as compose_config;
