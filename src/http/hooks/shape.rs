//! Kinds of signed bodies by their own keys, because no signature covers the headers that name the event.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Top-level keys that tell a push from what else a forge, or this daemon, signs with the same secret.
#[derive(Deserialize)]
struct BodyKeys {
    #[serde(rename = "ref")]
    git_ref: Option<IgnoredAny>,
    repository: Option<IgnoredAny>,
    /// Comments, issues, pull requests, releases and most other events.
    action: Option<IgnoredAny>,
    /// The events `create` and `delete`.
    ref_type: Option<IgnoredAny>,
    /// The event `workflow_dispatch`.
    workflow: Option<IgnoredAny>,
    /// Our own post-build hook, in which a caller's keys stand beside ours.
    git: Option<IgnoredAny>,
}

/// True for a body of another kind than a push. A push that lacks some of its keys, and what is no JSON, is for the caller to
/// refuse.
pub fn is_no_push(json: &[u8]) -> bool {
    read(json).is_some_and(|keys| keys.ref_type.is_some() || keys.is_other())
}

/// True for a body of another kind than the event `create`, by which Gogs reports a tag.
pub(super) fn is_no_creation(json: &[u8]) -> bool {
    read(json).is_some_and(|keys| keys.is_other())
}

fn read(json: &[u8]) -> Option<BodyKeys> {
    serde_json::from_slice(json).ok()
}

impl BodyKeys {
    fn is_other(&self) -> bool {
        let Self { git_ref, repository, action, workflow, git, .. } = self;
        action.is_some() || workflow.is_some() || git.is_some() || (git_ref.is_none() && repository.is_none())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_keys_tell_what_a_body_is() {
        let repository = json!({"name": "hello", "owner": {"login": "acme"}});
        for (body, no_push, no_creation) in [
            (json!({"ref": "refs/heads/x", "repository": repository}), false, false),
            (json!({"ref": "refs/heads/x", "repository": repository, "action": null}), false, false),
            (json!({"repository": repository}), false, false),
            (json!({"ref": "x", "ref_type": "branch", "repository": repository}), true, false),
            (json!({"ref": "refs/heads/x", "repository": repository, "action": "created"}), true, true),
            (json!({"ref": "refs/heads/x", "repository": repository, "workflow": "x.yml"}), true, true),
            (json!({"ref": "refs/heads/x", "repository": repository, "git": {}}), true, true),
            (json!({"ref": "x", "ref_type": "tag", "repository": repository, "git": {}}), true, true),
            (json!({}), true, true),
            (json!([]), false, false),
        ] {
            let text = body.to_string();
            assert_eq!(
                (is_no_push(text.as_bytes()), is_no_creation(text.as_bytes())),
                (no_push, no_creation),
                "{text}"
            );
        }
    }
}
