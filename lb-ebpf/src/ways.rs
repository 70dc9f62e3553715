//! The ways of packets, each from the place where its headers are to its outcome: of one that goes all of
//! its way, or, as an error, of one that is done with before.

use aya_ebpf::programs::XdpContext;
use lb_common::{Flow, FlowKey, Outcome};

use crate::{
    admit,
    errors::ErrorPacket,
    family::Family,
    find::{self, Direction, Found},
    fragment,
    layout::Layout,
    lookup::Tracking,
    maps, outbound,
    parse::{Packet, TcpPacket},
    pending::{self, NO_SLOT},
    rewrite, sort,
    target::Target,
    transmit,
    visit::Visit,
};

/// A TCP packet, of a connection or not.
#[inline(always)]
pub fn tcp<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    if !layout.is_not_paired() && find::may_be_paired(packet.source().1, packet.destination().1) {
        layout.leave();
        return Err(sort::go_on(ctx, F::PAIRED));
    }
    let segment = packet.segment();
    let (from, to, mut target) = (packet.source(), packet.destination(), Target::unknown());
    match find::target(from, to, &Tracking(segment), visit, &mut target)? {
        Found::Target if segment.absurd() => Err(Outcome::BadFlags),
        Found::Target => hand_on(ctx, &packet, &target, visit),
        Found::New => {
            layout.leave();
            Err(sort::go_on(ctx, F::ADMIT))
        }
        Found::Nothing => Err(Outcome::NotOurs),
    }
}

/// A TCP packet that may answer to the port of a pair; else it goes on as others do.
#[inline(always)]
pub fn paired<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let segment = packet.segment();
    let (from, to, mut target) = (packet.source(), packet.destination(), Target::unknown());
    match find::paired(from, to, &Tracking(segment), visit, &mut target)? {
        Found::Target if segment.absurd() => Err(Outcome::BadFlags),
        Found::Target => hand_on(ctx, &packet, &target, visit),
        Found::New | Found::Nothing => {
            layout.not_paired().leave();
            Err(sort::go_on(ctx, F::TCP))
        }
    }
}

/// A TCP packet without a connection.
#[inline(always)]
pub fn admit<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let key = packet.client_key();
    match admit::connection::<F>(&key, &packet.segment(), visit)? {
        Some(flow) => send_first(ctx, &packet, &key, &flow, visit),
        None if find::node::<F>(key.client).is_some() => {
            layout.leave();
            Err(sort::go_on(ctx, F::OUTBOUND))
        }
        None => Err(Outcome::NotOurs),
    }
}

/// A TCP packet of a connection that a node has opened itself, or opens.
#[inline(always)]
pub fn outbound<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let segment = packet.segment();
    let (from, to, mut target) = (packet.source(), packet.destination(), Target::unknown());
    match find::opened(from, to, &Tracking(segment), visit, &mut target)? {
        Found::Target if segment.absurd() => Err(Outcome::BadFlags),
        Found::Target => hand_on(ctx, &packet, &target, visit),
        Found::New | Found::Nothing => {
            layout.leave();
            Err(sort::go_on(ctx, F::OPEN))
        }
    }
}

/// A TCP packet of a node that is of no connection.
#[inline(always)]
pub fn open<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let key = packet.client_key();
    let flow = outbound::connection::<F>(ctx, &packet, &key, visit)?;
    send_first(ctx, &packet, &key, &flow, visit)
}

/// Sends the packet with which a flow begins.
#[inline(always)]
fn send_first<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    key: &FlowKey<F::Address>,
    flow: &Flow,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let backend = maps::BACKENDS.get(flow.backend).ok_or(Outcome::Inconsistent)?;
    let target = find::forward(key, (flow.backend, backend, flow.snat), visit);
    F::send(ctx, packet, &target, visit)
}

/// A packet whose target the program before has found.
#[inline(always)]
pub fn found<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let (before, target) = pending::take_target::<F>().ok_or(Outcome::Inconsistent)?;
    *visit = before;
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    send(ctx, &packet, &target, visit)
}

/// Has another program send a packet where it goes: to find that and to send the packet takes more of
/// the stack (512 bytes in all) than one has.
#[inline(always)]
pub fn hand_on<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    target: &Target<F>,
    visit: &Visit,
) -> Result<Outcome, Outcome> {
    packet.packet.layout.leave();
    pending::leave_target(visit, target);
    Err(sort::go_on(ctx, F::SEND))
}

/// Sends a packet where it goes.
#[inline(always)]
pub fn send<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    target: &Target<F>,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let hop = transmit::route(ctx, &packet.packet, target, visit)?;
    if packet.packet.layout.fragment != 0 {
        fragment::first(&packet.packet, target);
    }
    rewrite::translate(packet, target);
    let traffic = (target.direction, target.slot);
    let done = done(target.direction);
    Ok(transmit::leave(ctx, &packet.packet, traffic, (hop, done), visit))
}

/// A fragment after the first.
#[inline(always)]
pub fn later<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = Packet::<F>::at(ctx, *layout)?;
    let target = fragment::later(&packet, visit)?;
    let hop = transmit::route(ctx, &packet, &target, visit)?;
    rewrite::addresses(&packet, &target);
    let traffic = (target.direction, target.slot);
    let done = done(target.direction);
    Ok(transmit::leave(ctx, &packet, traffic, (hop, done), visit))
}

/// What becomes of a packet that is on its way.
#[inline(always)]
pub const fn done(direction: Direction) -> Outcome {
    match direction {
        Direction::Forward => Outcome::Forwarded,
        Direction::Return => Outcome::Returned,
    }
}

/// An ICMP error about a packet of a connection.
#[inline(always)]
pub fn error<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let error = ErrorPacket::<F>::at(ctx, *layout)?;
    let mut target = Target::unknown();
    error.answer(visit, &mut target)?;
    layout.leave();
    pending::leave_target(visit, &target);
    Err(sort::go_on(ctx, F::TRANSLATE))
}

/// An ICMP error about a packet whose target the program before has found.
#[inline(always)]
pub fn found_error<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let (before, inner) = pending::take_target::<F>().ok_or(Outcome::Inconsistent)?;
    *visit = before;
    let error = ErrorPacket::<F>::at(ctx, *layout)?;
    let outer = error.outer(&inner);
    let hop = error.route(ctx, &outer, visit)?;
    error.translate(&inner, &outer);
    let (traffic, done) = ((outer.direction, NO_SLOT), Outcome::IcmpTranslated);
    Ok(transmit::leave(ctx, &error.packet, traffic, (hop, done), visit))
}
