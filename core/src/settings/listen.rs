//! The settings of the listener, and the defaults that follow from them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::value::SettingValue;
use super::{SettingError, Settings, SshdChoice};
use crate::model::ListenAddress;

/// Port of the default of LISTEN.
const PORT: u16 = 8080;

impl SettingValue for ListenAddress {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(str::to_owned)
    }
}

impl SettingValue for IpAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be an IP address, such as 0.0.0.0 or ::".into())
    }
}

impl Settings {
    /// Returns the names of the settings of the certificate, and its files: the certificate's and the key's. `None` means
    /// that the daemon speaks no TLS.
    pub fn certificate(&self) -> Option<(&'static [&'static str], PathBuf, PathBuf)> {
        match (&self.cert_path, &self.tls_cert, &self.tls_key) {
            (Some(both), ..) => Some((&["CERT_PATH"], both.clone(), both.clone())),
            (None, Some(cert), Some(key)) => Some((&["TLS_CERT", "TLS_KEY"], cert.clone(), key.clone())),
            _ => None,
        }
    }

    /// Puts PORT and BIND into the default of LISTEN, and the scheme and port of the listener into that of BASE_URL.
    ///
    /// # Errors
    /// LISTEN is set beside PORT or BIND.
    pub(super) fn derive_listen(&mut self, is_set: impl Fn(&str) -> bool) -> Result<(), SettingError> {
        let tls = self.certificate().is_some();
        if self.port.is_some() || self.bind.is_some() {
            if is_set("LISTEN") {
                let name = if self.port.is_some() { "PORT" } else { "BIND" };
                let both = format!("LISTEN and {name} are both set: keep one of them");
                return Err(SettingError::new(["LISTEN", name], both));
            }
            let (ip, port) = (self.bind.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.port.map_or(PORT, Into::into));
            self.listen = ListenAddress::Tcp(SocketAddr::new(ip, port));
        } else if !tls {
            return Ok(());
        }
        if let ListenAddress::Tcp(address) = &self.listen
            && !is_set("BASE_URL")
        {
            let scheme = if tls { "https" } else { "http" };
            // Both calls take every value that can come here.
            let _ = self.base_url.0.set_scheme(scheme);
            let _ = self.base_url.0.set_port(Some(address.port()));
        }
        Ok(())
    }

    pub(super) fn check_listen(&self, errors: &mut Vec<SettingError>) {
        let mut refuse = |names: &[&'static str], why: &str| {
            errors.push(SettingError::new(names.iter().copied(), why));
        };
        let certificate = ["TLS_CERT", "TLS_KEY", "CERT_PATH"];
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => refuse(&["TLS_CERT", "TLS_KEY"], "TLS_CERT is set and TLS_KEY is not: set both"),
            (None, Some(_)) => refuse(&["TLS_CERT", "TLS_KEY"], "TLS_KEY is set and TLS_CERT is not: set both"),
            _ => {}
        }
        if self.cert_path.is_some() && (self.tls_cert.is_some() || self.tls_key.is_some()) {
            refuse(&certificate, "CERT_PATH is set beside TLS_CERT or TLS_KEY: keep one of them");
        }
        if let (ListenAddress::Tcp(address), SshdChoice::Auto) = (&self.listen, self.sshd)
            && address.port() == self.sshd_port.get()
        {
            let why = format!("LISTEN and SSHD_PORT have the port {}: give one of them another", self.sshd_port);
            refuse(&["LISTEN", "PORT", "SSHD_PORT", "SSHD"], &why);
        }
        if matches!(self.listen, ListenAddress::Unix(_)) && self.certificate().is_some() {
            let why = "LISTEN is a Unix socket, which speaks no TLS: unset TLS_CERT and TLS_KEY, or CERT_PATH";
            refuse(&["LISTEN", "TLS_CERT", "TLS_KEY", "CERT_PATH"], why);
        }
    }
}
