use std::io::{Read, Write};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sequoia_openpgp as openpgp;

use openpgp::Packet;
use openpgp::crypto::{Password, S2K};
use openpgp::packet::skesk::SKESK4;
use openpgp::packet::{SEIP, SKESK, Tag};
use openpgp::parse::{Dearmor, PacketParser, PacketParserBuilder, PacketParserResult, Parse};
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message};
use openpgp::types::SymmetricAlgorithm;
use zeroize::Zeroizing;

use super::{SecretsError, messages};

/// Most bytes of plain text. A dockercfg of a thousand registries has 200 KiB, and a message that unpacks to more than this
/// limit is a bomb.
const MAX_PLAIN: u64 = 1 << 20;

/// Most layers of compression. gpg compresses once.
const MAX_LAYERS: usize = 4;
/// Most passphrases of a message. gpg encrypts with one, and each further one costs a hash over up to 65 MB (0.1 s).
const MAX_PASSPHRASES: usize = 8;

/// Decrypts a message that `gpg -c` (2.x, or 1.4 with integrity protection) wrote: armoured, binary, or base64 of either.
///
/// # Errors
/// Each fault has its own message: a wrong passphrase; a message that was changed or cut after it was encrypted; a text
/// that is no gpg message; no integrity protection (tag 9); LibrePGP's OCB (`--force-ocb`) and RFC 9580's AEAD; encryption
/// to a public key; a cipher that is not supported; more than 1 MiB of plain text.
pub fn decrypt(message: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    let message = unwrap(message)?;
    let keys = outline(&message)?;
    let mut layer = open(&message, &keys, &passphrase.into())?;
    for _ in 0..MAX_LAYERS {
        layer = match layer {
            Layer::Literal(plain) => return Ok(plain),
            Layer::Compressed(packed) => unpack(&packed)?,
        };
    }
    Err(too_large())
}

/// Encrypts a text into a message that gpg 2.2 and 1.4 read: armoured, AES-256, integrity-protected (SEIPD version 1).
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

/// Removes base64, and the white space that an editor added to armour. Returns a binary or an armoured message.
fn unwrap(message: &[u8]) -> Result<Vec<u8>, SecretsError> {
    let not_gpg = || SecretsError::of(&messages::NOT_GPG, &[]);
    // Every binary OpenPGP packet begins with the highest bit set, while base64 and armour begin without it.
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
        true if begins_message(&decoded) => Ok(decoded),
        true => Err(not_gpg()),
        false => armour(&decoded).ok_or_else(not_gpg),
    }
}

/// Returns true if the bytes begin with a packet that an encrypted message may begin with: of a length that fits, and of a
/// version that exists (RFC 9580, 4.2 and 5). The first byte alone says too little, because half of all words are base64 of
/// bytes whose first has its highest bit set.
fn begins_message(bytes: &[u8]) -> bool {
    let Some((&first, rest)) = bytes.split_first() else { return false };
    let is_old = first & 0x40 == 0;
    let tag = if is_old { first >> 2 & 0xf } else { first & 0x3f };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    // The number of bytes that tell the length, and the length; none where the body's end is not told in advance.
    let (head, length) = match (is_old, first & 3, rest.first()) {
        (true, 3, _) => (0, None),
        (true, kind, _) => (1 << kind, rest.get(..1 << kind).map(number)),
        (false, _, Some(byte @ 192..=223)) => {
            (2, rest.get(1).map(|low| ((usize::from(*byte) - 192) << 8) + usize::from(*low) + 192))
        }
        (false, _, Some(224..=254)) => (1, None),
        (false, _, Some(255)) => (5, rest.get(1..5).map(number)),
        (false, _, byte) => (1, byte.map(|byte| usize::from(*byte))),
    };
    let Some((version, _)) = rest.get(head..).and_then(<[u8]>::split_first) else { return false };
    let is_known = match tag {
        // Session keys that are encrypted to a public key, and by a passphrase.
        1 | 3 => (2..=6).contains(version),
        // Encrypted data with a code for its integrity.
        18 | 20 => (1..=2).contains(version),
        // Compressed data, encrypted data without such a code, a marker, plain text, padding.
        8 | 9 | 10 | 11 | 21 => true,
        _ => false,
    };
    let is_whole = length.is_none_or(|length| length < rest.len());
    // Only the packet with the data may be cut, and reading it says so.
    is_known && (is_whole || matches!(tag, 9 | 18 | 20))
}

/// The content of a packet: plain text, or the packets that were compressed in it.
enum Layer {
    Literal(Zeroizing<Vec<u8>>),
    Compressed(Zeroizing<Vec<u8>>),
}

