//! The daemon against real parts: etcd, registries, sshd with Git, and the engine.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

/// Makes of each of these functions, `async fn(Docker)`, a test on each engine: `docker_20::NAME`, `docker_26::NAME`.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        mod docker_20 {
            $(#[tokio::test] async fn $test() { super::$test(crate::harness::Docker::V20).await })+
        }
        mod docker_26 {
            $(#[tokio::test] async fn $test() { super::$test(crate::harness::Docker::V26).await })+
        }
    };
}

mod bases;
mod bounds;
mod canary;
mod chat;
mod classes;
mod cli;
mod commits;
mod compose_ci;
mod compose_way;
mod container;
mod contents;
mod context;
mod conveyor;
mod conveyor_builds;
mod crash;
mod deliveries;
mod doctor;
mod documents;
mod engine;
mod engines;
mod etcd;
mod failures;
mod faults;
mod fixtures;
mod followers;
mod forges;
mod generator;
mod git;
mod github;
mod harness;
mod hostile_clients;
mod images;
mod known_hosts;
mod live_secrets;
mod logins;
mod mail;
mod main_path;
mod makina;
mod metrics;
mod missed;
mod network;
mod notifications;
mod operators;
mod options;
mod packaging;
mod private_servers;
mod queue;
mod rebuild;
mod registry;
mod reload;
mod sbom;
mod secrets;
mod sharing;
mod spelling;
mod sshd;
mod start;
mod supersede;
mod surviving;
mod syslog;
mod systemd;
mod tags;
mod test_stage;
mod tidy;
mod tls;
mod tokens;
