#![allow(clippy::disallowed_methods)]

use std::process::{Command, Stdio};

use base64::engine::general_purpose;
use openpgp::serialize::stream::Compressor;
use openpgp::types::{AEADAlgorithm, CompressionAlgorithm};
use proptest::prelude::*;

use super::*;

const PLAIN: &[u8] = br#"{"https://quay.io":{"auth":"dG90ZW06c2VjcmV0","email":""}}"#;

/// PLAIN by `gpg -c --s2k-mode 1 --compress-algo none` with the passphrase `passphrase`: quick to open.
const MESSAGE: &str = "jAwECQEC0Kd5TNETX/7SbQHJC6mO2JqfBhO6sHz7KyD+dyMAY4MnDbMPZ3w0w77eKTEltM6kL7NhLLJMsi7Rwv+m\
                       1cGA1kV3j35F7kYX1/WsHm3OaZbCQ2LJUk4S+EuMwDPUt1Wav+UltOGis0acY3sq4NyLWhOpixaYAQk=";

/// The same text, encrypted by Debian 13's gpg 2.4.7 with `gpg -c` and its defaults.
const OF_2_4: &str = "jA0ECQMKyQo5ndxEmxj/0nkBRwGrBRbNIQkuRXxwmVjmoMzWzHZbdM/XIdOwLTUFPFrV/8+Q7mUZU8o+aBSE6eNLmr2zQRsxw5Hm\
                      PYjaQX1bMlPqtqm8DsoYz7y6GLHzAp5nGY92vYRDy4ck1IJhR/iAnjHU3zHQVjDAOKGyC4C+8TmbaPdsE66j";

/// The same text, encrypted by gpg 2.4.7 with `gpg -c --force-ocb`, which writes packets of LibrePGP.
const OCB_OF_2_4: &str = "jE0FCQIDCmBqyap/kjRR/43CHAUDMpN2JXWRe7KcKSLhFvsrlGz0jX2aVyArfNKnZcVafQbQMUn8P4E9LpRZfFoNGQFTwhwd95Hu\
                          QRzTA9SDAQkCENwsMgMeOVBHQsX5ukNEKBvinTP2oCdt3bARMeRhBdWU1wcHHa0Wzkt4ypxTpmF+LcSKi8aHTpaEzQ7ik47nxaDb\
                          KwqaNbISyMyAPs/PkqvjFTo95vIgOWFdfg1dWVSYMQXc8scmFMqMwpgf8UddlFAdt/cDlifLsUsE4uobiw0=";

/// A home folder for gpg. Its path is short, because the socket of gpg's agent may have a path of 107 bytes.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap())
    }

    /// Runs gpg (2.2) with `passphrase` on a pipe and returns its standard output.
    fn run(&self, args: &[&str], passphrase: &str, input: &[u8]) -> Vec<u8> {
        self.program("gpg", &[&["--pinentry-mode", "loopback"], args].concat(), passphrase, input)
    }

    /// Runs `gpg1`, version 1.4, in the same way.
    fn run_1_4(&self, args: &[&str], passphrase: &str, input: &[u8]) -> Vec<u8> {
        self.program("gpg1", args, passphrase, input)
    }

    fn program(&self, program: &str, args: &[&str], passphrase: &str, input: &[u8]) -> Vec<u8> {
        let file = self.0.path().join("input");
        std::fs::write(&file, input).unwrap();
        let mut child = Command::new(program)
            .env("GNUPGHOME", self.0.path())
            .args(["--batch", "--quiet", "--passphrase-fd", "0", "-o", "-"])
            .args(args)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}; run `scripts/setup --tests`"));
        child.stdin.take().unwrap().write_all(passphrase.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.0.path()).args(["--kill", "gpg-agent"]).status();
    }
}

fn error(message: &[u8]) -> String {
    let e = decrypt(message, "pässphrase").unwrap_err().to_string();
    assert!(!e.contains('\n'), "{e}");
    e
}

fn assert_read(message: &[u8], how: &str) {
    assert_eq!(*decrypt(message, "pässphrase").unwrap(), PLAIN, "{how}");
    let base64 = general_purpose::STANDARD.encode(message);
    let lines: Vec<_> = base64.as_bytes().chunks(60).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let wrapped = format!("  {}\r\n", lines.join("\r\n  "));
    assert_eq!(*decrypt(wrapped.as_bytes(), "pässphrase").unwrap(), PLAIN, "{how}");
    let wrong = decrypt(message, "wrong").unwrap_err().to_string();
    assert!(wrong.contains("is not the passphrase"), "{how}: {wrong}");
}

/// Half of all words are base64 of bytes that have the highest bit set, as each packet has.
#[test]
fn a_word_is_no_damaged_message() {
    for word in
        ["just a password", "jenkins", "jA", "quay.io", "token", "x", "0123456789", "wAsa", "hunter2hunter2", "yIsAC"]
    {
        assert!(error(word.as_bytes()).contains("not a gpg message"), "{word}: {}", error(word.as_bytes()));
    }
    let message = &MESSAGE[..MESSAGE.len() / 2];
    assert!(error(message.as_bytes()).contains("cut short or damaged"), "{}", error(message.as_bytes()));
}

