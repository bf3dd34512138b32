//! The listener's certificate: read at the start, and again when its files change, as they do when it is renewed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::ServerCertificate;
use crate::settings::Settings;

/// Time between two looks at the files, which cost microseconds each.
const LOOK: Duration = Duration::from_secs(5);

/// Reads the certificate that the settings name, if they name one.
///
/// # Errors
/// The settings, the file that cannot be used, and why.
pub fn read(settings: &Settings) -> anyhow::Result<Option<ServerCertificate>> {
    let Some((names, cert, key)) = settings.certificate() else { return Ok(None) };
    let certificate = ServerCertificate::read(&cert, &key);
    certificate.map(Some).map_err(|why| anyhow::anyhow!("{}: {why}", names.join(" and ")))
}

/// Reads at a reload the certificate that is `in_use`, and checks the one that the settings name, which may be another one.
///
/// # Errors
/// One of them cannot be used. The one in use stays then.
pub fn reload(in_use: Option<&ServerCertificate>, settings: &Settings) -> anyhow::Result<()> {
    read(settings)?;
    in_use.map_or(Ok(false), ServerCertificate::reload).map(drop).map_err(anyhow::Error::msg)
}

/// Takes the certificate anew when its files have changed. Returns the reason why a changed one cannot be used; the former
/// one stays then.
pub fn watch(
    certificate: Option<Arc<ServerCertificate>>,
    shutdown: &CancellationToken,
) -> watch::Receiver<Option<String>> {
    let (trouble, seen) = watch::channel(None);
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
        let Some(certificate) = certificate else {
            // The channel stays open, because its end would mean that the daemon stops.
            std::future::pending::<()>().await;
            return drop(trouble);
        };
        let (mut known, mut failed) = (certificate.files(), None);
        loop {
            tokio::time::sleep(LOOK).await;
            let files = certificate.files();
            if files == known {
                continue;
            }
            match certificate.reload() {
                Ok(is_new) => {
                    if is_new {
                        tracing::info!("the certificate was renewed: connections from now on get the new one");
                    }
                    trouble.send_replace(None);
                }
                // The two files cannot be replaced in one step, so the second look decides.
                Err(_) if failed != Some(files) => {
                    failed = Some(files);
                    continue;
                }
                Err(why) => {
                    tracing::error!("the changed certificate is not taken, and the former one stays in use: {why}");
                    let reason = format!("the listener's certificate has changed and cannot be used: {why}");
                    trouble.send_replace(Some(reason));
                }
            }
            known = files;
        }
    }));
    seen
}
