//! Connections that nodes open themselves (`outbound_nat`): they leave from an address of ours.

use aya_ebpf::programs::XdpContext;
use lb_common::{Address as _, Flow, FlowKey, Outcome};

use crate::{
    admit, count,
    family::Family,
    find::{self, Direction, Node},
    flows::{self, Wide},
    load, maps,
    parse::TcpPacket,
    snat::{self, Among},
    target::{Target, Track},
    transmit,
    visit::Visit,
};

/// The connection that a packet opens; else what becomes of it. What is for this host or for another
/// node passes.
#[inline(always)]
pub fn connection<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    key: &FlowKey<F::Address>,
    visit: &mut Visit,
) -> Result<Flow, Outcome> {
    let segment = packet.segment();
    let Node { pair, slot, opens } = find::node::<F>(key.client).ok_or(Outcome::NotOurs)?;
    // SAFETY: the entry is read at once, before any map is written.
    let other = unsafe { maps::ADDRESSES.get(key.vip.to_ip()) };
    if !opens || !segment.opens() || other.is_some_and(|role| role.ours != 0 || role.is_node()) {
        return Err(Outcome::NotOurs);
    }
    let address = snat::address(pair);
    let target = Target::<F> {
        direction: Direction::Forward,
        slot,
        source: F::Address::from_ip(address),
        destination: key.vip,
        source_port: key.client_port,
        destination_port: key.vip_port,
        track: Track::NONE,
    };
    if !transmit::leads_on(ctx, &packet.packet, &target) {
        return Err(Outcome::NotOurs);
    }
    let backend = maps::BACKENDS.get(slot).ok_or(Outcome::Inconsistent)?;
    visit.service = backend.service;
    visit.speaker = address;
    let snat = snat::claim::<F>(Among::Pair(pair), key, 0).ok_or(Outcome::NoPort)?;
    let flow = Flow::opening(slot, segment.seq, flows::now()).leaving_from(snat);
    load::begins(slot);
    admit::open::<Wide<true>, F>(key, &flow)?;
    count::opened(slot);
    Ok(flow)
}
