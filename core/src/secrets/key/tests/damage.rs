//! Damaged keys cause no panic and no long work, and no signature that the public part does not verify.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const LABELS: [&str; 5] =
    ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];

fn armour(label: &str, headers: &str, body: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{headers}{}\n-----END {label}-----\n", STANDARD.encode(body))
}

/// Returns label, headers and body of a key in each format, and the first byte that may be changed.
fn samples() -> Vec<(String, String, Vec<u8>, usize)> {
    let dir = tempfile::tempdir().unwrap();
    let (rsa, ec) = (["-t", "rsa", "-b", "1024"], ["-t", "ecdsa", "-b", "521"]);
    let made = [
        (&["-t", "ed25519"][..], ["-m", "RFC4716"], ""),
        (&["-t", "ed25519", "-a", "1", "-Z", "aes128-cbc"], ["-m", "RFC4716"], "passphrase"),
        (&["-t", "ed25519", "-a", "1", "-Z", "aes256-gcm@openssh.com"], ["-m", "RFC4716"], "passphrase"),
        (&rsa, ["-m", "PEM"], ""),
        (&rsa, ["-m", "PEM"], "passphrase"),
        (&rsa, ["-m", "PKCS8"], ""),
        (&rsa, ["-m", "PKCS8"], "passphrase"),
        (&ec, ["-m", "PEM"], ""),
        (&ec, ["-m", "PEM"], "passphrase"),
        (&ec, ["-m", "PKCS8"], ""),
        (&ec, ["-m", "PKCS8"], "passphrase"),
    ];
    let made = made.iter().enumerate().map(|(i, (kind, format, passphrase))| {
        let text = make(dir.path(), &i.to_string(), &[kind, &format[..], &["-N", passphrase]].concat());
        let headers: String =
            String::from_utf8_lossy(&text).lines().filter(|l| l.contains(": ")).map(|l| format!("{l}\n")).collect();
        let pem = Pem::find(&text).unwrap();
        // The first 100 bytes stay, because they have the work factors, which might become large and still be allowed.
        let from = if is_encrypted(&text) && headers.is_empty() { 100 } else { 0 };
        (pem.label.clone(), headers, pem.body.to_vec(), from)
    });
    made.collect()
}

#[test]
fn a_changed_key_is_refused_or_signs() {
    let samples = samples();
    let sample = || prop::sample::select(samples.clone());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    runner
        .run(&(sample(), changes, any::<bool>()), |((label, headers, mut body, from), changes, cut)| {
            for (at, value) in changes {
                let at = from + at.index(body.len() - from);
                match cut {
                    true => body.truncate(at.max(from + 1)),
                    false => body[at] ^= value,
                }
            }
            if let Ok(key) = DeployKey::parse(armour(&label, &headers, &body).as_bytes(), Some("passphrase")) {
                let signature = Signature::try_from(key.sign(b"data", 4).unwrap().as_slice()).unwrap();
                Verifier::verify(key.public_key(), b"data", &signature).unwrap();
            }
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_input_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        label in prop::sample::select(&LABELS),
        headers in prop_oneof![
            Just(""),
            Just("Proc-Type: 4,ENCRYPTED\n"),
            Just("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n"),
            Just("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011223344556677\n"),
            Just("Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0011223344556677\n"),
        ],
    ) {
        prop_assert!(DeployKey::parse(&bytes, None).is_err());
        let magic = [b"openssh-key-v1\0", &bytes[..]].concat();
        let body = if label == "OPENSSH PRIVATE KEY" { magic } else { bytes };
        prop_assert!(DeployKey::parse(armour(label, headers, &body).as_bytes(), Some("passphrase")).is_err());
    }
}
