//! What a mail says: facts on top, the end of the log, the job's id at the end; as plain text and as HTML.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::{Deserialize, Serialize};

use crate::logs::ansi_html::paint;
use crate::logs::html::escape as html;
use crate::model::Millis;
use crate::notify::summary::Story;

/// What the outbox keeps of a mail: all but the log, which is read when it is sent.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter {
    pub subject: String,
    headline: String,
    facts: Vec<(String, String)>,
    log_link: String,
    job: String,
}

/// The end of a log.
pub(super) struct Tail {
    pub bytes: Vec<u8>,
    /// How many there are before it.
    pub cut: u64,
}

impl Letter {
    pub fn of(story: &Story) -> Self {
        let (owner, repo) = (story.owner(), story.repo());
        let mut facts = vec![
            ("Repository", format!("{owner}/{repo}")),
            ("Branch", story.branch()),
            ("Commit", story.commit()),
            ("Environment", story.environment()),
        ];
        if story.failed() {
            facts.extend(story.cause().map(|cause| ("Cause", cause)));
            if let Some((class, advice)) = story.class() {
                facts.push(("Class", class.into()));
                facts.push(("What to do", advice.into()));
            }
        }
        facts.extend(story.pushed().map(|names| ("Image", names)));
        facts.extend(story.job.digest.clone().map(|digest| ("Digest", digest)));
        facts.extend(story.kept().map(|tags| ("Not moved, as a newer push has them", tags)));
        Self {
            subject: format!("[{owner}/{repo}]: {} {}", story.short_commit(), verdict(story)),
            headline: story.headline(),
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            log_link: story.log_link(),
            job: story.job.id.to_string(),
        }
    }

    /// The whole mail. `id` is the outbox row's and `at` its time, so that each try is the same mail to its reader.
    pub fn write(
        &self,
        from: &Mailbox,
        to: &Mailbox,
        id: &str,
        at: Millis,
        tail: &Tail,
    ) -> Result<Message, lettre::error::Error> {
        let (text, page) = self.bodies(tail);
        let sent_by_a_machine =
            HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
        Message::builder()
            .from(from.clone())
            .to(to.clone())
            .subject(self.subject.clone())
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0.max(0) as u64))
            .message_id(Some(format!("<{id}@{}>", from.email.domain())))
            .raw_header(sent_by_a_machine)
            .multipart(MultiPart::alternative_plain_html(text, page))
    }

    /// Plain, and HTML whose styles are in its tags: mail programs pass over style sheets.
    fn bodies(&self, Tail { bytes, cut }: &Tail) -> (String, String) {
        let log = paint(bytes);
        let mut text = format!("{}\n\n", self.headline);
        let mut page = format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n\
             <body style=\"font-family:sans-serif\">\n<p><b>{}</b></p>\n<table>\n",
            html(&self.headline)
        );
        for (name, value) in &self.facts {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{name}: {value}");
            let _ = writeln!(
                page,
                "<tr><td style=\"padding-right:1em;vertical-align:top\">{}</td><td>{}</td></tr>",
                html(name),
                html(value)
            );
        }
        let link = format!("<a href=\"{0}\">{0}</a>", html(&self.log_link));
        let _ = writeln!(text, "Log: {}\n", self.log_link);
        let _ = writeln!(page, "<tr><td>Log</td><td>{link}</td></tr>\n</table>");
        if *cut > 0 {
            let note = format!("The beginning of the log ({cut} bytes) is cut off here; the whole is at");
            let _ = writeln!(text, "[{note} {}]\n", self.log_link);
            let _ = writeln!(page, "<p><i>{note} {link}</i></p>");
        }
        let _ = writeln!(text, "{}\n\nJob {}", log.text.trim_end(), self.job);
        let _ = writeln!(
            page,
            "<pre style=\"background:#0d1117;color:#c9d1d9;padding:1em;white-space:pre-wrap\">{}</pre>\n\
             <p>Job {}</p>\n</body></html>",
            log.html.trim_end(),
            html(&self.job)
        );
        (text, page)
    }
}

/// As compose-ci had it: `success!`, `failed! (exit code: 2)`.
fn verdict(story: &Story) -> String {
    if !story.failed() {
        return "success!".into();
    }
    let code = story.job.stages.0.iter().filter_map(|stage| stage.exit_code).find(|code| *code != 0);
    format!("failed! (exit code: {})", code.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Occasion, Stages};
    use crate::notify::summary::testing::{job, links};

    #[test]
    fn subjects_are_compose_ci_s() {
        let (mut job, links) = (job("acme", "develop", "x"), links());
        let subject = |job: &crate::model::Job| {
            Letter::of(&Story::of(job, None, &[Occasion::Failure, Occasion::Success], &links).unwrap()).subject
        };
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 failed! (exit code: 1)");
        job.stages = Stages::pending();
        job.stages.0[0].exit_code = Some(0);
        job.stages.0[2].exit_code = Some(2);
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 failed! (exit code: 2)");
        job.status = crate::model::Status::Success;
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 success!");
    }

    #[test]
    fn names_from_outside_are_text_and_make_no_header() {
        let (job, links) = (job("acme\r\nBcc: me@evil.example", "<script>", "<img>"), links());
        let letter = Letter::of(&Story::of(&job, None, &[Occasion::Failure], &links).unwrap());
        let (from, to) = ("CI <ci@acme.org>".parse().unwrap(), "dev@acme.org".parse().unwrap());
        let tail = Tail { bytes: b"<b>\x1b[31mred".into(), cut: 5 };
        let mail = letter.write(&from, &to, "an-id", Millis(1_795_215_567_930), &tail).unwrap();
        let mail = String::from_utf8(mail.formatted()).unwrap();
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        for line in [
            "Message-ID: <an-id@acme.org>",
            "Date: Fri, 20 Nov 2026 22:59:27 +0000",
            "Auto-Submitted: auto-generated",
            "To: dev@acme.org",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
        }
        let (text, page) = letter.bodies(&tail);
        assert!(!page.contains("<script>") && !page.contains("<img>") && !page.contains("<b>\u{1b}"), "{page}");
        assert!(page.contains("&lt;b&gt;<span style=\"color:#ff7b72;\">red</span></pre>"), "{page}");
        assert!(
            text.contains("[The beginning of the log (5 bytes) is cut off here; the whole is at https://"),
            "{text}"
        );
        assert!(text.ends_with(&format!("<b>red\n\nJob {}\n", job.id)), "{text}");
    }
}
