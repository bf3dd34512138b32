//! Tags that the rules give to a protected ref, although none of its jobs has set them yet.

use super::Tools;
use super::clone::Fetched;
use super::failure::StageFailure;
use crate::model::{CommitId, Job, TagSource, bare_name, valid_tag};

/// Returns the protected branch or tag of the repository that gets a tag by its own name or by a template, with its commit.
pub(super) async fn ref_of_tag(
    tools: &Tools,
    fetched: &Fetched,
    job: &Job,
    tag: &str,
) -> Result<Option<(String, CommitId)>, StageFailure> {
    let sharing = &tools.config.sharing;
    let Some(mirror) = fetched.mirror.as_ref().filter(|_| !sharing.protected.is_empty()) else { return Ok(None) };
    let (_, templates) = tools.config.tags_of(job.dialect);
    let is_given = |(name, commit): &(String, String)| {
        let source = TagSource { git_ref: Some(name), default_branch: fetched.default_branch.as_deref(), commit };
        let of_template = templates.iter().filter(|template| !template.names_commit()).filter_map(|t| t.of(source));
        sharing.is_protected(Some(name))
            && (valid_tag(bare_name(name)) == tag || of_template.into_iter().any(|given| given == tag))
    };
    let found = tools.git.listed_refs(mirror, &[]).await?.into_iter().find(is_given);
    Ok(found.and_then(|(name, commit)| Some((name, CommitId::parse(&commit).ok()?))))
}
