//! The content of a mail as plain text and as HTML: the facts, the end of the log, the job's id.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use serde::{Deserialize, Serialize};

use crate::logs::ansi_html::render;
use crate::logs::html::escape;
use crate::model::Millis;
use crate::notify::summary::JobSummary;

/// The content of a mail in the outbox, without the log, which is read when the mail is sent.
#[derive(Serialize, Deserialize)]
pub(super) struct MailContent {
    pub subject: String,
    headline: String,
    facts: Vec<(String, String)>,
    log_link: String,
    job: String,
}

/// The end of a log.
pub(super) struct LogTail {
    pub bytes: Vec<u8>,
    /// The number of bytes before it.
    pub cut: u64,
}

impl MailContent {
    pub fn new(summary: &JobSummary) -> Self {
        let (owner, repo) = (summary.owner(), summary.repo());
        let mut facts = vec![
            ("Repository", format!("{owner}/{repo}")),
            ("Branch", summary.branch()),
            ("Commit", summary.commit()),
            ("Environment", summary.environment()),
        ];
        if summary.failed() {
            facts.extend(summary.cause().map(|cause| ("Cause", cause)));
            if let Some((class, advice)) = summary.class() {
                facts.push(("Class", class.into()));
                facts.push(("What to do", advice.into()));
            }
        }
        facts.extend(summary.pushed().map(|names| ("Image", names)));
        facts.extend(summary.job.digest.clone().map(|digest| ("Digest", digest)));
        facts.extend(summary.kept().map(|tags| ("Not moved, as a newer push has them", tags)));
        Self {
            subject: format!("[{owner}/{repo}]: {} {}", summary.short_commit(), verdict(summary)),
            headline: summary.headline(),
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            log_link: summary.log_link(),
            job: summary.job.id.to_string(),
        }
    }

    /// Makes the mail. Its id and its date are those of the outbox row, because mail programs then show a mail that was
    /// sent again only once.
    pub fn message(
        &self,
        from: &Mailbox,
        to: &Mailbox,
        id: &str,
        at: Millis,
        tail: &LogTail,
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

    /// Renders the plain text and the HTML. The styles are in the tags, because mail programs ignore style sheets.
    fn bodies(&self, LogTail { bytes, cut }: &LogTail) -> (String, String) {
        let log = render(bytes);
        let mut text = format!("{}\n\n", self.headline);
        let mut page = format!(
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n\
             <body style=\"font-family:sans-serif\">\n<p><b>{}</b></p>\n<table>\n",
            escape(&self.headline)
        );
        for (name, value) in &self.facts {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {value}");
            let _ = writeln!(
                page,
                "<tr><td style=\"padding-right:1em;vertical-align:top\">{}</td><td>{}</td></tr>",
                escape(name),
                escape(value)
            );
        }
        let link = format!("<a href=\"{0}\">{0}</a>", escape(&self.log_link));
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
            escape(&self.job)
        );
        (text, page)
    }
}

/// Returns compose-ci's words, `success!` or `failed! (exit code: 2)`, and after a failure its cause.
fn verdict(summary: &JobSummary) -> String {
    if !summary.failed() {
        return "success!".into();
    }
    let code = summary.job.stages.0.iter().filter_map(|stage| stage.exit_code).find(|code| *code != 0);
    let cause = summary.short_cause().map(|cause| format!(" {cause}")).unwrap_or_default();
    format!("failed! (exit code: {}){cause}", code.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Occasion, Stages};
    use crate::notify::summary::testing::{job, links, successful_job};

    #[test]
    fn subjects_are_those_of_compose_ci() {
        let (mut job, links) = (job("acme", "develop", "x"), links());
        let subject = |job: &crate::model::Job| {
            MailContent::new(&JobSummary::new(job, None, &[Occasion::Failure, Occasion::Success], &links).unwrap())
                .subject
        };
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 failed! (exit code: 1) x");
        job.stages = Stages::pending();
        job.stages.0[0].exit_code = Some(0);
        job.stages.0[2].exit_code = Some(2);
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 failed! (exit code: 2) x");
        job.status = crate::model::Status::Success;
        assert_eq!(subject(&job), "[acme/hello]: 1a2b3c4 success!");
    }

    #[test]
    fn outside_text_is_escaped_and_makes_no_header() {
        let (job, links) = (job("acme\r\nBcc: me@evil.example", "<script>", "<img>"), links());
        let content = MailContent::new(&JobSummary::new(&job, None, &[Occasion::Failure], &links).unwrap());
        let (from, to) = ("CI <ci@acme.org>".parse().unwrap(), "dev@acme.org".parse().unwrap());
        let tail = LogTail { bytes: b"<b>\x1b[31mred".into(), cut: 5 };
        let mail = content.message(&from, &to, "an-id", Millis(1_795_215_567_930), &tail).unwrap();
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
        let (text, page) = content.bodies(&tail);
        assert!(!page.contains("<script>") && !page.contains("<img>") && !page.contains("<b>\u{1b}"), "{page}");
        assert!(page.contains("&lt;b&gt;<span style=\"color:#ff7b72;\">red</span></pre>"), "{page}");
        assert!(
            text.contains("[The beginning of the log (5 bytes) is cut off here; the whole is at https://"),
            "{text}"
        );
        assert!(text.ends_with(&format!("<b>red\n\nJob {}\n", job.id)), "{text}");
    }
    #[test]
    fn a_mail_has_facts_log_and_job() {
        let links = links();
        let all = [Occasion::Failure, Occasion::Success];
        let tail = LogTail { bytes: b"Step 1/2\n\x1b[31mfailed\x1b[0m & done\n".into(), cut: 0 };
        for (name, job) in [("failure", job("acme", "develop", "build: step 2 failed")), ("success", successful_job())]
        {
            let content = MailContent::new(&JobSummary::new(&job, None, &all, &links).unwrap());
            let (text, page) = content.bodies(&tail);
            insta::assert_snapshot!(format!("mail_{name}_text"), format!("{}\n\n{text}", content.subject));
            insta::assert_snapshot!(format!("mail_{name}_html"), page);
        }
    }
}