#[test]
fn messages_of_gpg_are_read() {
    let gpg = Gpg::new();
    // The default of 65 MB of iterated hash is used once, because it is slow in a debug build; later runs use less.
    for options in ["", "-a", "-z 0", "--compress-algo bzip2", "--compress-algo zip -a", "--compress-algo zlib"] {
        let quick = ["--s2k-count", "65536"].iter().filter(|_| !options.is_empty()).copied();
        let args: Vec<_> = ["-c"].into_iter().chain(quick).chain(options.split_whitespace()).collect();
        assert_read(&gpg.run(&args, "pässphrase", PLAIN), options);
    }
    let ciphers = "3DES CAST5 BLOWFISH AES AES192 AES256 TWOFISH CAMELLIA128 CAMELLIA192 CAMELLIA256";
    for cipher in ciphers.split(' ') {
        let args = ["-c", "--s2k-count", "65536", "--cipher-algo", cipher];
        assert_read(&gpg.run(&args, "pässphrase", PLAIN), cipher);
    }
    for digest in ["SHA1", "RIPEMD160", "SHA224", "SHA256", "SHA384", "SHA512"] {
        for mode in ["0", "1", "3"] {
            let args = ["-c", "--s2k-count", "65536", "--s2k-digest-algo", digest, "--s2k-mode", mode];
            assert_read(&gpg.run(&args, "pässphrase", PLAIN), &format!("{digest} {mode}"));
        }
    }
    // gpg 1.4 chooses CAST5 and SHA-1, and since 1.4.23 it writes the integrity code by itself.
    assert_read(&gpg.run_1_4(&["-c"], "pässphrase", PLAIN), "1.4");
    for cipher in ciphers.split(' ') {
        let args = ["-c", "--force-mdc", "--cipher-algo", cipher];
        assert_read(&gpg.run_1_4(&args, "pässphrase", PLAIN), &format!("1.4 {cipher}"));
    }
    let armoured = String::from_utf8(gpg.run(&["-c", "--s2k-mode", "1", "-a"], "pässphrase", PLAIN)).unwrap();
    for pasted in
        [armoured.trim().to_owned(), armoured.replace('\n', "\r\n"), format!("\n  {}", armoured.replace('\n', "\n  "))]
    {
        assert_eq!(*decrypt(pasted.as_bytes(), "pässphrase").unwrap(), PLAIN);
    }
}

#[test]
fn messages_of_gpg_2_4_are_read() {
    assert_eq!(*decrypt(OF_2_4.as_bytes(), "passphrase").unwrap(), PLAIN);
    assert!(decrypt(OF_2_4.as_bytes(), "wrong").unwrap_err().to_string().contains("is not the passphrase"));
    let ocb = error(OCB_OF_2_4.as_bytes());
    assert!(ocb.contains("newer format (OCB") && ocb.contains("`gpg -c` without `--force-ocb`"), "{ocb}");
}

#[test]
fn gpg_reads_our_messages() {
    let armoured = encrypt(PLAIN, "pässphrase").unwrap();
    assert_eq!(Gpg::new().run(&["-d"], "pässphrase", armoured.as_bytes()), PLAIN);
    assert_eq!(Gpg::new().run_1_4(&["-d"], "pässphrase", armoured.as_bytes()), PLAIN);
    assert_eq!(*decrypt(armoured.as_bytes(), "pässphrase").unwrap(), PLAIN);
    assert!(decrypt(armoured.as_bytes(), "wrong").unwrap_err().to_string().contains("is not the passphrase"));
}

