//! The facts of an ended job, as the channels that people read show them.

use reqwest::Url;

use crate::model::{
    CommitId, FailureClass, GitRef, Job, JobId, JobSource, Occasion, RepoName, Status, TagResult, escape_bidi,
};

/// The longest name, cause (also in a subject) and link that are shown, in characters. HipChat takes 10,000 in all.
const LONGEST_NAME: usize = 120;
const LONGEST_CAUSE: usize = 600;
const LONGEST_SUBJECT: usize = 200;
const LONGEST_LINK: usize = 500;

/// The settings that links in notifications are made of.
#[derive(Debug, Clone, Default)]
pub struct JobLinks {
    /// BASE_URL, without a `/` at its end.
    pub base_url: String,
    /// Address of the Git server's pages, such as `https://github.com`, if it is known to have any.
    pub pages: Option<Url>,
    /// TOTEM_ENV
    pub environment: String,
}

impl JobLinks {
    /// Returns the URL of a job.
    pub(super) fn job(&self, id: JobId) -> String {
        format!("{}/job/{id}", self.base_url)
    }
}

/// An ended job whose occasion a channel's readers want to know of.
pub(super) struct JobSummary<'a> {
    pub job: &'a Job,
    pub occasion: Occasion,
    links: &'a JobLinks,
}

impl<'a> JobSummary<'a> {
    /// Returns `None` if the job's end is none of the wanted occasions, or if only an operator can act.
    pub fn new(job: &'a Job, previous: Option<Status>, wanted: &[Occasion], links: &'a JobLinks) -> Option<Self> {
        let occasion = Occasion::of(job.status, previous).filter(|occasion| occasion.is_among(wanted))?;
        (!is_operators(job)).then_some(Self { job, occasion, links })
    }

    /// Returns `None` unless the job failed and only an operator can act.
    pub fn for_operators(job: &'a Job, links: &'a JobLinks) -> Option<Self> {
        let is_failure = job.status == Status::Failure && is_operators(job);
        is_failure.then_some(Self { job, occasion: Occasion::Failure, links })
    }

    pub fn failed(&self) -> bool {
        self.occasion == Occasion::Failure
    }

    /// Returns for example `The build of acme/hello failed`.
    pub fn headline(&self) -> String {
        let end = match self.occasion {
            Occasion::Failure => "failed",
            Occasion::Fixed => "is fixed",
            Occasion::Success => "succeeded",
        };
        format!("The build of {}/{} {end}", self.owner(), self.repo())
    }

    pub fn environment(&self) -> String {
        one_line(&self.links.environment, LONGEST_NAME)
    }

    pub fn owner(&self) -> String {
        one_line(&self.job.context.owner, LONGEST_NAME)
    }

    pub fn repo(&self) -> String {
        one_line(&self.job.context.repo, LONGEST_NAME)
    }

    pub fn branch(&self) -> String {
        match &self.job.source {
            JobSource::Git => match self.job.context.counted_branch() {
                Some(branch) => one_line(branch, LONGEST_NAME),
                None => "none".into(),
            },
            JobSource::Dockerfile(_) => "none".into(),
        }
    }

    /// Returns the commit that was built, or the one that was asked for if it was not found.
    pub fn commit(&self) -> String {
        one_line(self.job.resolved_commit.as_ref().map_or(&self.job.context.commit, CommitId::as_str), LONGEST_NAME)
    }

    pub fn short_commit(&self) -> String {
        self.commit().chars().take(7).collect()
    }

    pub fn cause(&self) -> Option<String> {
        self.job.cause.as_ref().map(|cause| one_line(cause, LONGEST_CAUSE))
    }

    /// Returns the cause in the length that the subject of a mail has.
    pub fn short_cause(&self) -> Option<String> {
        self.job.cause.as_ref().map(|cause| one_line(cause, LONGEST_SUBJECT))
    }

    /// Returns the failure's class and the advice for it.
    pub fn class(&self) -> Option<(&'static str, &'static str)> {
        self.job.class.map(|class| (class.as_str(), class.advice()))
    }

    /// Returns the names that the image has in the registry, the job's own first: `q.io/t/acme-hello:1a2b3c4, latest`.
    pub fn pushed(&self) -> Option<String> {
        if self.job.is_dry_run() {
            return Some("nothing, because this was a dry run".into());
        }
        // The job is of a version that kept no list of names.
        if self.job.tags.is_empty() {
            return Some(one_line(&self.job.image, LONGEST_CAUSE)).filter(|_| self.job.digest.is_some());
        }
        let mut former = None;
        let names = self.job.tags.iter().filter(|tag| tag.digest.is_some()).map(|tag| {
            let repository = tag.name.rsplit_once(':').map(|(repository, _)| repository);
            let is_same = std::mem::replace(&mut former, repository) == repository;
            if is_same { short_name(tag) } else { &tag.name }
        });
        Some(one_line(&names.collect::<Vec<_>>().join(", "), LONGEST_CAUSE)).filter(|names| !names.is_empty())
    }

