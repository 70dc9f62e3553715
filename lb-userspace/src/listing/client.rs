//! Clients by their addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access::prefix;

/// The clients of one address, or of all addresses with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clients(IpNet);

/// Text that says no clients.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is neither an address nor a prefix: write 10.0.0.7, 10.0.0.0/24 or 2001:db8::/64")]
pub struct BadClients(String);

impl Clients {
    /// Whether a client is one of them.
    pub fn contains(&self, client: IpAddr) -> bool {
        self.0.contains(&client)
    }
}

impl From<IpAddr> for Clients {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl FromStr for Clients {
    type Err = BadClients;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        prefix(text).map(Self).ok_or_else(|| BadClients(text.to_owned()))
    }
}

impl TryFrom<String> for Clients {
    type Error = BadClients;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl From<Clients> for String {
    fn from(clients: Clients) -> Self {
        clients.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_prefix() {
        for (text, of_them, others) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("10.0.0.9/24", "10.0.0.1", "10.0.1.9"),
            ("0.0.0.0/0", "192.0.2.1", "2001:db8::1"),
            ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
            ("2001:db8::/64", "2001:db8::ffff", "2001:db8:0:1::"),
        ] {
            let clients: Clients = text.parse().expect(text);
            assert!(clients.contains(of_them.parse().expect("an address")), "{text}");
            assert!(!clients.contains(others.parse().expect("an address")), "{text}");
            assert_eq!(clients.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in ["", "10.0.0", "10.0.0.0/33", "host.example", "10.0.0.7:5060"] {
            let said = text.parse::<Clients>().expect_err(text).to_string();
            assert!(said.contains("10.0.0.0/24"), "{said}");
        }
    }
}
