//! The share of the places that one peer's address may take.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Header in which each proxy appends the address that it was called from.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The addresses whose connections are counted: neither this machine's own nor those of trusted proxies.
#[derive(Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the address that is counted, which is a /64 for IPv6 because one host has all of it. `None` for loopback and
    /// for a proxy.
    pub(super) fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if address.is_loopback() || self.has(address) {
            return None;
        }
        Some(match address {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & u128::MAX << 64).into(),
            v4 => v4,
        })
    }

    /// Returns the sender of a request that a trusted proxy passed on: the right-most address that is no trusted proxy's,
    /// because senders may write what they like before it.
    pub(super) fn forwarded(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values: Vec<_> = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok()).collect();
        let parsed = values.iter().rev().flat_map(|value| value.rsplit(',')).map(|text| parse(text.trim()));
        // An unreadable entry hides who stands before it.
        parsed.map_while(|address| address).find(|address| !self.has(*address))
    }
}

/// Reads an address that may have a port, as some proxies write it.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(fuzzing)]
pub fn fuzz(values: &[u8]) {
    let values = values.split(|&b| b == b'\n').filter_map(|value| axum::http::HeaderValue::from_bytes(value).ok());
    let headers: HeaderMap = values.map(|value| (FORWARDED, value)).collect();
    let proxies = TrustedProxies::new(&[IpNet::from(IpAddr::from([10, 0, 0, 2]))]);
    assert!(proxies.forwarded(&headers).is_none_or(|sender| !proxies.has(sender)));
}

/// The places that each address has of a number of places.
pub(super) struct AddressShares {
    /// The most places of one address.
    pub most: usize,
    held: Mutex<HashMap<IpAddr, Held>>,
}

#[derive(Default)]
struct Held {
    places: usize,
    /// True once a place was refused.
    is_full: bool,
}

/// One place of an address.
pub(super) struct AddressPlace {
    shares: Arc<AddressShares>,
    address: IpAddr,
}

impl AddressShares {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// Takes one place of the address.
    ///
    /// # Errors
    /// The address has all of its places. The value is true for the first refusal since it last had none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<AddressPlace, bool> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.entry(address).or_default();
        if of_address.places == self.most {
            return Err(!std::mem::replace(&mut of_address.is_full, true));
        }
        of_address.places += 1;
        Ok(AddressPlace { shares: self.clone(), address })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = held.get_mut(&self.address) {
            of_address.places -= 1;
            if of_address.places == 0 {
                held.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::new(&networks.iter().map(|network| network.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn loopback_and_proxies_are_not_counted_and_v6_is_counted_by_network() {
        let trusted = proxies(&["10.0.0.0/8", "fd00::1/128"]);
        for (address, counted) in [
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:127.0.0.9", None),
            ("10.1.2.3", None),
            ("::ffff:10.1.2.3", None),
            ("fd00::1", None),
            ("11.1.2.3", Some("11.1.2.3")),
            ("::ffff:11.1.2.3", Some("11.1.2.3")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
        ] {
            let counted: Option<IpAddr> = counted.map(|text| text.parse().unwrap());
            assert_eq!(trusted.counted(address.parse().unwrap()), counted, "{address}");
        }
    }

    #[test]
    fn the_sender_is_the_last_address_before_the_proxies() {
        let trusted = proxies(&["10.0.0.0/8"]);
        for (values, sender) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&["198.51.100.1, 203.0.113.7, 10.0.0.2"], Some("203.0.113.7")),
            (&["198.51.100.1", "203.0.113.7,10.0.0.2"], Some("203.0.113.7")),
            (&["10.0.0.3, 203.0.113.7:4711"], Some("203.0.113.7")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["203.0.113.7, unknown, 10.0.0.2"], None),
            (&["10.0.0.1"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED, value.parse().unwrap());
            }
            assert_eq!(trusted.forwarded(&headers), sender.map(|text| text.parse().unwrap()), "{values:?}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let shares = AddressShares::new(2);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let taken = [shares.take(one).ok(), shares.take(one).ok()];
        assert_eq!((shares.take(one).err(), shares.take(one).err()), (Some(true), Some(false)));
        assert!(shares.take(other).is_ok());
        drop(taken);
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
