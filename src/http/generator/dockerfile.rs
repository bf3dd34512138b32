use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::model::JobSource;

/// Base64 with or without its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads the base64 of a Dockerfile as it comes out of a query: standard or url-safe, with or without its padding and line
/// breaks, and with a space in the place of a `+` that nobody encoded.
///
/// # Errors
/// The rule that the text breaks, as a sentence to follow "cannot be used:".
pub fn read_dockerfile(text: &str) -> Result<String, String> {
    let restored = |c: char| match c {
        ' ' | '-' => '+',
        '_' => '/',
        other => other,
    };
    let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\t')).map(restored).collect();
    if plain.is_empty() {
        return Err("it is empty: send the base64 of a Dockerfile".into());
    }
    let bytes = LENIENT.decode(plain).map_err(|error| format!("it is no base64 ({error})"))?;
    let limit = JobSource::LARGEST_DOCKERFILE;
    if bytes.len() > limit {
        return Err(format!("the Dockerfile has {} bytes, and {limit} are the most", bytes.len()));
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => Err("the Dockerfile has a NUL in it: save it as UTF-8".into()),
        Ok(text) if text.trim().is_empty() => Err("the Dockerfile is empty".into()),
        Ok(text) => Ok(text),
        Err(_) => Err("the Dockerfile is not in UTF-8: save it as UTF-8".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    #[test]
    fn what_is_no_dockerfile_is_named() {
        let utf16 = [0xff, 0xfe, b'F', 0, b'R', 0];
        for (text, words) in [
            ("", "it is empty"),
            ("FROM busybox!", "no base64"),
            (&*STANDARD.encode(" \n"), "the Dockerfile is empty"),
            (&*STANDARD.encode("FROM a\0"), "NUL"),
            (&*STANDARD.encode(utf16), "not in UTF-8"),
            (&*STANDARD.encode("#".repeat(JobSource::LARGEST_DOCKERFILE + 1)), "40961 bytes, and 40960 are the most"),
        ] {
            let error = read_dockerfile(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_shape_of_base64_is_read(dockerfile in "FROM \\PC{1,60}") {
            let wrapped = STANDARD.encode(&dockerfile).as_bytes().chunks(76).map(|line| {
                String::from_utf8(line.to_vec()).unwrap()
            }).collect::<Vec<_>>().join("\r\n");
            let shapes = [
                STANDARD.encode(&dockerfile),
                STANDARD_NO_PAD.encode(&dockerfile),
                URL_SAFE.encode(&dockerfile),
                URL_SAFE_NO_PAD.encode(&dockerfile),
                STANDARD.encode(&dockerfile).replace('+', " "),
                wrapped + "\n",
            ];
            for shape in shapes {
                prop_assert_eq!(read_dockerfile(&shape), Ok(dockerfile.clone()), "{}", shape);
            }
        }
    }
}
