//! The common packet's way: IPv4 without tags, of a proven connection of a service, in its middle,
//! straight on. What is not so goes on to the programs that know all ways.

use aya_ebpf::programs::XdpContext;
use lb_common::{Address as _, Endpoint, FlowKey, Ip4, Outcome, Step};

use crate::{
    family::V4,
    find::{self, Direction, End, roles},
    flows::{self, Hit, Narrow},
    hops,
    layout::Layout,
    maps,
    parse::TcpPacket,
    rewrite, sort, transmit,
    visit::Visit,
    ways,
};

/// The packet's outcome here, or by the programs that go on with it.
#[inline(always)]
pub fn tcp4(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<V4>::at(ctx, *layout)?;
    let segment = packet.segment();
    let go_on = |step| {
        layout.leave();
        Err(sort::go_on(ctx, step))
    };
    let (mut hit, direction) = match find(packet.source(), packet.destination(), segment.opens()) {
        Found::Hit(hit, direction) => (hit, direction),
        Found::Elsewhere(step) => return go_on(step),
        // It may be of a connection that opens beside an older one.
        Found::Nothing if !segment.is_in_the_middle() => return go_on(Step::Tcp4),
        Found::Nothing => return Err(Outcome::NotOurs),
    };
    if !hit.life.is_settled() || !segment.is_in_the_middle() {
        return go_on(Step::Tcp4);
    }
    flows::pass(&mut hit, &segment, direction);
    if let Some(outcome) = straight(ctx, &packet, &hit, direction, visit) {
        return Ok(outcome);
    }
    if hit.backend().standing.is_over() {
        visit.service = hit.backend().service;
        return Err(Outcome::BackendGone);
    }
    let (client, vip) = match direction {
        Direction::Forward => (packet.source(), packet.destination()),
        Direction::Return => {
            (packet.destination(), (Ip4::from_ip(hit.backend().vip), hit.backend().vip_port))
        }
    };
    let key = FlowKey::tcp(client.0, client.1, vip.0, vip.1);
    let target = find::target_of::<V4>(&key, &hit, direction, packet.destination().0, visit);
    ways::send(ctx, &packet, &target, visit)
}

/// Sends the packet of a flow whose next hop is known, and of whose ends one changes; none where that is
/// not so.
#[inline(always)]
fn straight(
    ctx: &XdpContext,
    packet: &TcpPacket<V4>,
    hit: &Hit,
    direction: Direction,
    visit: &mut Visit,
) -> Option<Outcome> {
    let number = hit.life.hop(direction == Direction::Return);
    if number == 0 || hit.snat.is_some() || packet.packet.ttl() <= 1 {
        return None;
    }
    let (egress, addresses) = hops::get(number, hit.now, packet.packet.len)?;
    let backend = hit.backend();
    let end = match direction {
        Direction::Forward => (backend.address, backend.port),
        Direction::Return => (backend.vip, backend.vip_port),
    };
    rewrite::far_end(packet, direction, (Ip4::from_ip(end.0), end.1));
    (visit.service, visit.speaker) = (backend.service, backend.vip);
    let hop = transmit::Hop::by(&packet.packet, egress, addresses);
    Some(transmit::leave(
        ctx,
        &packet.packet,
        (direction, hit.slot),
        (hop, ways::done(direction)),
        visit,
    ))
}

/// What is known of a packet by one look.
enum Found {
    /// It is of this flow.
    Hit(Hit, Direction),
    /// It may be of one that another program finds, or begin one there.
    Elsewhere(Step),
    /// It is of none.
    Nothing,
}

#[inline(always)]
fn find(source: End<V4>, destination: End<V4>, opens: bool) -> Found {
    let (of_source, of_destination) = (roles(source.1), roles(destination.1));
    if of_source.is_paired() {
        return Found::Elsewhere(Step::Paired4);
    }
    let outbound = of_source.is_outbound() || of_destination.is_outbound();
    let to_service = of_destination.is_service();
    let (client, far, direction) = if of_source.is_backend() {
        (destination, source, Direction::Return)
    } else if to_service {
        (source, destination, Direction::Forward)
    } else {
        return if outbound { Found::Elsewhere(Step::Tcp4) } else { Found::Nothing };
    };
    if let Some(hit) = flows::find::<Narrow, V4>(client, far, direction, opens) {
        return Found::Hit(hit, direction);
    }
    let elsewhere = match direction {
        Direction::Return => to_service,
        Direction::Forward => !opens && is_service(far),
    };
    if elsewhere || outbound {
        return Found::Elsewhere(Step::Tcp4);
    }
    if direction == Direction::Forward && opens {
        return Found::Elsewhere(Step::Admit4);
    }
    Found::Nothing
}

#[inline(always)]
fn is_service((address, port): End<V4>) -> bool {
    // SAFETY: the entry is not read.
    unsafe { maps::SERVICES.get(Endpoint::new(address.to_ip(), port)) }.is_some()
}
