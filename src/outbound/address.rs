//! Where requests may go. A name is looked up once, and what was checked is what is connected to, so that a name whose
//! address changes in between (DNS rebinding) leads nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What clouds tell a machine about itself, credentials among it, beyond the link-local addresses: Amazon (two), Google,
/// Oracle (two), Scaleway, Alibaba, Azure.
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

/// Whether an address is this machine's or its link's (where clouds have their metadata): nothing that a payload names
/// may be fetched there.
pub fn is_inward(address: IpAddr) -> bool {
    plain(address).is_loopback() || is_unfit(address)
}

/// Whether an address is none that a server of an operator has: link-local, a cloud's metadata, unspecified, multicast.
/// This machine and private networks are not meant.
pub fn is_unfit(address: IpAddr) -> bool {
    let address = plain(address);
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    };
    is_special || METADATA.contains(&address)
}

/// The IPv4 address in an IPv6 one: mapped (`::ffff:0:0/96`), or for a NAT64 gateway (`64:ff9b::/96`, RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        address => address,
    }
}

/// The address that a URL has in the place of a name. No resolver is asked for it.
pub fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// The name service, without the addresses for which this is true. A name that has one among others is refused.
pub struct Except(pub fn(IpAddr) -> bool);

impl Resolve for Except {
    fn resolve(&self, name: Name) -> Resolving {
        let refused = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|address| refused(address.ip())) {
                Some(address) => Err(format!("its name leads to {}, which is refused", address.ip()).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inward_and_what_is_unfit() {
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
        for (addresses, inward, unfit) in rows {
            for text in addresses {
                let address = text.parse().unwrap();
                assert_eq!((is_inward(address), is_unfit(address)), (inward, unfit), "{text}");
            }
        }
    }

    #[test]
    fn every_way_to_write_an_address_is_seen() {
        for text in
            ["http://169.254.169.254/", "http://0xa9fea9fe/", "http://2852039166:80/", "http://0251.0376.169.254/"]
        {
            assert_eq!(literal(&text.parse().unwrap()), Some([169, 254, 169, 254].into()), "{text}");
        }
        let mapped = literal(&"http://[::ffff:169.254.169.254]:8080/".parse().unwrap());
        assert!(mapped.is_some_and(is_unfit));
        assert_eq!(literal(&"http://example.org/".parse().unwrap()), None);
    }

    /// What comes of the check is what is connected to: there is no second look-up.
    #[tokio::test]
    async fn a_refused_name_is_not_connected_to() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let client = |rule| {
            reqwest::Client::builder().no_proxy().dns_resolver(std::sync::Arc::new(Except(rule))).build().unwrap()
        };
        let error = client(is_inward).get(&url).send().await.unwrap_err();
        assert!(format!("{error:?}").contains("which is refused"), "{error:?}");
        let get = tokio::spawn(client(is_unfit).get(&url).send());
        listener.accept().await.unwrap();
        get.abort();
    }
}
