//! The addresses that requests may go to. A name is resolved once, and the client connects to the addresses that were
//! checked, because a second look-up could give others (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Metadata services of clouds that are not link-local: Amazon (two), Google, Oracle (two), Scaleway, Alibaba, Azure.
/// They give a machine's own credentials to whoever asks from it.
const METADATA: [IpAddr; 8] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Returns whether an address belongs to this machine or its link, or is a forbidden target. Nothing that a payload
/// names is fetched from there. The rule builds on [`is_forbidden_target`], so a change of that rule changes this one.
pub fn is_local_or_forbidden(address: IpAddr) -> bool {
    plain(address).is_loopback() || is_forbidden_target(address)
}

/// Returns whether an address can belong to no server of an operator: it is link-local, a cloud's metadata service,
/// unspecified or multicast. Loopback and private networks are allowed. The rule holds for hooks, and as a part of
/// [`is_local_or_forbidden`] for what a repository names.
pub fn is_forbidden_target(address: IpAddr) -> bool {
    let address = plain(address);
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    };
    is_special || METADATA.contains(&address)
}

/// Returns whether an address is of a network that the internet does not reach: [`is_local_or_forbidden`], a private one
/// (RFC 1918, RFC 4193), or one of a provider's own (RFC 6598, RFC 2544).
pub fn is_private_or_local(address: IpAddr) -> bool {
    is_local_or_forbidden(address)
        || match plain(address) {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                v4.is_private() || a == 100 && b & 0xc0 == 64 || a == 198 && b & 0xfe == 18
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0,
        }
}

/// Returns the addresses of a host, which is a name or an address as a URL has it.
pub async fn addresses(host: &str) -> std::io::Result<Vec<IpAddr>> {
    match parse(host) {
        Some(address) => Ok(vec![address]),
        None => Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()),
    }
}

/// Returns the IPv4 address inside an IPv6 one, which is mapped (`::ffff:0:0/96`) or for a NAT64 gateway
/// (`64:ff9b::/96`, RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        address => address,
    }
}

/// Returns the IP address that a URL has as its host. The resolver never sees such a host, so callers check it.
pub fn literal(url: &Url) -> Option<IpAddr> {
    parse(url.host_str()?)
}

/// Returns whether a URL's host is this machine's loopback, which no other machine answers.
pub fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

/// Returns whether a host name or address, with or without brackets, is this machine's loopback. Names other than
/// `localhost` are not resolved.
pub fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || parse(host).is_some_and(|address| address.is_loopback())
}

fn parse(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// The system's resolver, with a rule for refused addresses. A name is refused if any of its addresses is.
pub struct FilteringResolver(pub fn(IpAddr) -> bool);

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_refused = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|address| is_refused(address.ip())) {
                Some(address) => Err(format!("its name leads to {}, which is refused", address.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Route, client};

    #[test]
    fn local_and_forbidden_addresses_are_recognised() {
        let rows: [(&[&str], bool, bool); 3] = [
            (
                &[
                    "169.254.169.254",
                    "169.254.170.2",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "fd00:ec2::254",
                    "fd20:ce::254",
                    "100.100.100.200",
                    "::ffff:100.100.100.200",
                    "192.0.0.192",
                    "168.63.129.16",
                    "fe80::1",
                    "0.0.0.0",
                    "0.1.2.3",
                    "::",
                    "::ffff:0.0.0.0",
                    "224.0.0.1",
                    "255.255.255.255",
                    "ff02::1",
                ],
                true,
                true,
            ),
            (&["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"], true, false),
            (
                &["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "140.82.121.3", "fd00::1", "2606:50c0::153"],
                false,
                false,
            ),
        ];
        for (addresses, local, forbidden) in rows {
            for text in addresses {
                let address = text.parse().unwrap();
                assert_eq!(
                    (is_local_or_forbidden(address), is_forbidden_target(address)),
                    (local, forbidden),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn private_addresses_are_recognised() {
        for (text, is_private) in [
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("198.19.0.1", true),
            ("64:ff9b::a00:1", true),
            ("fd12::1", true),
            ("fec0::1", true),
            ("172.32.0.1", false),
            ("100.128.0.1", false),
            ("198.20.0.1", false),
            ("140.82.121.3", false),
            ("2606:50c0::153", false),
        ] {
            assert_eq!(is_private_or_local(text.parse().unwrap()), is_private, "{text}");
        }
    }

    #[test]
    fn every_notation_of_an_address_is_recognised() {
        for text in
            ["http://169.254.169.254/", "http://0xa9fea9fe/", "http://2852039166:80/", "http://0251.0376.169.254/"]
        {
            assert_eq!(literal(&text.parse().unwrap()), Some([169, 254, 169, 254].into()), "{text}");
        }
        let mapped = literal(&"http://[::ffff:169.254.169.254]:8080/".parse().unwrap());
        assert!(mapped.is_some_and(is_forbidden_target));
        assert_eq!(literal(&"http://example.org/".parse().unwrap()), None);
    }

    /// The client connects to the checked addresses, without a second look-up.
    #[tokio::test]
    async fn a_refused_name_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let client = |rule| client(Route::Filtered(rule)).build().unwrap();
        let error = client(is_local_or_forbidden).get(&url).send().await.unwrap_err();
        assert!(format!("{error:?}").contains("which is refused"), "{error:?}");
        let get = tokio::spawn(client(is_forbidden_target).get(&url).send());
        listener.accept().await.unwrap();
        get.abort();
    }
}
