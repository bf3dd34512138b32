use std::sync::Arc;

use super::Finding;
use crate::app::assemble;
use crate::settings::Settings;

pub const NAME: &str = "mail";

/// Checks that the mail server accepts the login. Nothing is sent.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let to = [&settings.smtp_to.0[..], &settings.notify_operators.mails].concat().join(", ");
    let mailers = [assemble::notify::mailer(&settings), assemble::notify::operators_mailer(&settings)];
    // Both use one server with one login, so one of them is asked.
    let mailer = mailers.into_iter().reduce(|first, second| Ok(first?.or(second?))).unwrap_or(Ok(None));
    vec![match mailer {
        Ok(None) => Finding::ok(NAME, "no mail: SMTP_HOST is not set"),
        Err(error) => Finding::bad(NAME, format!("{error:#}")),
        Ok(Some(mailer)) => match mailer.probe().await {
            Ok(()) => Finding::ok(NAME, format!("{} is ready for mail to {to}", mailer.server())),
            Err(why) => Finding::bad(NAME, format!("{}: {why}", mailer.server())),
        },
    }]
}
