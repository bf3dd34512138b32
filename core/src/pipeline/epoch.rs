//! Gives the commit's time as `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>) to the
//! Dockerfiles that declare it.
//!
//! Other Dockerfiles do not get it. BuildKit from 0.11 on makes it the image's creation time, by which images are pruned
//! and listed. Later versions put it into `WORKDIR`, which would make each commit run every step after a `WORKDIR` anew.

use crate::git::{GitError, Snapshot};

/// Name of the build argument.
pub(super) const NAME: &str = "SOURCE_DATE_EPOCH";
/// Last second of the year 9999.
pub(super) const LATEST: i64 = 253_402_300_799;

/// Returns the commit's time in seconds, if there is a commit and the Dockerfile has `ARG SOURCE_DATE_EPOCH`.
pub(super) async fn commit_time(snapshot: &Snapshot, dockerfile: &str) -> Result<Option<i64>, GitError> {
    if !is_declared(dockerfile) {
        return Ok(None);
    }
    // Git takes any number, but programs take the years 1970 to 9999.
    Ok(snapshot.commit_time().await?.map(|seconds| seconds.clamp(0, LATEST)))
}

/// Returns whether a Dockerfile declares the argument. One `ARG` may declare several names, with or without a default. An
/// `ARG` line in a heredoc is taken for an instruction, which costs no more than an unused variable in that step.
fn is_declared(dockerfile: &str) -> bool {
    let whole = dockerfile.replace("\\\r\n", " ").replace("\\\n", " ");
    whole.lines().any(|line| {
        let mut words = line.split_whitespace();
        let is_arg = words.next().is_some_and(|word| word.eq_ignore_ascii_case("ARG"));
        is_arg && words.any(|word| word.split('=').next() == Some(NAME))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_found() {
        for text in [
            "FROM x\nARG SOURCE_DATE_EPOCH\n",
            "arg SOURCE_DATE_EPOCH=0\nFROM x",
            "FROM x\r\n  ARG A=1 SOURCE_DATE_EPOCH B\r\n",
            "FROM x\nARG A \\\n    SOURCE_DATE_EPOCH\n",
        ] {
            assert!(is_declared(text), "{text:?}");
        }
        for text in
            ["FROM x\n", "# ARG SOURCE_DATE_EPOCH\n", "RUN echo ARG $SOURCE_DATE_EPOCH", "ARG SOURCE_DATE_EPOCHS"]
        {
            assert!(!is_declared(text), "{text:?}");
        }
    }
}
