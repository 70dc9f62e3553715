//! Entries of the configuration maps, from what is desired.

use std::net::SocketAddr;

use lb_common::{Backend, Endpoint, Port};

use super::pairs::Pairs;
use crate::desired::{DesiredBackend, DesiredService};

/// The program's entry of a backend. The pairs stay there while old connections have their ports;
/// new ones get those that its service has now.
pub(super) fn backend_of(
    backend: &DesiredBackend,
    service: Option<&DesiredService>,
    pairs: &Pairs,
) -> Backend {
    let (listener, vip) = (endpoint(backend.address), endpoint(backend.vip));
    let pairs = service.map(|service| pairs.of_backend(service, backend)).unwrap_or_default();
    Backend::new(listener, vip, backend.service, backend.standing).with_pairs(pairs)
}

/// An address and a port, as the program has them.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.ip().into(), Port::new(address.port()))
}
