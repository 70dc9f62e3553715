//! The common packet's way: IPv4 without tags, of a proven connection of a service, in its middle,
//! straight on. What is not so goes on to the programs that know all ways.

use aya_ebpf::programs::XdpContext;
use lb_common::{Address as _, Endpoint, FlowKey, Ip4, Outcome, PortRoles, Step};

use crate::{
    family::V4,
    find::{self, Direction, End, Roles},
    flows::{self, Hit, Narrow, Origin, overflowed},
    layout::Layout,
    maps,
    parse::TcpPacket,
    sort,
    visit::Visit,
    ways,
};

/// The packet's outcome here, or by the programs that go on with it.
#[inline(always)]
pub fn tcp4(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Outcome {
    try_tcp4(ctx, layout, visit).unwrap_or_else(|outcome| outcome)
}

#[inline(always)]
fn try_tcp4(ctx: &XdpContext, layout: &Layout, visit: &mut Visit) -> Result<Outcome, Outcome> {
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
    let (of_source, of_destination) = (Roles::of(source.1), Roles::of(destination.1));
    if of_source.has(PortRoles::is_paired) {
        return Found::Elsewhere(Step::Paired4);
    }
    let outbound =
        of_source.has(PortRoles::is_outbound) || of_destination.has(PortRoles::is_outbound);
    let to_service = of_destination.has(PortRoles::is_service);
    if of_source.has(PortRoles::is_backend) {
        let key = FlowKey::tcp(destination.0, destination.1, source.0, source.1);
        return match flows::find_from::<Narrow, V4>(&key, &Origin::backend(source)) {
            Some(hit) => Found::Hit(hit, Direction::Return),
            None if to_service || outbound || overflowed() => Found::Elsewhere(Step::Tcp4),
            None => Found::Nothing,
        };
    }
    if to_service {
        let key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
        return match flows::find::<Narrow, V4>(&key) {
            Some(hit) => Found::Hit(hit, Direction::Forward),
            None if outbound => Found::Elsewhere(Step::Tcp4),
            None if opens => Found::Elsewhere(Step::Admit4),
            None if is_service(destination) => Found::Elsewhere(Step::Tcp4),
            None => Found::Nothing,
        };
    }
    if outbound { Found::Elsewhere(Step::Tcp4) } else { Found::Nothing }
}

#[inline(always)]
fn is_service((address, port): End<V4>) -> bool {
    // SAFETY: the entry is not read.
    unsafe { maps::SERVICES.get(Endpoint::new(address.to_ip(), port)) }.is_some()
}