    /// Returns the tags that a newer push keeps: `latest (stays at 1a2b3c4)`.
    pub fn kept(&self) -> Option<String> {
        let stays = |tag: &TagResult| {
            let commit = tag.kept.as_ref()?.short();
            Some(format!("{} (stays at {commit})", short_name(tag)))
        };
        let kept: Vec<_> = self.job.tags.iter().filter_map(stays).collect();
        Some(one_line(&kept.join(", "), LONGEST_CAUSE)).filter(|text| !text.is_empty())
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
        let branch = GitRef::new(self.job.context.counted_branch()?).ok()?;
        let parts: Vec<&str> =
            [&*self.job.context.repo, "tree"].into_iter().chain(branch.as_str().split('/')).collect();
        self.page(&parts)
    }

    pub fn commit_link(&self) -> Option<String> {
        self.page(&[&self.job.context.repo, "commit", self.job.known_commit()?.as_str()])
    }

    /// Returns a page below the owner's. GitHub has such pages, and Gitea and GitLab understand them. Names that are not
    /// valid, and Dockerfiles without a repository, have no page.
    fn page(&self, below: &[&str]) -> Option<String> {
        if self.job.source != JobSource::Git {
            return None;
        }
        let repo = RepoName::new(&self.job.context.owner, &self.job.context.repo).ok()?;
        let mut url = self.links.pages.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().push(repo.owner()).extend(below);
        // Slack ends a link's address at this character, which a path may have.
        Some(url.as_str().replace('|', "%7C")).filter(|url| url.len() <= LONGEST_LINK)
    }
}

/// Returns true if the job ended for a reason that only an operator can mend.
fn is_operators(job: &Job) -> bool {
    job.class.is_some_and(FailureClass::is_operators)
}

/// Returns the tag without the image's name.
fn short_name(tag: &TagResult) -> &str {
    tag.name.rsplit_once(':').map_or(&tag.name, |(_, tag)| tag)
}

/// Returns the beginning of a text as one line without control characters, which could move a cursor, hide text or turn
/// it around.
fn one_line(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = match text.char_indices().nth(most) {
        Some((end, _)) => text[..end].chars().map(clean).chain(['…']).collect(),
        None => text.chars().map(clean).collect(),
    };
    escape_bidi(&line).into_owned()
}

#[cfg(test)]
pub(super) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::{job, links};
    use super::*;

    #[test]
    fn links_stay_on_the_git_server_and_names_on_one_line() {
        let shown = |owner: &str, branch: &str| {
            let (job, links) = (job(owner, branch, "x"), links());
            let summary = JobSummary::new(&job, None, &[Occasion::Failure], &links).unwrap();
            (summary.owner_link(), summary.branch_link(), summary.commit_link(), summary.headline())
        };
        let (owner, branch, commit, headline) = shown("acme", "feature/ä|x");
        assert_eq!(owner.unwrap(), "https://github.com/acme");
        assert_eq!(branch.unwrap(), "https://github.com/acme/hello/tree/feature/%C3%A4%7Cx");
        assert_eq!(commit.unwrap(), format!("https://github.com/acme/hello/commit/{}", "1a2b3c4d".repeat(5)));
        assert_eq!(headline, "The build of acme/hello failed");
        let (owner, branch, _, headline) = shown("../evil\nSubject: x", "develop");
        assert_eq!((owner, branch), (None, None));
        assert_eq!(headline, "The build of ../evil Subject: x/hello failed");
        assert_eq!(shown("ac\u{202e}me", "x").3, r"The build of ac\u{202e}me/hello failed");
        assert_eq!(shown("acme", "a b").1, None);
        assert_eq!(shown("acme", &"é".repeat(400)).1, None);
        assert_eq!(one_line(&"x".repeat(999), LONGEST_CAUSE).chars().count(), LONGEST_CAUSE + 1);
    }

    #[test]
    fn only_wanted_occasions_are_summarised() {
        let (mut job, links) = (job("acme", "develop", "x"), links());
        let occasion = |job: &Job, previous, wanted| {
            JobSummary::new(job, previous, wanted, &links).map(|summary| summary.occasion)
        };
        assert_eq!(occasion(&job, None, &[Occasion::Success]), None);
        job.status = Status::Success;
        assert_eq!(occasion(&job, Some(Status::Failure), &[Occasion::Fixed]), Some(Occasion::Fixed));
        assert_eq!(occasion(&job, None, &[Occasion::Fixed]), None);
        job.status = Status::Cancelled;
        assert_eq!(occasion(&job, None, &[Occasion::Failure, Occasion::Success]), None);
    }
}
