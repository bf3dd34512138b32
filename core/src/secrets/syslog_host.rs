use std::net::{IpAddr, Ipv6Addr};

use super::SecretsError;

/// Port of syslog by UDP (RFC 5426).
const PORT: u16 = 514;

/// Reads `host`, `host:port`, `[v6]:port` or an IPv6 address, and returns `host:port`. White space around it is ignored.
pub fn parse(stored: &[u8]) -> Result<String, SecretsError> {
    let text = std::str::from_utf8(stored).unwrap_or_default().trim();
    let is_name = |host: &str| {
        (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            && !host.starts_with(['-', '.'])
    };
    let (host, port) = match text.parse::<Ipv6Addr>() {
        Ok(v6) => (format!("[{v6}]"), Some(PORT)),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host.to_owned(), port.parse().ok().filter(|&port: &u16| port > 0))
            }
            _ => (text.to_owned(), Some(PORT)),
        },
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = v6.map_or_else(|| is_name(&host), |v6| v6.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()));
    match port {
        Some(port) if is_host => Ok(format!("{host}:{port}")),
        _ => Err(SecretsError::new("it is not `host` or `host:port`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_or_without_a_port() {
        for (stored, meant) in [
            ("logs", "logs:514"),
            ("logs.example.org\n", "logs.example.org:514"),
            (" 10.0.0.7:5514 ", "10.0.0.7:5514"),
            ("::1", "[::1]:514"),
            ("[::1]:1514", "[::1]:1514"),
            ("[::1]", "[::1]:514"),
        ] {
            assert_eq!(parse(stored.as_bytes()).unwrap(), meant);
        }
        for bad in
            ["", " ", "a b", "logs:", "logs:0", "logs:99999", "udp://logs", "-x", "a\nb", ":514", "[logs]:1", "\u{fe}"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(b"\xff").is_err());
    }
}
