//! The tags, lightweight and annotated, that lead to one of the commits.

use std::collections::HashSet;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitTag {
    /// Full name, such as `refs/tags/v1`.
    name: Vec<u8>,
    pub object: Oid,
    /// Commit that an annotated tag leads to.
    peeled: Option<Oid>,
}

impl GitTag {
    pub fn is_annotated(&self) -> bool {
        self.peeled.is_some()
    }
}

/// Returns the mirror's tags of these commits, in the order of their names.
pub async fn below(config: &GitConfig, mirror: &Mirror, commits: &HashSet<Oid>) -> Result<Vec<GitTag>, RepoError> {
    // Git ends with 1 if there is no tag.
    let listing = ask(local(config, &mirror.path).args(["show-ref", "--tags", "--dereference"])).await?;
    let mut tags = parse(&listing.unwrap_or_default())
        .ok_or_else(|| RepoError::Damaged("git show-ref wrote what is no list of tags".into()))?;
    tags.retain(|tag| commits.contains(&tag.peeled.unwrap_or(tag.object)));
    tags.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(tags)
}

/// Reads lines `OID NAME`. An annotated tag is followed by `OID NAME^{}` with the object at its end.
fn parse(listing: &[u8]) -> Option<Vec<GitTag>> {
    let mut tags: Vec<GitTag> = Vec::new();
    for line in listing.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let (id, name) = line.split_at(line.iter().position(|&b| b == b' ')?);
        let (object, name) = (Oid::from_hex(id).ok()?, &name[1..]);
        match name.strip_suffix(b"^{}") {
            Some(name) => tags.last_mut().filter(|tag| tag.name == name)?.peeled = Some(object),
            None => tags.push(GitTag { name: name.into(), object, peeled: None }),
        }
    }
    Some(tags)
}

/// Returns the content of the file `packed-refs`.
pub fn packed(tags: &[GitTag]) -> Vec<u8> {
    let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for GitTag { name, object, peeled } in tags {
        text.extend([format!("{object} ").as_bytes(), name, b"\n"].concat());
        text.extend(peeled.iter().flat_map(|peeled| format!("^{peeled}\n").into_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_listed_is_packed() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let listing = format!("{a} refs/tags/light\n{b} refs/tags/v1\n{a} refs/tags/v1^{{}}\n");
        let tags = parse(listing.as_bytes()).unwrap();
        assert_eq!(tags.iter().map(GitTag::is_annotated).collect::<Vec<_>>(), [false, true]);
        let packed = String::from_utf8(packed(&tags)).unwrap();
        let head = "# pack-refs with: peeled fully-peeled sorted \n";
        assert_eq!(packed, format!("{head}{a} refs/tags/light\n{b} refs/tags/v1\n^{a}\n"));
    }

    proptest! {
        #[test]
        fn any_listing_is_survived(listing: Vec<u8>) {
            let _ = parse(&listing);
        }
    }
}
