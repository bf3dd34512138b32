//! Destinations for the unit tests of this module.

use crate::model::{ContextPath, Destinations, DockerfilePath, ImageGrants, ImageName};

pub fn destinations(base: &str) -> Destinations {
    Destinations {
        base: base.into(),
        name: ImageName::parse("{owner}-{repo}").unwrap(),
        dockerfile: DockerfilePath::new("Dockerfile").unwrap(),
        context: ContextPath::default(),
        grants: ImageGrants::default(),
        repo_case: crate::model::RepoCase::default(),
    }
}
