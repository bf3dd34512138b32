use std::fmt;

/// Network of the steps of builds, and of the containers of HOOK (BUILD_NETWORK).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildNetwork(String);

impl BuildNetwork {
    /// The word for no network at all.
    const NONE: &str = "none";

    /// Reads `none`, or the name of a network of the engine.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        match text {
            "host" => Err("it would open the network of the engine's machine to every step: name another one".into()),
            _ if !is_name => Err(format!("{text:?} is no name of a network: write none, or a name such as builds")),
            _ => Ok(Self(text.into())),
        }
    }

    /// Returns true for a network of the engine, which BuildKit cannot use.
    pub fn is_named(&self) -> bool {
        self.0 != Self::NONE
    }

    /// Returns the network's mode as the engine's API has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_none_or_a_name() {
        assert!(
            !BuildNetwork::parse("none").unwrap().is_named() && BuildNetwork::parse("builds-1").unwrap().is_named()
        );
        for wrong in ["host", "container:a", "-a", "a b", ""] {
            assert!(BuildNetwork::parse(wrong).is_err(), "{wrong}");
        }
    }
}
