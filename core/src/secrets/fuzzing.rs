//! Entries for the targets in `fuzz/`: what reads stored secrets, and the answers of etcd.

use super::{DeployKey, dockercfg, etcd, pgp};

pub fn pem(text: &[u8]) {
    let _ = DeployKey::parse(text, Some("passphrase"));
}

pub fn gpg(message: &[u8]) {
    let _ = pgp::decrypt(message, "passphrase");
}

pub fn dockercfg(json: &[u8]) {
    let _ = dockercfg::Dockercfg::parse(json);
}

pub fn etcd_v2(answer: &[u8]) {
    etcd::fuzz_v2(answer);
}
