//! The forms in which a secret may be written.

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shorter ones are not masked: they would blacken words that are no secret.
const MIN: usize = 6;

/// What the ways to write a text into a URL leave as it is, beside letters and digits: RFC 3986, JavaScript's
/// `encodeURIComponent`, a form, a password before the `@` (<https://url.spec.whatwg.org/#userinfo-percent-encode-set>).
const LEFT_IN_URLS: [&[u8]; 4] = [b"-_.~", b"-_.~!'()*", b"-_.*+", b"-_.~!$&'()*+,"];

/// How this secret may look: as it is, in base64, in a URL, in JSON. One of several lines (a key) line by line, as
/// programs indent what they print, and as one text without its breaks, as they may be others; the frame of a PEM file is
/// no secret. No form has a line's break in it.
pub(super) fn forms(secret: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let lines: Vec<&str> = secret.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let whole = Zeroizing::new(lines.concat());
    let mut forms = Forms(Vec::new());
    for text in lines.into_iter().chain([whole.as_str()]).filter(|text| text.len() >= MIN) {
        forms.add(text.as_bytes());
        forms.add_base64(text.as_bytes());
        for left in LEFT_IN_URLS {
            let upper = in_url(text, left);
            forms.add(upper.as_bytes());
            forms.add(&lower_hex(&upper));
        }
        if let Ok(json) = serde_json::to_string(text).map(Zeroizing::new) {
            forms.add(&json.as_bytes()[1..json.len() - 1]);
        }
    }
    forms.0
}

/// How a part of a binary secret may look, as in the PEM file that it is a part of: in base64.
pub(super) fn binary_forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut forms = Forms(Vec::new());
    if secret.len() >= MIN {
        forms.add_base64(secret);
    }
    forms.0
}

struct Forms(Vec<Zeroizing<Vec<u8>>>);

impl Forms {
    fn add(&mut self, form: &[u8]) {
        if !self.0.iter().any(|known| known.as_slice() == form) {
            self.0.push(Zeroizing::new(form.into()));
        }
    }

    fn add_base64(&mut self, secret: &[u8]) {
        for shift in 0..3 {
            self.add(&core(&STANDARD_NO_PAD, secret, shift));
            self.add(&core(&URL_SAFE_NO_PAD, secret, shift));
        }
    }
}

/// What the base64 of every text has in it that has `secret` in it, `shift` bytes behind a multiple of three. Characters
/// that depend on the neighbours too are left out: 4 bits of the secret at either end.
fn core(alphabet: &GeneralPurpose, secret: &[u8], shift: usize) -> Zeroizing<Vec<u8>> {
    let shifted = Zeroizing::new([&[0; 2][..shift], secret].concat());
    let text = Zeroizing::new(alphabet.encode(&*shifted));
    let first = [0, 2, 3][shift];
    let last = text.len() - usize::from(!shifted.len().is_multiple_of(3));
    Zeroizing::new(text.as_bytes()[first.min(last)..last].into())
}

fn in_url(text: &str, left: &[u8]) -> Zeroizing<String> {
    let is_form = left.contains(&b'+') && !left.contains(&b'!');
    let mut url = Zeroizing::new(String::with_capacity(3 * text.len()));
    for byte in text.bytes() {
        match byte {
            b' ' if is_form => url.push('+'),
            b'+' if is_form => url.push_str("%2B"),
            _ if byte.is_ascii_alphanumeric() || left.contains(&byte) => url.push(byte.into()),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// `%2F` as `%2f`, which is the same.
fn lower_hex(url: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(url.as_bytes().to_vec());
    let percents: Vec<usize> = url.match_indices('%').map(|(at, _)| at).collect();
    for at in percents {
        bytes.get_mut(at + 1..at + 3).into_iter().for_each(<[u8]>::make_ascii_lowercase);
    }
    bytes
}
