//! Parts for the unit tests of this module.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::{Listener, Places, Serving, TrustedProxies};
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

/// Returns a listener without TLS, with places for 960 connections.
#[cfg_attr(fuzzing, expect(dead_code, reason = "only the tests serve"))]
pub fn plain(listener: TcpListener) -> Serving {
    let places = Arc::new(Places::new(1472, TrustedProxies::default()));
    Serving { listener: Listener::Tcp(listener), certificate: None, places }
}
