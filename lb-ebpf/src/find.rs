//! Finds the connection of a packet, and with it where the packet goes.

use lb_common::{Endpoint, FlowKey, Ip4, Outcome, Port, PortRoles, track::Segment};

use crate::{Visit, admit, flows, maps, parse::Packet};

/// Where a packet goes.
pub struct Target {
    /// The direction.
    pub direction: Direction,
    /// The backend's slot.
    pub slot: u32,
    /// What replaces the destination (towards the backend) or the source (towards the client).
    pub address: Ip4,
    /// The port that goes with `address`.
    pub port: Port,
}

/// Which way a packet crosses the balancer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a backend.
    Forward,
    /// From a backend to a client.
    Return,
}

/// The target of a packet; else what becomes of it.
#[inline(always)]
pub fn target(packet: &Packet, visit: &mut Visit) -> Result<Target, Outcome> {
    let segment = packet.segment();
    let (_, destination_port) = packet.destination();
    if has_role(destination_port, PortRoles::is_service)
        && let Some(found) = forward(packet, &segment, visit)
    {
        return found;
    }
    let (_, source_port) = packet.source();
    if has_role(source_port, PortRoles::is_backend)
        && let Some(found) = backward(packet, &segment, visit)
    {
        return found;
    }
    Err(Outcome::NotOurs)
}

#[inline(always)]
fn has_role(port: Port, role: fn(&PortRoles, Port) -> bool) -> bool {
    maps::PORT_ROLES.get(PortRoles::word(port)).is_some_and(|roles| role(roles, port))
}

#[inline(always)]
fn forward(
    packet: &Packet,
    segment: &Segment,
    visit: &mut Visit,
) -> Option<Result<Target, Outcome>> {
    let key = packet.client_key();
    let slot = match flows::from_client(&key, segment) {
        Some(slot) if !packet.fragment => slot,
        _ => match admit::backend(packet, &key, segment, visit)? {
            Ok(slot) => slot,
            Err(outcome) => return Some(Err(outcome)),
        },
    };
    let Some(backend) = maps::BACKENDS.get(slot) else {
        return Some(Err(Outcome::Inconsistent));
    };
    visit.service = backend.service;
    visit.vip = key.vip;
    Some(Ok(Target {
        direction: Direction::Forward,
        slot,
        address: backend.address,
        port: backend.port,
    }))
}

#[inline(always)]
fn backward(
    packet: &Packet,
    segment: &Segment,
    visit: &mut Visit,
) -> Option<Result<Target, Outcome>> {
    let (address, port) = packet.source();
    // SAFETY: the entry is read at once, before any map is written.
    let returns = unsafe { maps::RETURNS.get(Endpoint::new(address, port)) }?;
    let (client, client_port) = packet.destination();
    for index in 0..returns.services.len() {
        if index as u32 >= returns.len {
            break;
        }
        let service = returns.services.get(index)?;
        let key = FlowKey::tcp(client, client_port, service.vip, service.port);
        if flows::from_backend(&key, service.slot, segment) {
            let Some(backend) = maps::BACKENDS.get(service.slot) else {
                return Some(Err(Outcome::Inconsistent));
            };
            visit.service = backend.service;
            visit.vip = service.vip;
            if packet.fragment {
                return Some(Err(Outcome::Fragment));
            }
            return Some(Ok(Target {
                direction: Direction::Return,
                slot: service.slot,
                address: service.vip,
                port: service.port,
            }));
        }
    }
    None
}
