use core::net::IpAddr;

use ipnet::IpNet;

/// Hosts that an operator allows: names, addresses and networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    /// In lower case.
    names: Vec<String>,
    networks: Vec<IpNet>,
}

impl AllowedHosts {
    /// Reads entries such as `files.internal`, `10.0.0.2` and `10.1.0.0/16`.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Self::default();
        for entry in entries {
            let address = entry.trim_matches(['[', ']']).parse::<IpAddr>().map(IpNet::from);
            if let Ok(network) = address.or_else(|_| entry.parse::<IpNet>()) {
                all.networks.push(network);
            } else if entry.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
                all.names.push(entry.to_ascii_lowercase());
            } else {
                return Err(format!(
                    "{entry:?} is neither a host nor a network: write one such as files.internal or 10.0.0.0/24"
                ));
            }
        }
        Ok(all)
    }

    /// Returns true for a name that is allowed whatever its addresses are.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    pub fn has_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_names_addresses_and_networks() {
        let allowed = AllowedHosts::parse(["Files.internal", "10.0.0.2", "fd00:1::/64", "[::1]"]).unwrap();
        assert!(allowed.has_name("files.INTERNAL") && !allowed.has_name("internal"));
        for (address, is_allowed) in
            [("10.0.0.2", true), ("::ffff:10.0.0.2", true), ("10.0.0.3", false), ("fd00:1::7", true), ("::1", true)]
        {
            assert_eq!(allowed.has_address(address.parse().unwrap()), is_allowed, "{address}");
        }
        for wrong in ["http://files.internal", "files.internal:80", "10.0.0.0/33", "*"] {
            assert!(AllowedHosts::parse([wrong]).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
