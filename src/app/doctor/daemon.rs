use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpSocket, UnixStream};

use super::Finding;
use crate::app::{admin_token, own_socket};
use crate::model::ListenAddress;
use crate::outbound::{self, Route, trust_certificates};
use crate::settings::Settings;

pub const NAME: &str = "daemon";
/// Time for an answer. A daemon of this program answers in a millisecond.
const ANSWER: Duration = Duration::from_secs(5);
const OURS: &str = env!("CARGO_PKG_VERSION");

/// Checks that LISTEN is free, or that a daemon of this program answers there.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let listen = &settings.listen;
    let taken = match listen {
        ListenAddress::Tcp(address) => bind(*address),
        // A socket that nobody listens on is replaced.
        ListenAddress::Unix(path) => match UnixStream::connect(path).await {
            Ok(_) => Err(ErrorKind::AddrInUse.into()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(()),
            Err(error) => Err(error),
        },
    };
    let Err(error) = taken else {
        return vec![Finding::ok(NAME, format!("none runs here; {listen} is free for it"))];
    };
    let finding = match error.kind() {
        ErrorKind::AddrInUse => match ask(&settings).await {
            Some((version, reasons)) => return running(listen, &version, &reasons),
            None => format!("another program listens on {listen}: end it, or set LISTEN to another port"),
        },
        ErrorKind::AddrNotAvailable => format!("{listen} is no address of this machine: correct LISTEN"),
        ErrorKind::PermissionDenied => format!("this user may not listen on {listen}: set LISTEN to a port above 1023"),
        _ => format!("{listen} cannot be listened on ({error}): correct LISTEN"),
    };
    vec![Finding::bad(NAME, finding)]
}

/// Binds the address, and does not listen on it, so that a daemon that starts now finds it free.
fn bind(address: SocketAddr) -> std::io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

fn running(listen: &ListenAddress, version: &str, reasons: &[String]) -> Vec<Finding> {
    let mut findings = vec![match version == OURS {
        true => Finding::ok(NAME, format!("{version} answers on {listen}")),
        false => Finding::warn(NAME, format!("{version} answers on {listen}, and this is {OURS}: restart it")),
    }];
    findings.extend(reasons.iter().map(|reason| Finding::warn(NAME, format!("it says: {reason}"))));
    findings
}

/// Returns the version of the daemon at the address, and the reasons why it is not ready.
async fn ask(settings: &Settings) -> Option<(String, Vec<String>)> {
    #[derive(Deserialize)]
    struct HealthAnswer {
        status: String,
        version: String,
    }
    #[derive(Deserialize)]
    struct ReadyAnswer {
        reasons: Vec<String>,
    }
    let mut http = outbound::client(Route::Direct).timeout(ANSWER);
    if let Some((_, cert, _)) = settings.certificate() {
        http = trust_certificates(http, &std::fs::read(cert).ok()?).ok()?;
    }
    let url = match &settings.listen {
        ListenAddress::Unix(path) => {
            http = http.unix_socket(path.as_path());
            "http://localhost".to_owned()
        }
        listen @ ListenAddress::Tcp(_) => listen.local_url(settings.certificate().is_some()),
    };
    let http = http.build().ok()?;
    let health: HealthAnswer = http.get(format!("{url}/health")).send().await.ok()?.json().await.ok()?;
    // With the admin token, if this user may read it, the reasons name repositories. Only the daemon's own socket gets it.
    let data_dir = settings.data_dir();
    let token = std::fs::read_to_string(admin_token::path(&data_dir)).ok();
    let request = match (own_socket::find(&data_dir), token) {
        (Some(socket), Some(token)) => {
            let http = outbound::client(Route::Direct).timeout(ANSWER).unix_socket(socket).build().ok()?;
            http.get("http://localhost/ready").bearer_auth(token.trim())
        }
        _ => http.get(format!("{url}/ready")),
    };
    let ready = async { request.send().await.ok()?.json::<ReadyAnswer>().await.ok() };
    let reasons = ready.await.map(|ready| ready.reasons).unwrap_or_default();
    (health.status == "alive").then_some((health.version, reasons))
}
