use std::io::{Read, Write};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sequoia_openpgp as openpgp;

use openpgp::crypto::{Password, SessionKey};
use openpgp::packet::{PKESK, SKESK, Tag};
use openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageStructure, VerificationHelper};
use openpgp::parse::{PacketParser, PacketParserResult, Parse};
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message};
use openpgp::types::SymmetricAlgorithm;
use openpgp::{Cert, KeyHandle};
use zeroize::Zeroizing;

use super::SecretsError;

/// A dockercfg of a thousand registries has 200 KiB; a message that unpacks to more than this is a bomb.
const MAX_PLAIN: u64 = 1 << 20;

/// Decrypts what `gpg -c` (2.x, or 1.4 with integrity protection) wrote: armoured, binary, or base64 of either.
///
/// Told apart: a wrong passphrase; changed or cut after it was encrypted; no gpg message at all; no integrity
/// protection (tag 9); encrypted to a public key; a cipher that is not accepted; more than 1 MiB of plain text.
pub fn decrypt(message: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let message = unwrap(message)?;
    check_outline(&message)?;
    let mut policy = StandardPolicy::new();
    // gpg 1.4 and 2.0 chose CAST5; 3DES is what every OpenPGP program can.
    #[allow(deprecated)]
    for algorithm in [SymmetricAlgorithm::CAST5, SymmetricAlgorithm::TripleDES] {
        policy.accept_symmetric_algo(algorithm);
    }
    let opened = DecryptorBuilder::from_bytes(&message)
        .and_then(|d| d.with_policy(&policy, None, Passphrase(passphrase.into())))
        .map_err(explain)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(64 << 10));
    // Read to the end: only there the integrity code is compared.
    opened
        .take(MAX_PLAIN + 1)
        .read_to_end(&mut plain)
        .map_err(|e| explain(e.into_inner().map_or_else(|| tampered().into(), openpgp::anyhow::Error::from_boxed)))?;
    if plain.len() as u64 > MAX_PLAIN {
        return Err(SecretsError::new("the gpg message unpacks to more than 1 MiB: that is no dockercfg"));
    }
    Ok(plain)
}

/// Encrypts so that gpg 2.2 and 1.4 read it: armoured, AES-256, integrity-protected (SEIPD version 1).
pub fn encrypt(plain: &[u8], passphrase: &str) -> Result<String, SecretsError> {
    let mut armoured = Vec::new();
    let write = |sink: &mut Vec<u8>| -> openpgp::Result<()> {
        let message = Armorer::new(Message::new(sink)).build()?;
        let message =
            Encryptor::with_passwords(message, [passphrase]).symmetric_algo(SymmetricAlgorithm::AES256).build()?;
        let mut message = LiteralWriter::new(message).build()?;
        message.write_all(plain)?;
        message.finalize()
    };
    write(&mut armoured).map_err(|e| SecretsError(format!("cannot encrypt: {e}")))?;
    String::from_utf8(armoured).map_err(|e| SecretsError(format!("cannot encrypt: {e}")))
}

/// Takes base64 and what an editor did to armour away: the result is a binary or an armoured message.
fn unwrap(message: &[u8]) -> Result<Vec<u8>, SecretsError> {
    let not_gpg = || SecretsError::new("this is not a gpg message: `gpg -c` or `image-factory secrets put` writes one");
    // Every binary OpenPGP packet begins with the highest bit set, no base64 and no armour does.
    let binary = |bytes: &[u8]| bytes.first().is_some_and(|b| b & 0x80 != 0);
    let armour = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let lines = text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        text.starts_with("-----BEGIN PGP MESSAGE-----").then(|| (lines + "\n").into_bytes())
    };
    if binary(message) && std::str::from_utf8(message).is_err() {
        return Ok(message.to_vec());
    }
    if let Some(armoured) = armour(message) {
        return Ok(armoured);
    }
    let text: Vec<u8> = message.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, config).decode(text).map_err(|_| not_gpg())?;
    match binary(&decoded) {
        true => Ok(decoded),
        false => armour(&decoded).ok_or_else(not_gpg),
    }
}

/// Looks at the kinds of packets before the passphrase is tried, for the messages that a decryptor cannot give.
fn check_outline(message: &[u8]) -> Result<(), SecretsError> {
    let mut tags = Vec::new();
    let mut walk = || -> openpgp::Result<()> {
        let mut next = PacketParser::from_bytes(message)?;
        while let PacketParserResult::Some(packet) = next {
            tags.push(packet.packet.tag());
            if let openpgp::Packet::SKESK(SKESK::V4(skesk)) = &packet.packet
                && !skesk.symmetric_algo().is_supported()
            {
                let algorithm = skesk.symmetric_algo();
                return Err(openpgp::Error::UnsupportedSymmetricAlgorithm(algorithm).into());
            }
            next = packet.next()?.1;
        }
        Ok(())
    };
    let walked = walk();
    if tags.contains(&Tag::SED) {
        return Err(SecretsError::new(
            "the gpg message has no integrity protection (old gpg wrote so) and is refused: \
             `image-factory secrets put dockercfg FILE` writes it anew",
        ));
    }
    match walked {
        Err(e) if matches!(e.downcast_ref(), Some(openpgp::Error::UnsupportedSymmetricAlgorithm(_))) => Err(explain(e)),
        Err(_) => Err(SecretsError::new("the gpg message is cut short or damaged: store it again")),
        Ok(()) if tags.contains(&Tag::PKESK) && !tags.contains(&Tag::SKESK) => Err(SecretsError::new(
            "the gpg message is encrypted to a public key: `gpg -c` or `image-factory secrets put` uses the passphrase",
        )),
        Ok(()) if !tags.contains(&Tag::SEIP) => Err(SecretsError::new(
            "this gpg message is not encrypted: `gpg -c` or `image-factory secrets put` writes one that is",
        )),
        Ok(()) => Ok(()),
    }
}

fn explain(e: openpgp::anyhow::Error) -> SecretsError {
    match e.downcast_ref() {
        Some(openpgp::Error::InvalidPassword) => SecretsError::new(
            "ENC_PASSPHRASE is not the passphrase of this gpg message: set the one it has, or store it anew \
                 with `image-factory secrets put dockercfg FILE`",
        ),
        Some(openpgp::Error::UnsupportedSymmetricAlgorithm(algorithm)) => not_accepted(&algorithm.to_string()),
        Some(openpgp::Error::PolicyViolation(what, _)) => not_accepted(what),
        _ => tampered(),
    }
}

fn not_accepted(cipher: &str) -> SecretsError {
    SecretsError(format!(
        "the gpg message is encrypted with {cipher}, which is not accepted: `image-factory secrets put` writes it anew"
    ))
}

fn tampered() -> SecretsError {
    SecretsError::new("the gpg message was changed or damaged after it was encrypted: store it again")
}

struct Passphrase(Password);

impl DecryptionHelper for Passphrase {
    fn decrypt(
        &mut self,
        _: &[PKESK],
        skesks: &[SKESK],
        _: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> openpgp::Result<Option<Cert>> {
        let opens = |skesk: &SKESK| skesk.decrypt(&self.0).is_ok_and(|(algorithm, key)| decrypt(algorithm, &key));
        match skesks.iter().any(opens) {
            true => Ok(None),
            false => Err(openpgp::Error::InvalidPassword.into()),
        }
    }
}

impl VerificationHelper for Passphrase {
    fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(Vec::new())
    }

    /// A signature inside is not asked for: whoever knows the passphrase may write.
    fn check(&mut self, _: MessageStructure) -> openpgp::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
