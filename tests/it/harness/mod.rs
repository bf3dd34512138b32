//! Real servers for the tests: each on a free loopback port, with its data in a folder of its own,
//! killed when its value is dropped or the test process dies. `World` puts them together.

mod authority;
mod canary;
mod capture;
mod chat;
mod claim;
pub mod container;
mod containerd;
mod daemon;
mod disk;
mod docker;
mod engine;
mod etcd;
mod folder;
mod gate;
mod git_host;
mod github_api;
mod https_host;
mod keys;
mod lfs;
mod lfs_transfer;
mod log;
mod machine;
mod mask;
mod ports;
mod proc;
mod registry;
mod rsyslog;
mod schema;
mod serve;
mod small_disk;
mod smtp;
mod ssh_login;
mod supervisor;
mod tls;
mod token_server;
mod trees;
mod wait;
mod world;

pub use authority::{Authority, Pem};
pub use canary::Canaries;
pub use capture::{Capture, Received};
pub use chat::{HipChat, Slack};
pub use containerd::SeparateContainerd;
#[allow(unused_imports, reason = "the benches use them")]
pub use daemon::{BENCH_BINARY, binary};
pub use daemon::{Cli, Daemon, Settings, push_payload};
pub use disk::Disk;
pub use docker::{Docker, Feature, on};
pub use engine::{BASE, Engine, PrivateEngine, afar, reach_afar_from, reach_from};
pub use etcd::{Etcd, USER};
pub use folder::{Left, clear, folder, note, sweep};
pub use gate::{Flow, Gate};
pub use git_host::{GitHost, Repo, Silent};
pub use github_api::{GitHubApi, INSTALLATION, SetStatus, Trouble};
pub use https_host::{Certificate, HttpsHost};
pub use keys::{DeployKey, KeyType, dockercfg, gpg_encrypt, gpg1_encrypt, succeed};
pub use lfs::{LfsFault, LfsServer};
pub use lfs_transfer::LfsTransfer;
pub use log::Log;
pub use machine::Machine;
pub use mask::{masked, masked_json};
pub use ports::{listen, listen_at, port};
pub use proc::{Proc, processes_of, start};
pub use registry::{Fault, Registry};
pub use rsyslog::{Message, Rsyslog};
pub use schema::{has_migration, take_back};
pub use serve::{Served, http_client};
pub use small_disk::SmallDisk;
pub use smtp::{SmtpServer, SmtpTls};
pub use ssh_login::{SshClient, SshLogin};
pub use supervisor::Supervisor;
pub use tls::TlsFront;
pub use token_server::{Account, TokenCall, TokenServer, self_signed};
pub use trees::{RandomTree, Tree, archive, import, read_tree, unpack};
pub use wait::eventually;
pub use world::{CI_TOKEN, COMPOSE_CI, HOOK_SECRET, PASSPHRASE, REGISTRY_PASSWORD, World};

/// Returns a text that no other test and no earlier run has used. In a Dockerfile's step it keeps the engine from
/// finding the step in its cache.
pub fn unique() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
