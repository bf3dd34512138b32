//! Keys and texts that are refused, each with its own message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::Encode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2;
use ssh_key::Mpint;
use ssh_key::private::RsaPrivateKey;
use ssh_key::public::RsaPublicKey;

use super::*;

/// Runs openssl and returns the file that it wrote as OUT.
fn openssl(dir: &Path, args: &str) -> Vec<u8> {
    let out = dir.join("out");
    let (command, args) = args.split_once(' ').unwrap();
    let args = format!("{command} -provider legacy -provider default -out OUT {args}");
    let args = args.replace("OUT", out.to_str().unwrap()).replace("DIR", dir.to_str().unwrap());
    let output = Command::new("openssl").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

/// Returns a key as ssh-keygen writes it with a security token plugged in.
fn token(passphrase: &str) -> Vec<u8> {
    let public = ssh_key::public::SkEd25519::new(ssh_key::public::Ed25519PublicKey([7; 32]), "ssh:");
    let pair = KeypairData::SkEd25519(ssh_key::private::SkEd25519::new(public, 1, [7; 64]).unwrap());
    let key = PrivateKey::new(pair, "").unwrap();
    let key = if passphrase.is_empty() { key } else { key.encrypt(&mut SysRng, passphrase).unwrap() };
    key.to_openssh(LineEnding::LF).unwrap().as_bytes().to_vec()
}

fn refused(text: &[u8], part: &str) {
    for passphrase in [Some("passphrase"), None] {
        let e = DeployKey::parse(text, passphrase).unwrap_err().to_string();
        let asked = passphrase.is_none() && e.contains("set ENC_PASSPHRASE");
        assert!((e.contains(part) || asked) && !e.contains('\n'), "{part}: {e}");
    }
}

/// OpenSSH's container (its PROTOCOL.key) with a key of an unknown kind. The private part does not matter.
fn of_kind(kind: &str, cipher: &str) -> Vec<u8> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let kdf = if cipher == "none" { "none" } else { "bcrypt" };
    let options = if cipher == "none" { vec![] } else { [string(&[7; 16]), 16u32.to_be_bytes().to_vec()].concat() };
    let public = [string(kind.as_bytes()), string(&[7; 1344])].concat();
    let private = [vec![0; 8], public.clone(), vec![7; 56]].concat();
    let parts = [&string(cipher.as_bytes())[..], &string(kdf.as_bytes()), &string(&options), &1u32.to_be_bytes()];
    let body = [&b"openssh-key-v1\0"[..], &parts.concat(), &string(&public), &string(&private)].concat();
    let lines: String =
        STANDARD.encode(body).as_bytes().chunks(70).flat_map(|l| [str::from_utf8(l).unwrap(), "\n"]).collect();
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----\n").into_bytes()
}

/// The kinds are that of `ssh-keygen -t mldsa44-ed25519` of OpenSSH 10.6, and later ones.
#[test]
fn an_unknown_kind_is_named_and_is_not_damage() {
    for kind in ["ssh-mldsa44-ed25519", "ssh-slh@example.com"] {
        for cipher in ["none", "aes256-ctr", "aes256-gcm@openssh.com", "cipher-of-tomorrow"] {
            refused(
                &of_kind(kind, cipher),
                &format!("a key of the kind `{kind}` is not supported (but ed25519, ecdsa and"),
            );
        }
    }
    refused(
        &of_kind("ssh-ed25519", "cipher-of-tomorrow"),
        "is encrypted with cipher-of-tomorrow, which is not supported",
    );
    refused(&of_kind("ssh-ed\n", "none"), "the key is damaged");
    let blob = [&19u32.to_be_bytes()[..], b"ssh-mldsa44-ed25519", &[7; 1344]].concat();
    let public = format!("ssh-mldsa44-ed25519 {} me@example.com", STANDARD.encode(blob));
    refused(public.as_bytes(), "this is a public key");
}