/// Checks the packets before the passphrase is tried, because a decryptor cannot name all faults. Returns the packets that
/// derive a key from a passphrase. Nothing is unpacked.
fn outline(message: &[u8]) -> Result<Vec<SKESK4>, SecretsError> {
    let cut = || SecretsError::of(&messages::CUT_GPG, &[]);
    let (mut keys, mut public, mut sealed) = (Vec::new(), false, false);
    let mut next = PacketParser::from_bytes(message).map_err(|_| cut())?;
    while let PacketParserResult::Some(packet) = next {
        match (&packet.packet, packet.packet.tag()) {
            (_, Tag::SED) => {
                return Err(SecretsError::of(&messages::NO_INTEGRITY, &[]));
            }
            (_, Tag::Literal | Tag::CompressedData) if !sealed => {
                return Err(SecretsError::of(&messages::NOT_ENCRYPTED, &[]));
            }
            (_, Tag::Marker | Tag::Padding) => {}
            _ if sealed => return Err(tampered()),
            (Packet::SKESK(SKESK::V4(key)), _) if matches!(key.s2k(), S2K::Argon2 { .. }) => return Err(aead()),
            (Packet::SKESK(SKESK::V4(key)), _) if !key.symmetric_algo().is_supported() => {
                return Err(not_supported(key.symmetric_algo()));
            }
            (Packet::SKESK(SKESK::V4(key)), _) if keys.len() < MAX_PASSPHRASES => keys.push(key.clone()),
            (Packet::SKESK(SKESK::V4(_)), _) => {
                return Err(SecretsError::of(&messages::MANY_PASSPHRASES, &[&MAX_PASSPHRASES]));
            }
            (_, Tag::PKESK) => public = true,
            (Packet::SEIP(SEIP::V1(_)), _) => sealed = true,
            (_, Tag::SKESK | Tag::SEIP | Tag::AED) => return Err(aead()),
            _ => return Err(cut()),
        }
        // The packet is read to its end, because a packet that is cut is an error here.
        next = packet.next().map_err(|_| cut())?.1;
    }
    match (sealed, keys.is_empty()) {
        (true, false) => Ok(keys),
        (true, true) if public => Err(SecretsError::of(&messages::FOR_PUBLIC_KEY, &[])),
        _ => Err(cut()),
    }
}

/// Decrypts the outer packet, and returns its content after the integrity code (MDC) behind it was compared.
#[allow(deprecated)] // sequoia deprecates packets of version 1, which are the ones that gpg writes.
fn open(message: &[u8], keys: &[SKESK4], passphrase: &Password) -> Result<Layer, SecretsError> {
    let (mut layer, mut intact) = (None, false);
    let parser = PacketParserBuilder::from_bytes(message).map(|b| b.max_recursion_depth(1));
    let mut next = parser.and_then(|b| b.build()).map_err(|_| tampered())?;
    while let PacketParserResult::Some(mut packet) = next {
        match (packet.recursion_depth(), packet.packet.tag()) {
            (0, Tag::SEIP) => {
                let opens = |key: &SKESK4| {
                    key.decrypt(passphrase).is_ok_and(|(algorithm, key)| packet.decrypt(algorithm, &key).is_ok())
                };
                if !keys.iter().any(opens) {
                    return Err(SecretsError::of(&messages::OTHER_GPG_PASSPHRASE, &[]));
                }
            }
            (0, _) => {}
            // A packet behind the integrity code is refused, because the code is the last packet.
            _ if intact => return Err(tampered()),
            (_, Tag::Literal | Tag::CompressedData) if layer.is_none() => layer = content(&mut packet)?,
            (_, Tag::MDC) => intact = matches!(&packet.packet, Packet::MDC(code) if code.valid()),
            // A signature is ignored, because everyone who knows the passphrase may write the message.
            (_, Tag::OnePassSig | Tag::Signature | Tag::Marker | Tag::Padding) => {}
            _ => return Err(tampered()),
        }
        next = packet.recurse().map_err(|_| tampered())?.1;
    }
    layer.filter(|_| intact).ok_or_else(tampered)
}

/// Returns the layer inside a compressed one.
fn unpack(packets: &[u8]) -> Result<Layer, SecretsError> {
    let parser = PacketParserBuilder::from_bytes(packets).map(|b| b.max_recursion_depth(0).dearmor(Dearmor::Disabled));
    let mut next = parser.and_then(|b| b.build()).map_err(|_| tampered())?;
    while let PacketParserResult::Some(mut packet) = next {
        if let Some(layer) = content(&mut packet)? {
            return Ok(layer);
        }
        next = packet.next().map_err(|_| tampered())?.1;
    }
    Err(tampered())
}

/// Reads the content of a packet up to the limit. Returns `None` for a packet without content.
fn content(packet: &mut PacketParser<'_>) -> Result<Option<Layer>, SecretsError> {
    let layer = match packet.packet.tag() {
        Tag::Literal => Layer::Literal,
        Tag::CompressedData => Layer::Compressed,
        _ => return Ok(None),
    };
    let mut held = Zeroizing::new(Vec::with_capacity(64 << 10));
    packet.take(MAX_PLAIN + 1).read_to_end(&mut held).map_err(|_| tampered())?;
    match held.len() as u64 > MAX_PLAIN {
        true => Err(too_large()),
        false => Ok(Some(layer(held))),
    }
}

fn not_supported(cipher: SymmetricAlgorithm) -> SecretsError {
    SecretsError::of(&messages::OTHER_GPG_CIPHER, &[&cipher])
}

fn aead() -> SecretsError {
    SecretsError::of(&messages::NEWER_GPG, &[])
}

fn too_large() -> SecretsError {
    SecretsError::of(&messages::LARGE_GPG, &[])
}

fn tampered() -> SecretsError {
    SecretsError::of(&messages::TAMPERED_GPG, &[])
}

#[cfg(test)]
mod tests;
