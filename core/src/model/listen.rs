use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path of a socket, because the kernel takes 108 bytes with the NUL at the end (unix(7)).
const LONGEST: usize = 107;

/// The place where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// Absolute path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// True if no other machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Returns the address at which a client on this machine reaches the daemon: `http[s]://IP:PORT`, or `unix:/path`.
    pub fn local_url(&self, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        match self {
            Self::Unix(_) => self.to_string(),
            Self::Tcp(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                    ip => ip,
                };
                format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
            }
        }
    }

    /// Returns the path in `unix:/path` or `unix:///path`.
    pub fn socket_path(text: &str) -> Option<&Path> {
        let path = text.strip_prefix("unix:")?;
        Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = Self::socket_path(text) {
            return match path {
                path if !path.is_absolute() => Err("write the socket's absolute path, such as unix:/run/factory.sock"),
                path if path.as_os_str().len() > LONGEST => Err("the path of a socket has at most 107 bytes"),
                path => Ok(Self::Unix(path.into())),
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                Err("name a port from 1 to 65535, because nobody finds one that the kernel chooses")
            }
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => Err("it must be ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080, or unix:/PATH"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_lead_to_this_machine() {
        for (text, shown, plain, tls, is_local) in [
            ("127.0.0.1:80", "127.0.0.1:80", "http://127.0.0.1:80", "https://127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", "http://127.0.0.1:80", "https://127.0.0.1:80", false),
            ("[::]:80", "[::]:80", "http://[::1]:80", "https://[::1]:80", false),
            ("unix:/run/f", "unix:/run/f", "unix:/run/f", "unix:/run/f", true),
            ("unix:///run/f", "unix:/run/f", "unix:/run/f", "unix:/run/f", true),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!((address.local_url(false), address.local_url(true)), (plain.into(), tls.into()));
            assert_eq!(address.is_local(), is_local, "{text}");
        }
        for text in ["", "8080", "localhost:80", "127.0.0.1:0", "unix:", "unix:run/f", "unix://run/f"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<ListenAddress>().is_err());
    }
}
