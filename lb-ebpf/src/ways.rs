//! The ways of packets, each from the place where its headers are to its outcome.

use aya_ebpf::programs::XdpContext;
use lb_common::Outcome;

use crate::{
    admit,
    errors::ErrorPacket,
    family::{Family, V6},
    find::{self, Direction, Found, Target},
    fragment,
    layout::Layout,
    lookup::Tracking,
    parse::{Packet, TcpPacket},
    pending::{self, NO_SLOT},
    rewrite, sort, transmit,
    visit::Visit,
};

/// A TCP packet, of a connection or not.
#[inline(always)]
pub fn tcp<F: Family>(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_tcp::<F>(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_tcp<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let segment = packet.segment();
    match find::target(packet.source(), packet.destination(), &Tracking(segment), visit)? {
        Found::Target(_) if segment.absurd() => Err(Outcome::BadFlags),
        Found::Target(target) => F::send(ctx, &packet, &target, visit),
        Found::New => {
            layout.leave();
            Err(sort::go_on(ctx, F::ADMIT))
        }
        Found::Nothing => Err(Outcome::NotOurs),
    }
}

/// A TCP packet without a connection.
#[inline(always)]
pub fn admit<F: Family>(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_admit::<F>(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_admit<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let packet = TcpPacket::<F>::at(ctx, *layout)?;
    let key = packet.client_key();
    let flow = admit::connection(ctx, &packet, &key, visit)?;
    let target = find::forward(&key, &flow, visit)?;
    F::send(ctx, &packet, &target, visit)
}

/// An IPv6 packet whose target the program before has found.
#[inline(always)]
pub fn found(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_found(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_found(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Result<Outcome, Outcome> {
    let (before, target) = pending::take_target().ok_or(Outcome::Inconsistent)?;
    *visit = before;
    let packet = TcpPacket::<V6>::at(ctx, *layout)?;
    send(ctx, &packet, &target, visit)
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
pub fn later<F: Family>(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_later::<F>(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_later<F: Family>(
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

#[inline(always)]
const fn done(direction: Direction) -> Outcome {
    match direction {
        Direction::Forward => Outcome::Forwarded,
        Direction::Return => Outcome::Returned,
    }
}

/// An ICMP error about a packet of a connection.
#[inline(always)]
pub fn error<F: Family>(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_error::<F>(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_error<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &mut Visit,
) -> Result<Outcome, Outcome> {
    let error = ErrorPacket::<F>::at(ctx, *layout)?;
    let (inner, outer) = error.target(visit)?;
    let hop = error.route(ctx, &outer, visit)?;
    error.translate(&inner, &outer);
    let (traffic, done) = ((outer.direction, NO_SLOT), Outcome::IcmpTranslated);
    Ok(transmit::leave(ctx, &error.packet, traffic, (hop, done), visit))
}
