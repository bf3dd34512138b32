use proptest::prelude::*;

use super::*;
use crate::process::{Finished, Program};

async fn key(dir: &Path, kind: &str) -> Arc<DeployKey> {
    let file = dir.join(kind);
    let args = ["-q", "-N", "secret passphrase", "-C", "", "-t", kind, "-f"];
    let made = Program::new("ssh-keygen").args(args).arg(&file).output().await.unwrap();
    assert!(made.status.success(), "{}", made.stderr);
    Arc::new(DeployKey::parse(&fs::read(file).unwrap(), Some("secret passphrase")).unwrap())
}

async fn run(agent: &SshAgent, name: &str, args: &[&str]) -> Finished {
    Program::new(name).args(args).env("SSH_AUTH_SOCK", agent.socket()).output().await.unwrap()
}

#[tokio::test]
async fn openssh_lists_the_key_and_signs_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = key(dir.path(), kind).await;
        let agent = SshAgent::start(key.clone(), dir.path()).unwrap();
        let listed = run(&agent, "ssh-add", &["-L"]).await;
        let public = dir.path().join(kind).with_extension("pub");
        assert_eq!(String::from_utf8(listed.stdout).unwrap().trim(), fs::read_to_string(&public).unwrap().trim());
        let (public, data) = (public.to_str().unwrap(), dir.path().join("data"));
        fs::write(&data, kind).unwrap();
        let data = data.to_str().unwrap();
        let signed = run(&agent, "ssh-keygen", &["-Y", "sign", "-f", public, "-n", "test", data]).await;
        assert!(signed.status.success(), "{kind}: {}", signed.stderr);
        let check = format!("ssh-keygen -Y check-novalidate -n test -s {data}.sig < {data}; rm {data}.sig");
        let checked = run(&agent, "sh", &["-ec", &check]).await;
        assert!(String::from_utf8_lossy(&checked.stdout).starts_with("Good \"test\" signature"), "{}", checked.stderr);
    }
}

#[tokio::test]
async fn all_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let agent = SshAgent::start(key(dir.path(), "ed25519").await, dir.path()).unwrap();
    key(dir.path(), "ecdsa").await;
    for args in [["-T", "ecdsa.pub"], ["-d", "ed25519.pub"]] {
        let program = Program::new("ssh-add").args(args).current_dir(dir.path());
        let done = program.env("SSH_AUTH_SOCK", agent.socket()).output().await.unwrap();
        assert!(!done.status.success(), "{args:?}");
    }
    assert!(run(&agent, "ssh-add", &["-l"]).await.status.success());
}

#[tokio::test]
async fn only_our_user_gets_to_it_and_only_while_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let agent = SshAgent::start(key(dir.path(), "ed25519").await, dir.path()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let socket = agent.socket().to_owned();
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    drop(agent);
    assert!(!socket.parent().unwrap().exists());
}

#[tokio::test]
async fn any_bytes_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(dir.path(), "rsa").await;
    let public = string(&key.public_key().to_bytes().unwrap());
    proptest!(|(kind in 0..40u8, data: Vec<u8>, flags: u32)| {
        let answered = answer(&[&[kind][..], &data].concat(), &key);
        prop_assert_eq!(answered.is_some(), kind == REQUEST_IDENTITIES);
        let asked = [&[SIGN_REQUEST], &public[..], &string(&data)[..], &flags.to_be_bytes()[..]].concat();
        for end in 0..asked.len() {
            prop_assert_eq!(answer(&asked[..end], &key), None);
        }
    });
    // Flags of 0 ask for RSA with SHA-1.
    let sha1 = [&[SIGN_REQUEST], &public[..], &string(b"data"), &[0; 4]].concat();
    assert_eq!(answer(&sha1, &key), None);
}
