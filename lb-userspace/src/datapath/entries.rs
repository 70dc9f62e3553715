//! Entries of the configuration maps, from what is desired.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{Backend, Endpoint, MAX_SERVICES_PER_BACKEND, Port, Return, Returns};

use super::pairs::Pairs;
use crate::desired::{Desired, DesiredBackend, DesiredService};

/// The program's entry of a backend. The pairs stay there while old connections have their ports;
/// new ones get those that its service has now.
pub(super) fn backend_of(
    backend: &DesiredBackend,
    service: Option<&DesiredService>,
    pairs: &Pairs,
) -> Backend {
    let Endpoint { address, port } = endpoint(backend.address);
    let port = port.port();
    let pairs = service.map(|service| pairs.of_backend(service, backend)).unwrap_or_default();
    Backend::new(address, port, backend.service, backend.available).with_pairs(pairs)
}

/// The services of each backend's address.
pub(super) fn returns_of(desired: &Desired, pairs: &Pairs) -> BTreeMap<SocketAddr, Returns> {
    let mut wanted: BTreeMap<SocketAddr, Returns> = BTreeMap::new();
    for backend in &desired.backends {
        let returns = wanted.entry(backend.address).or_default();
        returns.pairs = pairs.lead_to(backend).into();
        // The config and the state machine keep to the limit.
        let at = returns.len as usize;
        debug_assert!(at < MAX_SERVICES_PER_BACKEND, "{} has too many", backend.address);
        if let Some(place) = returns.services.get_mut(at) {
            let Endpoint { address, port } = endpoint(backend.vip);
            *place = Return::new(address, port.port(), backend.slot);
            returns.len += 1;
        }
    }
    wanted
}

/// An address and a port, as the program has them.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.ip().into(), Port::new(address.port()))
}
