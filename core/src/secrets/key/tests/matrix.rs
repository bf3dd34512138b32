//! Every combination that ssh-keygen and openssl write is read, signs, and is sealed.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

const PASSPHRASE: &str = "pässphrase";

/// Options of old openssl, each for one cipher of a PEM with `DEK-Info`.
const DEK: [&str; 6] = ["", "-aes128", "-aes192", "-aes256", "-des3", "-des"];

const PBES: [&str; 9] = [
    "-nocrypt",
    "-v2 aes-128-cbc -v2prf hmacWithSHA1",
    "-v2 aes-192-cbc -v2prf hmacWithSHA224",
    "-v2 aes-256-cbc",
    "-v2 des3 -v2prf hmacWithSHA384",
    "-v2 des -v2prf hmacWithSHA512",
    "-v2 aes-256-cbc -iter 20000",
    "-v1 PBE-MD5-DES",
    "-v1 PBE-SHA1-DES -iter 65535",
];

const CIPHERS: [&str; 10] = [
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "3des-cbc",
];

/// One key, unencrypted.
struct Kind {
    name: &'static str,
    openssh: PathBuf,
    /// The key as PKCS#8, which openssl reads.
    pkcs8: PathBuf,
    /// The text that ssh-keygen printed.
    public: PublicKey,
}

