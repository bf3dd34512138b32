//! The images that a Dockerfile builds on: those behind `FROM`, `COPY --from` and `RUN --mount=from=`
//! (<https://docs.docker.com/reference/dockerfile/>).

use std::collections::{BTreeMap, BTreeSet};

use super::ImageRef;
use super::dockerfile::{escape_character, instructions};
use super::expansion::{Variables, expand, split_words};

/// An image that a Dockerfile builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image, with the tag `latest` if the Dockerfile names none.
    pub image: ImageRef,
    /// True if the Dockerfile has the image's digest, so that it never moves.
    pub is_pinned: bool,
}

impl BaseImage {
    /// Reads a reference, `name[:tag][@digest]`.
    fn parse(text: &str) -> Option<Self> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let image = ImageRef::parse(name).or_else(|_| ImageRef::parse(&format!("{name}:latest"))).ok()?;
        Some(Self { image, is_pinned: digest.is_some() })
    }
}

/// Returns the images that a Dockerfile builds on, each once, in their order. Build arguments stand for `ARG`s before the
/// first `FROM`. An image is left out if its name depends on what only the builder knows, such as `TARGETARCH`.
pub fn base_images(dockerfile: &str, build_args: &BTreeMap<String, String>) -> Vec<BaseImage> {
    let (mut args, mut stages, mut bases) = (Variables::default(), BTreeSet::new(), Vec::new());
    let escape = escape_character(dockerfile);
    let mut add = |name: &str, stages: &BTreeSet<String>| {
        let is_image = name != "scratch" && name.parse::<u32>().is_err() && !stages.contains(&name.to_lowercase());
        if let Some(base) = BaseImage::parse(name).filter(|base| is_image && !bases.contains(base)) {
            bases.push(base);
        }
    };
    for instruction in instructions(dockerfile.as_bytes()) {
        match instruction.keyword.as_str() {
            "ARG" if stages.is_empty() => {
                for word in split_words(&instruction.words.join(" "), escape) {
                    let (name, default) =
                        word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
                    let default = default.and_then(|value| expand(value, escape, &|name| args.get(name).cloned()));
                    args.set(name, build_args.get(name).cloned().or(default));
                }
            }
            "FROM" => {
                if let Some(name) =
                    instruction.base_image().and_then(|name| expand(name, escape, &|name| args.get(name).cloned()))
                {
                    add(&name, &stages);
                }
                // A stage without a name ends the global arguments all the same.
                stages.insert(instruction.stage().unwrap_or_default().to_lowercase());
            }
            "COPY" | "ADD" | "RUN" => instruction.sources().for_each(|name| add(name, &stages)),
            _ => {}
        }
    }
    bases
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bases(dockerfile: &str, args: &[(&str, &str)]) -> Vec<String> {
        let args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let shown = |base: BaseImage| format!("{}{}", base.image, if base.is_pinned { " pinned" } else { "" });
        base_images(dockerfile, &args).into_iter().map(shown).collect()
    }

    #[test]
    fn images_are_found_and_stages_are_not() {
        let dockerfile = "# syntax=docker/dockerfile:1\nfrom --platform=$BUILDPLATFORM quay.io/a/go:1 AS Build\n\
             RUN --mount=type=bind,from=quay.io/a/tools,target=/t --mount=type=cache,target=/c make from=x\n\
             FROM build\nCOPY --from=0 --chown=1 /a /\nCOPY --from=Build /a /\n\
             COPY \\\n  # a comment inside\n  --from=busybox@sha256:00 /a /\nFROM scratch\nFROM quay.io/a/go:1\n";
        assert_eq!(bases(dockerfile, &[]), ["quay.io/a/go:1", "quay.io/a/tools:latest", "busybox:latest pinned"]);
        assert_eq!(bases("# escape=`\nFROM `\n  a:1\n", &[]), ["a:1"]);
        assert_eq!(bases("FROM a:1\nRUN <<EOF\nFROM b:1\nEOF\n", &[]), ["a:1"]);
    }

    #[test]
    fn arguments_before_the_first_stage_are_replaced() {
        let dockerfile = "ARG TAG=\"1\" REPO\nARG BASE=q.io/x:$TAG\nFROM ${BASE}\nARG BASE=other\nFROM $BASE AS b\n\
             FROM q.io/${NONE:-y}:${TAG:+2}\nFROM ${REPO}/z\nFROM q.io/$TARGETARCH\n";
        assert_eq!(bases(dockerfile, &[]), ["q.io/x:1", "q.io/y:2"]);
        let args = [("TAG", "3"), ("REPO", "r.io"), ("NONE", "undeclared")];
        assert_eq!(bases(dockerfile, &args), ["q.io/x:3", "q.io/y:2", "r.io/z:latest"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "((FROM|ARG|COPY|RUN) ?[-\\\\${}:=a-z\n]{0,20}){0,4}") {
            let _ = bases(&text, &[("a", "b")]);
        }
    }
}