#[test]
fn other_texts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ed25519 = make(dir, "a", &["-t", "ed25519", "-N", ""]);
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "me", "-s"]).args([dir.join("a"), dir.join("a.pub")]);
    assert!(sign.status().unwrap().success());
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    std::fs::write(dir.join("ec"), openssl(dir, "ecparam -genkey -noout -name prime256v1")).unwrap();
    let label = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n").into_bytes();
    let cases = [
        (make(dir, "f", &["-t", "dsa", "-N", ""]), "a DSA key"),
        (make(dir, "g", &["-t", "dsa", "-N", "passphrase", "-a", "1"]), "a DSA key"),
        (make(dir, "h", &["-t", "dsa", "-m", "PEM", "-N", ""]), "a DSA key"),
        (make(dir, "i", &["-t", "dsa", "-m", "PEM", "-N", "passphrase"]), "a DSA key"),
        (make(dir, "j", &["-t", "dsa", "-m", "PKCS8", "-N", ""]), "a DSA key"),
        (make(dir, "k", &["-t", "dsa", "-m", "PKCS8", "-N", "passphrase"]), "a DSA key"),
        (token(""), "a key on a security token (sk-…) needs a person"),
        (token("passphrase"), "a key on a security token"),
        (openssl(dir, "genpkey -algorithm ed448"), "a key of the kind 1.3.101.113 is not supported (but ed25519"),
        (openssl(dir, "genpkey -algorithm rsa-pss"), "a key of the kind 1.2.840.113549.1.1.10"),
        (openssl(dir, "ecparam -genkey -noout -name secp256k1"), "a key on the curve 1.3.132.0.10"),
        (openssl(dir, "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:brainpoolP256r1"), "a key on the curve 1.3.36"),
        (openssl(dir, "ecparam -genkey -noout -name prime256v1 -param_enc explicit"), "spells out its curve"),
        (
            openssl(dir, "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit"),
            "spells out its curve instead of naming it: `openssl ec -in KEY -param_enc named_curve",
        ),
        (openssl(dir, "genrsa -traditional -primes 3 2048"), "an RSA key of more than two primes"),
        (openssl(dir, "genrsa 768"), "an RSA key of 768 bits is not supported (but 1024 to 8192)"),
        (openssl(dir, "genrsa -traditional 512"), "an RSA key of 512 bits"),
        (read("a.pub"), "this is a public key"),
        (openssl(dir, "ec -in DIR/ec -pubout"), "this is a public key"),
        (read("a-cert.pub"), "this is a certificate"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n".to_vec(), "puttygen KEY.ppk"),
        (label("FANCY PRIVATE KEY"), "a key in the format `FANCY PRIVATE KEY`"),
        (label("CERTIFICATE"), "not a private key"),
        (b"hello".to_vec(), "not a private key"),
        (b" \n".to_vec(), "empty"),
        (vec![0xff, 0xfe], "not the text"),
        (label("RSA PRIVATE KEY"), "the key is damaged"),
        (
            [make(dir, "l", &["-t", "ed25519", "-N", "passphrase"]), ed25519.clone()].concat(),
            "more than one private key",
        ),
        ([&ed25519[..60], &b"\n"[..]].concat(), "the key is damaged (its end is missing)"),
    ];
    for (text, part) in cases {
        refused(&text, part);
    }
}

