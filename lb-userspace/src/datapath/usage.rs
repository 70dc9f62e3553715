//! How full what has a limit is.

use std::net::{IpAddr, SocketAddr};

use lb_common::PairKey;

/// What one sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The tables of flows that there are.
    pub tables: Vec<TableUse>,
    /// The ports of translated connections, for each pair of an address that they leave from and where
    /// they go to.
    pub ports: Vec<PortUse>,
}

/// A table of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableUse {
    /// `ipv4`, or `ipv6_and_outbound` for IPv6 flows and those that nodes have opened.
    pub table: &'static str,
    /// Proven flows.
    pub flows: u64,
    /// How many of those it holds.
    pub capacity: u32,
}

/// The ports of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortUse {
    /// What connections leave from.
    pub snat: IpAddr,
    /// The backend that they go to; nothing for those that nodes have opened.
    pub backend: Option<SocketAddr>,
    /// Ports that proven connections have. Those of connections that open or have closed are taken back
    /// in need.
    pub used: u32,
    /// Ports that may be given out.
    pub ports: u32,
}

impl PortUse {
    pub(super) fn new(key: &PairKey, used: u32, ports: u32) -> Self {
        let outbound = *key == PairKey::outbound(key.address);
        let backend = SocketAddr::new(key.backend.into(), key.port.port().get());
        Self { snat: key.address.into(), backend: (!outbound).then_some(backend), used, ports }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{Ip, Port};

    use super::*;

    #[test]
    fn a_pair_is_told_by_what_it_leads_to() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (snat, node) = (address("192.0.2.110"), address("10.0.0.11"));
        let key = PairKey::new(Ip::from(snat), Ip::from(node), Port::new(5060));
        let uses = PortUse::new(&key, 3, 64_512);
        assert_eq!((uses.snat, uses.backend), (snat, "10.0.0.11:5060".parse().ok()));
        let uses = PortUse::new(&PairKey::outbound(Ip::from(snat)), 3, 64_512);
        assert_eq!((uses.snat, uses.backend), (snat, None));
    }
}
