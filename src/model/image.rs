use std::fmt;

/// Why an image name or tag from outside cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {value:?} is not a valid reference: {why}")]
pub struct ImageRefError {
    value: String,
    why: &'static str,
}

/// A tagged image reference, `registry/path:tag`, by the grammar of
/// `github.com/distribution/reference`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    registry: String,
    name: String,
    tag: String,
}

impl ImageRef {
    /// Reads `[registry/]path:tag`. The first part is a registry if it has a `.` or `:` or is
    /// `localhost`; else the registry is `docker.io`.
    pub fn parse(text: &str) -> Result<Self, ImageRefError> {
        let bad = |why| Err(ImageRefError { value: text.chars().take(300).collect(), why });
        let Some((name, tag)) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
            return bad("it has no tag");
        };
        let tag_ok = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.bytes().all(tag_ok) {
            return bad("a tag has 1 to 128 letters, digits, '_', '.' and '-', and starts with none of '.' and '-'");
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => ("docker.io", name),
        };
        let host_ok = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        if registry.starts_with('-') || !registry.bytes().all(host_ok) {
            return bad("the registry's host is not valid");
        }
        if name.len() > 255 {
            return bad("the name is longer than 255 characters");
        }
        let part_ok = |part: &str| {
            let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let bytes = part.as_bytes();
            !bytes.is_empty()
                && alnum(bytes[0])
                && alnum(bytes[bytes.len() - 1])
                && bytes.iter().all(|&b| alnum(b) || b"._-".contains(&b))
                && !part.contains("..")
                && !part.contains("___")
        };
        if !path.split('/').all(part_ok) {
            return bad("each part of the name has lower-case letters, digits and single '.', '_', '-' between them");
        }
        Ok(Self { registry: registry.into(), name: name.into(), tag: tag.into() })
    }

    /// The registry's host and port, `docker.io` when the name has none.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name as it was written, without the tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_registry_is_told_from_the_path() {
        let r = |text| ImageRef::parse(text).unwrap().registry().to_owned();
        assert_eq!(r("127.0.0.1:5555/totem/acme-hello:HEAD"), "127.0.0.1:5555");
        assert_eq!(r("quay.io/totem/acme-hello:1234"), "quay.io");
        assert_eq!(r("localhost/a:b"), "localhost");
        assert_eq!(r("acme/hello:latest"), "docker.io");
        assert_eq!(r("busybox:latest"), "docker.io");
    }

    #[test]
    fn what_a_registry_would_refuse_is_refused() {
        for text in
            ["a", "A/b:c", "a:", "a:-x", "a/../b:c", "q.io//b:c", "a b:c", "q.io/a:b/c", "-h:x", "a@sha256:zz:x"]
        {
            assert!(ImageRef::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[a-z.:/-]{1,20}:[a-zA-Z0-9._-]{1,10}") {
            if let Ok(image) = ImageRef::parse(&text) {
                prop_assert_eq!(image.to_string(), text);
            }
        }
    }
}
