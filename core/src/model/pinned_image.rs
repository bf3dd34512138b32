use std::fmt;

use super::ImageRef;

/// An image to be run: `name[:tag][@sha256:…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedImage {
    /// The image, with the tag `latest` if the text names none.
    pub image: ImageRef,
    pub digest: Option<String>,
}

impl PinnedImage {
    /// # Errors
    /// The rule that the text breaks, as a sentence to follow "is not valid:".
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let digits = digest.map(|digest| digest.strip_prefix("sha256:").unwrap_or_default());
        if digits.is_some_and(|digits| digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("its digest must be sha256: and 64 hexadecimal digits".into());
        }
        let image = ImageRef::parse(name).or_else(|error| match name.rsplit('/').next() {
            Some(last) if !last.contains(':') => ImageRef::parse(&format!("{name}:latest")),
            _ => Err(error),
        });
        Ok(Self { image: image.map_err(|error| error.why.to_owned())?, digest: digest.map(str::to_owned) })
    }

    /// Returns the tag or the digest that the engine is asked for.
    pub fn reference(&self) -> &str {
        self.digest.as_deref().unwrap_or(self.image.tag())
    }
}

/// Writes the image as an engine takes it: by its digest, if there is one.
impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.image.name()),
            None => self.image.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, shown) in [
            ("debian", "debian:latest".to_owned()),
            ("quay.io:443/acme/tools", "quay.io:443/acme/tools:latest".into()),
            ("quay.io/acme/tools:1", "quay.io/acme/tools:1".into()),
            (&format!("debian:12@{digest}"), format!("debian@{digest}")),
        ] {
            assert_eq!(PinnedImage::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "Debian", "debian:", "debian@sha256:0a", "-x", "a b"] {
            assert!(PinnedImage::parse(text).is_err(), "{text}");
        }
    }
}
