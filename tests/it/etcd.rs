//! Every way that etcd is spoken to, against real ones: API v2, users, TLS, clusters that lose members.

mod auth;
mod cluster;
mod tls;
mod v2;

use image_factory::model::EtcdApi;
use image_factory::secrets::{EtcdConfig, admin};

use crate::secrets::{Live, plain};

/// The first line of `secrets check`, which is about etcd itself, and whether all is well with that.
async fn check(etcd: EtcdConfig) -> (bool, String) {
    let lines = admin::check(&Live::config(etcd)).await;
    (lines[0].ok, format!("{}: {}", lines[0].name, lines[0].text))
}

fn by(api: EtcdApi, endpoints: &[String]) -> EtcdConfig {
    EtcdConfig { api, ..plain(endpoints) }
}
