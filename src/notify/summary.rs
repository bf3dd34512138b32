//! How a job ended, for people: what the channels that they read have in common.

use reqwest::Url;

use crate::model::{CommitId, GitRef, Job, JobId, Occasion, RepoName, Status, TagResult};

/// The longest that a name, and the longest that a cause is shown, in characters. HipChat takes 10,000 in all.
const NAME: usize = 120;
const CAUSE: usize = 600;
const LINK: usize = 500;

/// Where people find more.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// BASE_URL, without a `/` at its end.
    pub base_url: String,
    /// Of the Git server's pages, such as `https://github.com`; None if it is not known to have any.
    pub pages: Option<Url>,
    /// TOTEM_ENV
    pub environment: String,
}

impl Links {
    /// Where a job is shown.
    pub(super) fn job(&self, id: JobId) -> String {
        format!("{}/job/{id}", self.base_url)
    }
}

/// A job that has ended, for a channel that is to tell of it.
pub(super) struct Story<'a> {
    pub job: &'a Job,
    pub occasion: Occasion,
    links: &'a Links,
}

impl<'a> Story<'a> {
    /// None if it is not among what the channel's readers want to know.
    pub fn of(job: &'a Job, previous: Option<Status>, wanted: &[Occasion], links: &'a Links) -> Option<Self> {
        let occasion = Occasion::of(job.status, previous).filter(|occasion| occasion.is_among(wanted))?;
        Some(Self { job, occasion, links })
    }

    pub fn failed(&self) -> bool {
        self.occasion == Occasion::Failure
    }

    /// `The build of acme/hello failed`
    pub fn headline(&self) -> String {
        let end = match self.occasion {
            Occasion::Failure => "failed",
            Occasion::Fixed => "is fixed",
            Occasion::Success => "succeeded",
        };
        format!("The build of {}/{} {end}", self.owner(), self.repo())
    }

    pub fn environment(&self) -> String {
        line(&self.links.environment, NAME)
    }

    pub fn owner(&self) -> String {
        line(&self.job.context.owner, NAME)
    }

    pub fn repo(&self) -> String {
        line(&self.job.context.repo, NAME)
    }

    pub fn branch(&self) -> String {
        line(&self.job.context.branch, NAME)
    }

    /// The one that was built; where none was found, the one that was asked for.
    pub fn commit(&self) -> String {
        line(self.job.resolved_commit.as_ref().map_or(&self.job.context.commit, CommitId::as_str), NAME)
    }

    pub fn short_commit(&self) -> String {
        self.commit().chars().take(7).collect()
    }

    pub fn cause(&self) -> Option<String> {
        self.job.cause.as_ref().map(|cause| line(cause, CAUSE))
    }

    /// Its class, and what to do.
    pub fn class(&self) -> Option<(&'static str, &'static str)> {
        self.job.class.map(|class| (class.as_str(), class.advice()))
    }

    /// The names that the image has in the registry, the job's own first: `q.io/t/acme-hello:1a2b3c4, latest`.
    pub fn pushed(&self) -> Option<String> {
        // A job of a version that kept no list of names.
        if self.job.tags.is_empty() {
            return Some(line(&self.job.image, CAUSE)).filter(|_| self.job.status == Status::Success);
        }
        let mut pushed = self.job.tags.iter().filter(|tag| tag.digest.is_some());
        let first = pushed.next()?.name.clone();
        let all = [first].into_iter().chain(pushed.map(|tag| short_name(tag).to_owned()));
        Some(line(&all.collect::<Vec<_>>().join(", "), CAUSE))
    }

    /// The tags that a newer push keeps: `latest (stays at 1a2b3c4)`.
    pub fn kept(&self) -> Option<String> {
        let stays = |tag: &TagResult| {
            let commit = tag.kept.as_ref()?.short();
            Some(format!("{} (stays at {commit})", short_name(tag)))
        };
        let kept: Vec<_> = self.job.tags.iter().filter_map(stays).collect();
        Some(line(&kept.join(", "), CAUSE)).filter(|text| !text.is_empty())
    }