impl Kind {
    fn make(dir: &Path, name: &'static str, args: &[&str]) -> Self {
        let (openssh, pkcs8) = (dir.join(name), dir.join(format!("{name}.pkcs8")));
        keygen(&[&["-q", "-C", "", "-N", "", "-t"], args].concat(), &openssh);
        let text = std::fs::read_to_string(&openssh).unwrap();
        match PrivateKey::from_openssh(&text).unwrap().key_data() {
            // ssh-keygen writes Ed25519 in no other format before 9.6. The prefix is RFC 8410's.
            KeypairData::Ed25519(pair) => {
                let der = [&hex::decode("302e020100300506032b657004220420").unwrap(), &pair.private.to_bytes()[..]];
                let body = STANDARD.encode(der.concat());
                std::fs::write(&pkcs8, format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
                    .unwrap();
            }
            _ => {
                std::fs::copy(&openssh, &pkcs8).unwrap();
                keygen(&["-q", "-p", "-P", "", "-N", "", "-m", "PKCS8"], &pkcs8);
            }
        }
        let public = std::fs::read_to_string(dir.join(format!("{name}.pub"))).unwrap();
        Self { name, openssh, pkcs8, public: PublicKey::from_openssh(&public).unwrap() }
    }
}

/// Returns the commands that write a kind of key in every format. IN is its PKCS#8; a command without OUT changes the key
/// in place, from OpenSSH's format.
fn commands(kind: &Kind) -> Vec<String> {
    let mut commands =
        vec!["ssh-keygen -q -p -P NONE -N NONE".to_owned(), format!("ssh-keygen -q -p -P NONE -N {PASSPHRASE} -a 1")];
    for cipher in CIPHERS {
        commands.push(format!("ssh-keygen -q -p -P NONE -N {PASSPHRASE} -a 1 -Z {cipher}"));
    }
    for how in PBES {
        commands.push(format!("openssl pkcs8 -topk8 -in IN -out OUT {how}"));
    }
    commands.push("openssl pkey -in IN -out OUT -aes-256-cbc".into());
    // Two kinds are enough, because both take some 0.1 s.
    if ["rsa", "ed25519"].contains(&kind.name) {
        commands.push(format!("ssh-keygen -q -p -P NONE -N {PASSPHRASE} -a 16"));
        commands.push("openssl pkcs8 -topk8 -in IN -out OUT -scrypt".into());
        commands.push("openssl pkcs8 -topk8 -in IN -out OUT -scrypt -v2 aes-128-cbc".into());
    }
    if kind.name != "ed25519" {
        for format in ["PEM", "PKCS8"] {
            commands.push(format!("ssh-keygen -q -p -P NONE -N NONE -m {format}"));
            commands.push(format!("ssh-keygen -q -p -P NONE -N {PASSPHRASE} -m {format}"));
        }
        for cipher in DEK {
            commands.push(format!("openssl pkey -traditional -in IN -out OUT {cipher}"));
        }
    }
    if !["rsa", "ed25519"].contains(&kind.name) {
        commands.push("openssl ec -in IN -out OUT -no_public".into());
        commands.push("openssl ec -in IN -out OUT -conv_form compressed -aes128".into());
    }
    commands
}

/// Runs a command and returns the file that it wrote.
fn run(command: &str, kind: &Kind, out: &Path) -> Vec<u8> {
    std::fs::copy(&kind.openssh, out).unwrap();
    let openssl = command.starts_with("openssl");
    let providers = format!("{command} -provider legacy -provider default -passout pass:{PASSPHRASE}");
    let command = if openssl { providers } else { format!("{command} -f OUT") };
    let args = command.split_whitespace().map(|arg| match arg {
        "IN" => kind.pkcs8.to_str().unwrap(),
        "OUT" => out.to_str().unwrap(),
        "NONE" => "",
        arg => arg,
    });
    let args: Vec<_> = args.collect();
    let output = Command::new(args[0]).args(&args[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

fn signs(key: &DeployKey, public: &PublicKey, flags: u32) {
    let signature = Signature::try_from(key.sign(b"data", flags).unwrap().as_slice()).unwrap();
    Verifier::verify(public, b"data", &signature).unwrap();
    assert!(Verifier::verify(public, b"other", &signature).is_err());
    let name = match flags {
        4 => "rsa-sha2-512".into(),
        2 => "rsa-sha2-256".into(),
        _ => public.algorithm().to_string(),
    };
    assert_eq!(signature.algorithm().to_string(), name);
}

fn error(text: &[u8], passphrase: Option<&str>) -> String {
    let e = DeployKey::parse(text, passphrase).unwrap_err().to_string();
    assert!(!e.contains('\n'), "{e}");
    e
}

fn check(kind: &Kind, text: &[u8]) {
    let key = DeployKey::parse(text, Some(PASSPHRASE)).unwrap();
    assert_eq!(key.public_key().key_data(), kind.public.key_data());
    match kind.name {
        "rsa" => [2, 4].into_iter().for_each(|flags| signs(&key, &kind.public, flags)),
        _ => signs(&key, &kind.public, 0),
    }
    let text = std::str::from_utf8(text).unwrap();
    let encrypted = is_encrypted(text.as_bytes());
    assert_eq!(encrypted, DeployKey::parse(text.as_bytes(), None).is_err());
    match encrypted {
        true => {
            assert_eq!(*seal(text.as_bytes(), PASSPHRASE).unwrap(), text, "what is encrypted is kept");
            assert!(error(text.as_bytes(), None).contains("set ENC_PASSPHRASE"));
            let wrong = error(text.as_bytes(), Some("wrong"));
            assert!(wrong.starts_with("ENC_PASSPHRASE ") && wrong.contains("secrets put github-key"), "{wrong}");
        }
        // Two kinds are enough, because encrypting and opening take 0.1 s each.
        false if ["rsa", "p256"].contains(&kind.name) => {
            let sealed = seal(text.as_bytes(), PASSPHRASE).unwrap();
            assert!(sealed.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") && is_encrypted(sealed.as_bytes()));
            let opened = DeployKey::parse(sealed.as_bytes(), Some(PASSPHRASE)).unwrap();
            assert_eq!(opened.public_key().key_data(), kind.public.key_data());
        }
        false => {}
    }
    let mut lines: Vec<_> = text.lines().collect();
    lines.remove(lines.len() - 2);
    let cut = error(lines.join("\n").as_bytes(), Some(PASSPHRASE));
    assert!(cut.contains("the key is damaged"), "{cut}");
}

#[test]
fn every_format_of_the_tools_is_read_and_signs() {
    let dir = tempfile::tempdir().unwrap();
    let kinds: [(_, &[&str]); 5] = [
        ("rsa", &["rsa", "-b", "2048"]),
        ("p256", &["ecdsa", "-b", "256"]),
        ("p384", &["ecdsa", "-b", "384"]),
        ("p521", &["ecdsa", "-b", "521"]),
        ("ed25519", &["ed25519"]),
    ];
    let kinds = kinds.map(|(name, args)| Kind::make(dir.path(), name, args));
    let rows: Vec<_> = kinds.iter().flat_map(|kind| commands(kind).into_iter().map(move |c| (kind, c))).collect();
    assert!(rows.len() > 140, "{}", rows.len());
    std::thread::scope(|scope| {
        for part in rows.chunks(rows.len().div_ceil(4)) {
            let dir = dir.path();
            scope.spawn(move || {
                for (kind, command) in part {
                    let out = dir.join(format!("{:?}", std::thread::current().id()));
                    let text = run(command, kind, &out);
                    let done = std::panic::catch_unwind(|| check(kind, &text));
                    assert!(done.is_ok(), "{}: {command}\n{}", kind.name, String::from_utf8_lossy(&text));
                }
            });
        }
    });
}

/// The sizes are those of ssh-keygen; sshd accepts no key below 1024 bits.
#[test]
fn rsa_of_every_size() {
    let dir = tempfile::tempdir().unwrap();
    for bits in ["1024", "4096"] {
        let kind = Kind::make(dir.path(), "rsa", &["rsa", "-b", bits]);
        check(&kind, &std::fs::read(&kind.openssh).unwrap());
        ["rsa", "rsa.pub"].iter().for_each(|name| std::fs::remove_file(dir.path().join(name)).unwrap());
    }
}

/// By default, openssl writes the parameters of the curve before the key.
#[test]
fn text_before_the_key_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let made = Command::new("openssl").args(["ecparam", "-genkey", "-name", "secp384r1", "-out"]).arg(&file).status();
    assert!(made.unwrap().success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN EC PARAMETERS-----"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let public = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&file).output().unwrap();
    let public = PublicKey::from_openssh(String::from_utf8(public.stdout).unwrap().trim()).unwrap();
    for text in
        [text.clone(), format!("Bag Attributes\n    friendlyName: deploy\nKey Attributes: <No Attributes>\n{text}")]
    {
        signs(&DeployKey::parse(text.as_bytes(), None).unwrap(), &public, 0);
    }
}

/// Old openssl wrote the private number without its leading zero bytes.
#[test]
fn a_short_number_is_read_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let openssh = dir.path().join("short");
    std::fs::write(&openssh, include_bytes!("../testdata/short_p256")).unwrap();
    std::fs::set_permissions(&openssh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let pkcs8 = dir.path().join("short.pkcs8");
    std::fs::copy(&openssh, &pkcs8).unwrap();
    keygen(&["-q", "-p", "-P", "", "-N", "", "-m", "PKCS8"], &pkcs8);
    let public = PublicKey::from_openssh(include_str!("../testdata/short_p256.pub").trim()).unwrap();
    let kind = Kind { name: "p256", openssh, pkcs8, public };
    for command in commands(&kind) {
        check(&kind, &run(&command, &kind, &dir.path().join("out")));
    }

    let text = run("openssl pkey -traditional -in IN -out OUT", &kind, &dir.path().join("out"));
    let mut der = Pem::find(&text).unwrap().body.to_vec();
    // The body is a SEQUENCE, the version, and an OCTET STRING of 32 bytes, the first of which is 0.
    assert_eq!((der[0], &der[2..8]), (0x30, &[2, 1, 1, 4, 32, 0][..]));
    der.remove(7);
    der[6] -= 1;
    der[1] -= 1;
    let text = format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----", STANDARD.encode(der));
    signs(&DeployKey::parse(text.as_bytes(), None).unwrap(), &kind.public, 0);
}
