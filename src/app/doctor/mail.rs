use std::sync::Arc;

use super::Finding;
use crate::app::assemble;
use crate::settings::Settings;

pub const NAME: &str = "mail";

/// Checks that the mail server accepts the login. Nothing is sent.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    vec![match assemble::notify::mailer(&settings) {
        Ok(None) => Finding::ok(NAME, "no mail: SMTP_HOST is not set"),
        Err(error) => Finding::bad(NAME, format!("{error:#}")),
        Ok(Some(mailer)) => match mailer.probe().await {
            Ok(()) => {
                Finding::ok(NAME, format!("{} is ready for mail to {}", mailer.server(), settings.smtp_to.0.join(", ")))
            }
            Err(why) => Finding::bad(NAME, format!("{}: {why}", mailer.server())),
        },
    }]
}
