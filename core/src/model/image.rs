use std::borrow::Cow;
use std::fmt;

/// The reason why an image name or tag from outside cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {value:?} is not a valid reference: {why}")]
pub struct ImageRefError {
    value: String,
    pub(super) why: &'static str,
}

/// Host of Docker Hub in image names.
pub(super) const HUB: &str = "docker.io";

/// A tagged image reference, `[registry/]path:tag`, by the grammar of `github.com/distribution/reference`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    registry: String,
    name: String,
    /// Position in `name` at which the path begins.
    path: usize,
    tag: String,
}

impl ImageRef {
    /// Reads `[registry/]path:tag`. The first part is a registry if it has a `.` or `:` or is `localhost`; otherwise the
    /// registry is `docker.io`.
    pub fn parse(text: &str) -> Result<Self, ImageRefError> {
        let bad = |why| Err(ImageRefError { value: text.chars().take(300).collect(), why });
        let Some((name, tag)) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
            return bad("it has no tag");
        };
        if !is_tag(tag) {
            return bad("a tag has 1 to 128 letters, digits, '_', '.' and '-', and starts with none of '.' and '-'");
        }
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, name),
        };
        if host.is_some_and(|host| !is_host(host)) {
            return bad("the registry's host is not valid");
        }
        if name.len() > NAME_LIMIT {
            return bad("the name is longer than 255 characters");
        }
        if !path.split('/').all(is_component) {
            return bad(
                "each part of the name has lower-case letters and digits, and between them one '.', one or two '_', \
                 or any number of '-'",
            );
        }
        let registry = match host {
            None | Some("index.docker.io") => HUB,
            Some(host) => host,
        };
        Ok(Self { registry: registry.into(), name: name.into(), path: name.len() - path.len(), tag: tag.into() })
    }

    /// Returns the registry's host and port, `docker.io` when the name has none.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the name as it was written, without the tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path of the repository within its registry. A name without an account at Docker Hub is in `library/`.
    pub fn repository(&self) -> Cow<'_, str> {
        let path = &self.name[self.path..];
        match self.registry == HUB && !path.contains('/') {
            true => format!("library/{path}").into(),
            false => path.into(),
        }
    }

    /// Returns the same text for every spelling of an image: the registry in lower case, and the path within it.
    pub fn canonical(&self) -> String {
        format!("{}/{}", self.registry.to_ascii_lowercase(), self.repository())
    }

    /// Returns the same text for every spelling of an image and tag. Tags are stored by it.
    pub fn key(&self) -> String {
        format!("{}/{}:{}", self.registry, self.repository(), self.tag)
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the same name with another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ImageRefError> {
        Self::parse(&format!("{}:{tag}", self.name))
    }
}

/// Name that a job asks for its image, without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedImage {
    /// One or several parts below the repository's own name: `api`, `tools/lint`.
    Below(String),
    /// A name that begins with a registry's host, by Docker's rule: `quay.io/acme/web`.
    Absolute(ImageRef),
}

impl RequestedImage {
    /// # Errors
    /// The form that a name has, as a sentence to follow "is not valid:".
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let image = ImageRef::parse(&format!("{text}:x")).map_err(|_| {
            "it must be a name without a tag, such as api or quay.io/acme/api: lower-case letters and digits, and between \
             them one '.', one or two '_', any number of '-', or '/'"
        })?;
        Ok(if image.path == 0 { Self::Below(image.name) } else { Self::Absolute(image) })
    }
}

/// Longest name in characters, registry included.
pub(super) const NAME_LIMIT: usize = 255;
pub(super) const TAG_LIMIT: usize = 128;

/// Returns true for `[\w][\w.-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=TAG_LIMIT).contains(&text.len()) && !text.starts_with(['.', '-']) && text.bytes().all(allowed)
}

/// Returns true for `name[:port]`, where the name has parts of letters, digits and inner `-`, or is an IPv6 address in
/// brackets.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let part_ok = |part: &str| {
        let bytes = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !part.is_empty() && bytes && !part.starts_with('-') && !part.ends_with('-')
    };
    let name_ok = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => name.split('.').all(part_ok),
    };
    name_ok && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Returns true for lower-case letters and digits with separators between them.
fn is_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && !text.starts_with(|c| !inner(c))
        && !text.ends_with(|c| !inner(c))
        && text.split(inner).all(|run| run.is_empty() || is_separator(run))
}

pub(super) fn is_separator(run: &str) -> bool {
    matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-')
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
        assert_eq!(ImageRef::parse("index.docker.io/acme/hello:1").unwrap().canonical(), "docker.io/acme/hello");
        assert_eq!(ImageRef::parse("Quay.io/acme/hello:1").unwrap().canonical(), "quay.io/acme/hello");
        assert_eq!(r("busybox:latest"), "docker.io");
        assert_eq!(r("index.docker.io/acme/hello:1"), "docker.io");
        assert_eq!(r("[::1]:5000/a:b"), "[::1]:5000");
        assert_eq!(r("127.0.0.1:5000/a/b/c/d:1"), "127.0.0.1:5000");
    }

    #[test]
    fn a_requested_name_is_below_or_absolute() {
        for text in ["api", "tools/lint", "api.v2", "a__b/c--d"] {
            assert_eq!(RequestedImage::new(text), Ok(RequestedImage::Below(text.into())));
        }
        for text in ["quay.io/acme/web", "localhost/web", "127.0.0.1:5000/a/b", "docker.io/acme/web", "api.v2/x"] {
            let Ok(RequestedImage::Absolute(image)) = RequestedImage::new(text) else { panic!("{text}") };
            assert_eq!(image.name(), text);
        }
        for text in [
            "web:v1",
            "web@sha256:0011",
            "quay.io/web:v1",
            "../web",
            "a/../b",
            "a/./b",
            "/web",
            "web/",
            "a//b",
            "Web",
            "web ",
            "wéb",
            "https://quay.io/web",
            "-web",
            "",
            &"x".repeat(256),
        ] {
            assert!(RequestedImage::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_repository_is_the_rest() {
        for (text, repository) in [
            ("quay.io/totem/acme-hello:1", "totem/acme-hello"),
            ("127.0.0.1:5000/a/b/c/d:1", "a/b/c/d"),
            ("acme/hello:1", "acme/hello"),
            ("docker.io/acme/hello:1", "acme/hello"),
            ("busybox:1", "library/busybox"),
            ("docker.io/busybox:1", "library/busybox"),
            ("quay.io/busybox:1", "busybox"),
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().repository(), repository, "{text}");
        }
    }

    #[test]
    fn what_a_registry_would_refuse_is_refused() {
        for text in [
            "a",
            "A/b:c",
            "a:",
            "a:-x",
            "a/../b:c",
            "q.io//b:c",
            "a b:c",
            "q.io/a:b/c",
            "-h:x",
            "a@sha256:zz:x",
            "q.io/a.-b:c",
            "q.io/a___b:c",
            "q.io/a._b:c",
            "q.io/a-:c",
            "q.io/_a:c",
            "q..io/a:c",
            "-q.io/a:c",
            "q_x.io/a:c",
            "q.io:x/a:c",
            "q.io:99999/a:c",
            "[::1/a:b",
            "q.io/a:é",
        ] {
            assert!(ImageRef::parse(text).is_err(), "{text}");
        }
        for text in ["q.io/a--b/c__d/e.f_g:_x.-", "Q.io/a---b:1", "localhost:5000/a:b", "a.b:80/1:2"] {
            assert!(ImageRef::parse(text).is_ok(), "{text}");
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