#[test]
fn other_ciphers_are_named_and_the_suggested_command_works() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plain = make(dir, "rsa", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
    let fingerprint = DeployKey::parse(&plain, None).unwrap().fingerprint();
    for (how, name) in [
        ("rsa -traditional -camellia256", "CAMELLIA-256-CBC"),
        ("rsa -traditional -seed", "SEED-CBC"),
        ("rsa -traditional -bf", "BF-CBC"),
        ("rsa -traditional -rc2", "RC2-CBC"),
        ("pkcs8 -topk8 -v1 PBE-SHA1-3DES", "1.2.840.113549.1.12.1.3"),
        ("pkcs8 -topk8 -v1 PBE-SHA1-RC4-128", "1.2.840.113549.1.12.1.1"),
        ("pkcs8 -topk8 -v1 PBE-MD5-RC2-64", "1.2.840.113549.1.5.6"),
        ("pkcs8 -topk8 -v2 camellia256", "1.2.392.200011.61.1.1.1.4"),
        ("pkcs8 -topk8 -v2 aes256 -v2prf hmacWithMD5", "1.2.840.113549.2.6"),
    ] {
        let text = openssl(dir, &format!("{how} -in DIR/rsa -passout pass:passphrase"));
        let e = DeployKey::parse(&text, Some("passphrase")).unwrap_err().to_string();
        assert!(e.starts_with("the key is encrypted with ") && e.contains(name), "{how}: {e}");
        let way_out = e.split('`').nth(1).unwrap().strip_prefix("openssl ").unwrap();
        let args = way_out.replace("KEY", "DIR/key").replace(" -out NEW", "");
        std::fs::write(dir.join("key"), text).unwrap();
        let text = openssl(dir, &format!("{args} -passin pass:passphrase -passout pass:passphrase"));
        assert_eq!(DeployKey::parse(&text, Some("passphrase")).unwrap().fingerprint(), fingerprint, "{how}");
    }
}

/// The work factors are found in the container, before the work is done.
#[test]
fn too_much_work_is_refused_before_it_is_done() {
    let salt = pbes2::Salt::new([7; 16]).unwrap();
    let pbkdf2 = |iteration_count| {
        let prf = pbes2::Pbkdf2Prf::HmacWithSha256;
        pbes2::Kdf::Pbkdf2(pbes2::Pbkdf2Params { salt, iteration_count, key_length: None, prf })
    };
    let scrypt = |cost_parameter, block_size, parallelization| {
        let key_length = None;
        pbes2::Kdf::Scrypt(pbes2::ScryptParams { salt, cost_parameter, block_size, parallelization, key_length })
    };
    for (kdf, part) in [
        (pbkdf2(10_000_001), "10000001 rounds of PBKDF2, more than 10000000: `ssh-keygen -p -a 100 -f KEY` writes"),
        (pbkdf2(u32::MAX), "4294967295 rounds of PBKDF2"),
        (scrypt(1 << 18, 8, 1), "256 MiB of scrypt, more than 128 MiB: `ssh-keygen -p"),
        (scrypt(1 << 14, 8, u16::MAX), "MiB of scrypt"),
        (scrypt(1 << 63, u16::MAX, u16::MAX), "MiB of scrypt"),
        (scrypt(0, 8, 1), "the key is damaged"),
        (scrypt(3, 8, 1), "the key is damaged"),
        // The number is impossible, but quick to check.
        (scrypt(1, 8, 1), "ENC_PASSPHRASE does not decrypt"),
        (scrypt(2, 0, 0), "ENC_PASSPHRASE does not decrypt"),
        (pbkdf2(0), "ENC_PASSPHRASE does not decrypt"),
    ] {
        let parameters = pbes2::Parameters { kdf, encryption: pbes2::EncryptionScheme::Aes128Cbc { iv: [7; 16] } };
        let data = OctetStringRef::new(&[7; 160]).unwrap();
        let info = EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data: data };
        let body = STANDARD.encode(info.to_der().unwrap());
        let text = format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n");
        refused(text.as_bytes(), part);
    }
}

/// A crafted key would keep a processor busy for hours.
#[test]
fn an_rsa_key_that_is_too_large_is_refused() {
    let number = |bytes: usize| Mpint::from_positive_bytes(&vec![0xff; bytes]);
    for (modulus, factor, part) in [(1025, 512, "of 8200 bits"), (256, 100_000, "out of range")] {
        let public = RsaPublicKey::new(number(3), number(modulus)).unwrap();
        let private = RsaPrivateKey::new(number(modulus), number(factor), number(factor), number(factor)).unwrap();
        let pair = KeypairData::Rsa(RsaKeypair::new(public, private).unwrap());
        let text = PrivateKey::new(pair, "").unwrap().to_openssh(LineEnding::LF).unwrap();
        let e = DeployKey::parse(text.as_bytes(), None).unwrap_err().to_string();
        assert!(e.contains(part), "{e}");
    }
}