    pub fn job_link(&self) -> String {
        self.links.job(self.job.id)
    }

    pub fn log_link(&self) -> String {
        format!("{}/log", self.job_link())
    }

    pub fn owner_link(&self) -> Option<String> {
        self.page(&[])
    }

    pub fn repo_link(&self) -> Option<String> {
        self.page(&[&self.job.context.repo])
    }

    pub fn branch_link(&self) -> Option<String> {
        let branch = GitRef::new(&self.job.context.branch).ok()?;
        let parts: Vec<&str> =
            [&*self.job.context.repo, "tree"].into_iter().chain(branch.as_str().split('/')).collect();
        self.page(&parts)
    }

    pub fn commit_link(&self) -> Option<String> {
        self.page(&[&self.job.context.repo, "commit", self.job.known_commit()?.as_str()])
    }

    /// Below the owner's, as GitHub has them, and Gitea and GitLab understand them. None for names that are not valid.
    fn page(&self, below: &[&str]) -> Option<String> {
        let repo = RepoName::new(&self.job.context.owner, &self.job.context.repo).ok()?;
        let mut url = self.links.pages.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().push(repo.owner()).extend(below);
        // Of what a path may have, the one that ends an address for Slack.
        Some(url.as_str().replace('|', "%7C")).filter(|url| url.len() <= LINK)
    }
}

/// The tag alone.
fn short_name(tag: &TagResult) -> &str {
    tag.name.rsplit_once(':').map_or(&tag.name, |(_, tag)| tag)
}

/// In one line, without what moves a cursor or hides; the beginning of what is longer.
fn line(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    match text.char_indices().nth(most) {
        Some((end, _)) => text[..end].chars().map(clean).chain(['…']).collect(),
        None => text.chars().map(clean).collect(),
    }
}

#[cfg(test)]
pub(super) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{job, links};
    use super::*;

    #[test]
    fn links_stay_on_the_git_server_and_names_in_their_line() {
        let told = |owner: &str, branch: &str| {
            let (job, links) = (job(owner, branch, "x"), links());
            let story = Story::of(&job, None, &[Occasion::Failure], &links).unwrap();
            (story.owner_link(), story.branch_link(), story.commit_link(), story.headline())
        };
        let (owner, branch, commit, headline) = told("acme", "feature/ä|x");
        assert_eq!(owner.unwrap(), "https://github.com/acme");
        assert_eq!(branch.unwrap(), "https://github.com/acme/hello/tree/feature/%C3%A4%7Cx");
        assert_eq!(commit.unwrap(), format!("https://github.com/acme/hello/commit/{}", "1a2b3c4d".repeat(5)));
        assert_eq!(headline, "The build of acme/hello failed");
        let (owner, branch, _, headline) = told("../evil\nSubject: x", "develop");
        assert_eq!((owner, branch), (None, None));
        assert_eq!(headline, "The build of ../evil Subject: x/hello failed");
        assert_eq!(told("acme", "a b").1, None);
        assert_eq!(told("acme", &"é".repeat(400)).1, None);
        assert_eq!(line(&"x".repeat(999), CAUSE).chars().count(), CAUSE + 1);
    }

    #[test]
    fn nobody_is_told_what_he_does_not_want() {
        let (mut job, links) = (job("acme", "develop", "x"), links());
        let told = |job: &Job, previous, wanted| Story::of(job, previous, wanted, &links).map(|story| story.occasion);
        assert_eq!(told(&job, None, &[Occasion::Success]), None);
        job.status = Status::Success;
        assert_eq!(told(&job, Some(Status::Failure), &[Occasion::Fixed]), Some(Occasion::Fixed));
        assert_eq!(told(&job, None, &[Occasion::Fixed]), None);
        job.status = Status::Cancelled;
        assert_eq!(told(&job, None, &[Occasion::Failure, Occasion::Success]), None);
    }
}
