//! The addresses that others find us by.

use std::{collections::BTreeSet, net::IpAddr};

use super::State;

/// Looks without a flow after which an address is given up: a single one may miss a flow that
/// changes its table meanwhile.
const LOOKS: u32 = 2;

impl State {
    /// What has to be answered for. VIPs come last: from then on clients find us, and their way
    /// back from the nodes has to be in place.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses_ahead().chain(self.vips()).collect()
    }

    /// Those of them that have to be answered for before the datapath makes use of them: what
    /// clients are translated to and do not connect to.
    pub fn addresses_ahead(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let vips = self.vips();
        let snat: BTreeSet<IpAddr> = self.offered().chain(self.retired.keys().copied()).collect();
        snat.into_iter().filter(move |address| !vips.contains(address))
    }

    fn vips(&self) -> BTreeSet<IpAddr> {
        self.services.iter().map(|service| service.vip.ip()).collect()
    }

    /// Whether some address is there for old flows alone: then it is to be looked whether there
    /// are any.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// The flow table was looked through, and its flows are translated to `in_use`.
    pub fn looked(&mut self, in_use: &BTreeSet<IpAddr>) {
        self.retired.retain(|address, looks| {
            *looks = if in_use.contains(address) { 0 } else { *looks + 1 };
            *looks < LOOKS
        });
    }

    /// Keeps what new flows are no longer translated to, `before` and not now, for the old ones;
    /// not against a node that has the address from now on.
    pub(super) fn retire(&mut self, before: impl Iterator<Item = IpAddr>) {
        let offered: BTreeSet<IpAddr> = self.offered().collect();
        let nodes = self.nodes();
        self.retired.extend(before.map(|address| (address, 0)));
        self.retired.retain(|address, _| !offered.contains(address) && !nodes.contains(address));
    }

    /// What new flows are translated to, with duplicates.
    pub(super) fn offered(&self) -> impl Iterator<Item = IpAddr> {
        self.services.iter().flat_map(|service| service.forwarding.snat_addresses()).copied()
    }

    /// The addresses of all backends, those that drain included.
    pub(super) fn nodes(&self) -> BTreeSet<IpAddr> {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        backends.map(|backend| backend.address.ip()).collect()
    }
}
