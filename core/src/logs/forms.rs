//! Derives the forms in which programs may write a secret.

use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shortest secret that is masked. Masking shorter ones would hit words that are no secret.
const MIN: usize = 6;

/// Characters besides letters and digits that the encodings for URLs leave unchanged: RFC 3986, JavaScript's
/// `encodeURIComponent`, a form, and a password before the `@`
/// (<https://url.spec.whatwg.org/#userinfo-percent-encode-set>).
const LEFT_IN_URLS: [&[u8]; 4] = [b"-_.~", b"-_.~!'()*", b"-_.*+", b"-_.~!$&'()*+,"];

/// Returns the forms of a secret: unchanged, in base64, in a URL and in JSON. A secret of several lines, such as a
/// key, has forms for each line, because programs indent what they print, and for the whole text without its line
/// breaks, because they may break it elsewhere. The frame of a PEM file is no secret. No form has a line break.
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

/// Returns the forms of a part of a binary secret: in base64, as in the PEM file that contains the part.
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

/// Returns the base64 characters of `secret` inside of any text that contains it `shift` bytes after a multiple of
/// three. Characters that also depend on the neighbours of the secret, up to 4 bits at either end, are left out.
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

/// Converts `%2F` to the equivalent `%2f`.
fn lower_hex(url: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(url.as_bytes().to_vec());
    let percents: Vec<usize> = url.match_indices('%').map(|(at, _)| at).collect();
    for at in percents {
        bytes.get_mut(at + 1..at + 3).into_iter().for_each(<[u8]>::make_ascii_lowercase);
    }
    bytes
}
