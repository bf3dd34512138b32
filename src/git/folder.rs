//! A folder of a commit's tree by its path, through links that stay in the tree.

use super::{GitError, Kind, Snapshot};

/// The most links that a path may lead through, as in Linux's own walk.
const MAX_LINKS: usize = 40;

/// The reason why a path leads to no folder, with the part of the path where that shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoFolder {
    Missing(Vec<u8>),
    File(Vec<u8>),
    /// A submodule that was not fetched.
    Submodule(Vec<u8>),
    /// A link that is absolute, or leads out of the tree.
    Outside(Vec<u8>),
    /// Links in a circle, or too many.
    Circle(Vec<u8>),
}

impl Snapshot {
    /// The path without links of the folder at `path`, which is empty for the root and else has no empty part, `.` or
    /// `..`. The inner error is for whoever wrote the path or the tree.
    pub async fn folder(&self, path: &[u8]) -> Result<Result<Vec<u8>, NoFolder>, GitError> {
        let mut rest: Vec<Vec<u8>> = parts(path).rev().collect();
        let (mut here, mut links, mut blobs) = (Vec::new(), 0, None);
        while let Some(part) = rest.pop() {
            if part == b".." {
                if here.is_empty() {
                    return Ok(Err(NoFolder::Outside(path.into())));
                }
                here.truncate(here.iter().rposition(|&b| b == b'/').unwrap_or(0));
                continue;
            }
            let next = if here.is_empty() { part } else { [&here, &b"/"[..], &part].concat() };
            let Some(entry) = self.entry(&next) else { return Ok(Err(NoFolder::Missing(next))) };
            match entry.kind {
                Kind::Dir => here = next,
                Kind::File | Kind::Exec => return Ok(Err(NoFolder::File(next))),
                Kind::Gitlink => return Ok(Err(NoFolder::Submodule(next))),
                Kind::Symlink if links == MAX_LINKS => return Ok(Err(NoFolder::Circle(path.into()))),
                Kind::Symlink => {
                    links += 1;
                    let blobs = match &mut blobs {
                        Some(blobs) => blobs,
                        None => blobs.insert(self.blobs()?),
                    };
                    let target = blobs.read(entry).await?;
                    if target.starts_with(b"/") {
                        return Ok(Err(NoFolder::Outside(next)));
                    }
                    rest.extend(parts(&target).rev());
                }
            }
        }
        Ok(Ok(here))
    }
}

/// The parts of a path, without `.` and those that are empty.
fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}