#[test]
fn each_fault_has_its_own_message() {
    let gpg = Gpg::new();
    let message = gpg.run(&["-c", "--s2k-mode", "1", "--compress-algo", "none"], "pässphrase", PLAIN);
    for at in [message.len() - 30, message.len() - 1, message.len() - 60] {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert!(error(&changed).contains("was changed or damaged"), "{at}: {}", error(&changed));
    }
    assert!(error(&message[..message.len() - 10]).contains("cut short"));
    let armoured = String::from_utf8(gpg.run(&["-c", "--s2k-mode", "1", "-a"], "pässphrase", PLAIN)).unwrap();
    let short: Vec<_> = armoured.lines().take(4).collect();
    assert!(error(short.join("\n").as_bytes()).contains("cut short"));
    // gpg 1.4 wrote this by default in 2014.
    for options in [&[][..], &["-a"], &["-z", "0"], &["--cipher-algo", "AES256"]] {
        let options = [&["-c", "--disable-mdc"], options].concat();
        let old = error(&gpg.run_1_4(&options, "pässphrase", PLAIN));
        assert!(old.contains("no integrity protection") && old.contains("secrets put dockercfg"), "{options:?}: {old}");
    }
    // An attacker would strip the protection by writing packets of kind 9 in place of 18.
    let mut old = message.clone();
    let seip = 2 + usize::from(old[1]);
    assert_eq!(old[seip], 0xc0 | 18);
    old[seip] = 0xc0 | 9;
    assert!(error(&old).contains("secrets put dockercfg"), "{}", error(&old));
    let idea = gpg.run(&["-c", "--cipher-algo", "IDEA"], "pässphrase", PLAIN);
    assert!(error(&idea).contains("IDEA, which is not supported: `image-factory"), "{}", error(&idea));
    let literal = gpg.run(&["--store", "-z", "0"], "", PLAIN);
    let behind = error(&[&message[..], &literal].concat());
    assert!(behind.contains("was changed or damaged"), "{behind}");
    let before = error(&[&literal[..], &message].concat());
    assert!(before.contains("not encrypted"), "{before}");
    for other in [
        &b"hello world"[..],
        b"",
        b"{}",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n",
        "äöü".as_bytes(),
        b"aGVsbG8=",
    ] {
        assert!(error(other).contains("not a gpg message"), "{other:?}: {}", error(other));
    }
    let packed = gpg.run(&["--store"], "", PLAIN);
    assert!(error(&packed).contains("not encrypted"), "{}", error(&packed));
}

/// Encrypts the text that `write` writes, by RFC 9580 or as gpg does.
fn made(passphrases: &[&str], aead: bool, write: impl Fn(Message<'_>) -> openpgp::Result<()>) -> Vec<u8> {
    let mut message = Vec::new();
    let encryptor = Encryptor::with_passwords(Message::new(&mut message), passphrases.iter().copied());
    let encryptor = if aead { encryptor.aead_algo(AEADAlgorithm::EAX) } else { encryptor };
    write(encryptor.build().unwrap()).unwrap();
    message
}

fn literal(message: Message<'_>) -> openpgp::Result<()> {
    let mut message = LiteralWriter::new(message).build()?;
    message.write_all(PLAIN)?;
    message.finalize()
}

#[test]
fn a_message_that_takes_too_long_is_refused() {
    let gpg = Gpg::new();
    for algorithm in ["zip", "zlib", "bzip2"] {
        let args = ["-c", "--s2k-mode", "1", "-z", "9", "--compress-algo", algorithm];
        let bomb = gpg.run(&args, "pässphrase", &vec![0; 40 << 20]);
        assert!(bomb.len() < 100 << 10 && error(&bomb).contains("1 MiB"), "{}: {}", bomb.len(), error(&bomb));
    }
    let layers = |count: usize| {
        made(&["pässphrase"], false, |mut message| {
            for _ in 0..count {
                message = Compressor::new(message).algo(CompressionAlgorithm::Zip).build()?;
            }
            literal(message)
        })
    };
    assert_eq!(*decrypt(&layers(3), "pässphrase").unwrap(), PLAIN);
    assert!(error(&layers(5)).contains("too many layers"), "{}", error(&layers(5)));
    // The layer holds no plain text, and never ends.
    let hidden = made(&["pässphrase"], false, |message| {
        let mut message = Compressor::new(message).build()?;
        for _ in 0..(2 << 20) / 5 {
            message.write_all(&[0xca, 3, b'P', b'G', b'P'])?;
        }
        message.finalize()
    });
    assert!(error(&hidden).contains("1 MiB"), "{}", error(&hidden));
    let many = ["a", "b", "c", "d", "e", "f", "g", "h", "pässphrase"];
    assert_eq!(*decrypt(&made(&many[1..], false, literal), "pässphrase").unwrap(), PLAIN);
    assert!(error(&made(&many, false, literal)).contains("more than 8 passphrases"));
    let aead = error(&made(&["pässphrase"], true, literal));
    assert!(aead.contains("newer format"), "{aead}");
    // The message asks for Argon2 with 2 TiB of memory.
    let argon2 = [&[0xc3, 22, 4, 9, 4][..], &[7; 16], &[1, 1, 31]].concat();
    let sealed = gpg.run(&["-c", "--s2k-mode", "1"], "pässphrase", PLAIN);
    let argon2 = error(&[argon2, sealed].concat());
    assert!(argon2.contains("Argon2"), "{argon2}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decrypt(&bytes, "x").is_err());
        let base64 = general_purpose::STANDARD.encode([&[0xd2, 0xc0, 1][..], &bytes].concat());
        prop_assert!(decrypt(base64.as_bytes(), "x").is_err());
    }

    #[test]
    fn a_changed_message_is_never_accepted(at in any::<prop::sample::Index>(), bit in 0u32..8, cut in 0usize..3) {
        let mut message = general_purpose::STANDARD.decode(MESSAGE).unwrap();
        prop_assert!(decrypt(&message, "passphrase").is_ok());
        let at = at.index(message.len());
        message[at] ^= 1 << bit;
        message.truncate(message.len() - cut);
        prop_assert!(decrypt(&message, "passphrase").is_err());
    }
}
