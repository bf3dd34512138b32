//! The messages about secrets that cannot be used, each with its cause and its cure. docs/troubleshooting.md is made from
//! the same rows.

use std::fmt::Display;

use super::SecretsError;
use crate::model::Advice;

macro_rules! messages {
    ($($name:ident: $text:literal, $cause:literal, $cure:literal;)*) => {
        $(pub(super) const $name: Advice = Advice { code: "config", text: $text, cause: $cause, cure: $cure };)*

        /// Returns the messages of this module with their causes and cures, for docs/troubleshooting.md.
        pub fn advice() -> Vec<Advice> {
            vec![$($name),*]
        }
    };
}

messages! {
    // Deploy keys.
    ENCRYPTED_KEY: "the key is encrypted",
        "A deploy key has a passphrase, and the daemon knows none.",
        "set ENC_PASSPHRASE to its passphrase";
    OTHER_PASSPHRASE: "ENC_PASSPHRASE is not the passphrase of this key",
        "A deploy key was encrypted with another passphrase.",
        "set the one it has, or store the key anew with `image-factory secrets put github-key FILE`";
    WRONG_OR_DAMAGED: "ENC_PASSPHRASE does not decrypt the key",
        "The format of the key does not tell a wrong passphrase from damage.",
        "the passphrase is wrong or the key is damaged; set the one it has, or store the key anew with \
         `image-factory secrets put github-key FILE`";
    DAMAGED_KEY: "the key is damaged (…)",
        "The text is not what a program for keys wrote.",
        "store it again";
    OTHER_KIND: "…",
        "A DSA key, a key on a security token, or one on a rare curve or in a rare format cannot be used.",
        "make a deploy key with `ssh-keygen -t ed25519`";
    OTHER_CIPHER: "the key is encrypted with …, which is not supported",
        "OpenSSH wrote the key with an old cipher.",
        "`ssh-keygen -p -Z aes256-ctr -f KEY` changes that";
    OLD_CIPHER: "the key is encrypted with …, which is not supported",
        "OpenSSL wrote the key with an old cipher.",
        "`openssl pkey -in KEY -aes256 -out NEW -provider legacy -provider default` changes that";
    TOO_MUCH_WORK: "the key has …, more than …",
        "It would take too long to decrypt the key.",
        "`ssh-keygen -p -a 100 -f KEY` writes it with fewer";
    EXPLICIT_CURVE: "the key spells out its curve instead of naming it",
        "OpenSSL wrote the key with the parameters of its curve.",
        "`openssl ec -in KEY -param_enc named_curve -out NEW` names it";
    SEVERAL_KEYS: "there is more than one private key",
        "The file has a second private key behind the first.",
        "give one alone";
    PUBLIC_KEY: "this is a public key",
        "The public half of a key was given as a deploy key.",
        "the private key is needed";
    CERTIFICATE: "this is a certificate",
        "An OpenSSH certificate was given as a deploy key.",
        "the private key itself is needed";
    PUTTY_KEY: "this is a PuTTY key",
        "PuTTY has a format of its own.",
        "`puttygen KEY.ppk -O private-openssh-new -o KEY` writes it in the OpenSSH format";
    NO_KEY: "this is not a private key",
        "Something else was given as a deploy key.",
        "it must begin with `-----BEGIN OPENSSH PRIVATE KEY-----` or the like";

    // Registry logins.
    ENCRYPTED_DOCKERCFG: "the dockercfg is encrypted",
        "The registry logins have a passphrase, and the daemon knows none.",
        "set ENC_PASSPHRASE to its passphrase";
    OTHER_GPG_PASSPHRASE: "ENC_PASSPHRASE is not the passphrase of this gpg message",
        "The registry logins were encrypted with another passphrase.",
        "set the one it has, or store it anew with `image-factory secrets put dockercfg FILE`";
    NOT_GPG: "this is not JSON and not a gpg message",
        "Something else was given as registry logins.",
        "store Docker's config.json by `image-factory secrets put dockercfg FILE`";
    CUT_GPG: "the gpg message is cut short or damaged",
        "A part of the message is missing.",
        "store it again";
    TAMPERED_GPG: "the gpg message was changed or damaged after it was encrypted",
        "The integrity code of the message does not fit.",
        "store it again";
    NO_INTEGRITY: "the gpg message has no integrity protection (old gpg wrote so) and is refused",
        "Somebody could change the message without the passphrase.",
        "`image-factory secrets put dockercfg FILE` writes it anew";
    NOT_ENCRYPTED: "this gpg message is not encrypted",
        "gpg signed, packed or armoured the file alone.",
        "`gpg -c` or `image-factory secrets put` writes one that is";
    MANY_PASSPHRASES: "the gpg message has more than … passphrases",
        "Each passphrase takes time to try.",
        "`image-factory secrets put dockercfg FILE` writes it anew";
    FOR_PUBLIC_KEY: "the gpg message is encrypted to a public key",
        "Only the private half of that key decrypts it.",
        "`gpg -c` or `image-factory secrets put` uses the passphrase";
    OTHER_GPG_CIPHER: "the gpg message is encrypted with …, which is not supported",
        "gpg was told to use a rare cipher.",
        "`image-factory secrets put dockercfg FILE` writes it anew";
    NEWER_GPG: "the gpg message is in a newer format (OCB or Argon2), which is not supported",
        "A newer gpg, or one with another setting, wrote it.",
        "`gpg -c` without `--force-ocb`, or `image-factory secrets put dockercfg FILE`, writes one that is";
    LARGE_GPG: "the gpg message unpacks to more than 1 MiB, or in too many layers",
        "Something else than registry logins was encrypted.",
        "that is no dockercfg";

    // Secrets that are to be stored, and etcd.
    NO_PASSPHRASE: "set ENC_PASSPHRASE to the passphrase that the daemon has",
        "`secrets put` encrypts what it stores.",
        "it encrypts what is stored";
    LARGE_SECRET: "it is larger than 1 MiB",
        "The file is no secret of these kinds.",
        "that is no such secret";
    DAMAGED_BY_ETCD: "it was not text, and etcd's v2 API has damaged it",
        "That API keeps text alone.",
        "store it again, encrypted with `gpg -c --armor`";
}

impl SecretsError {
    /// Makes an error of a message, with `details` in the places of its `…`, and of its cure.
    pub(super) fn of(advice: &Advice, details: &[&dyn Display]) -> Self {
        Self(format!("{}: {}", advice.fill(details), advice.cure))
    }
}
