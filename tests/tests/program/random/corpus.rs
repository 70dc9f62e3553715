//! Frames worth mutating: of no connection, of unproven and of proven ones, in every mode, both
//! families, tagged and not, whole and in fragments, in both directions, and errors about them.

use std::net::SocketAddr;

use lb_tests::packet::{
    Extension, Flags, Frame, Tag, fragment,
    icmp::{Icmp, v4, v6},
    packet_of,
};
use lb_userspace::{datapath::PortRules, desired::Desired};

use super::{judge::judge, model::Model, view::View};
use crate::rig::{
    CLIENT, CLIENT6, Dialogue, GATEWAY_MAC, Rig, SNAT, SNAT6, SUB_INTERFACES, Service, Setup, Side,
    TAGGED, TAGGED_TWICE, VIP, VIP6, backend, backend6, desired, from_backend, from_gateway,
    full_nat, outbound, socket, socket6,
};

const FIRST_PORT: u16 = 2000;
const LAST_PORT: u16 = 2063;

const VIPS: [SocketAddr; 3] = [VIP, socket([10, 1, 0, 101], 5060), socket([10, 1, 0, 102], 5060)];
const VIPS6: [SocketAddr; 3] = [
    VIP6,
    socket6([0xfd00, 1, 0, 0, 0, 0, 0, 0x101], 5060),
    socket6([0xfd00, 1, 0, 0, 0, 0, 0, 0x102], 5060),
];

/// Of each family: a service in nat mode, one in full-nat mode with two addresses, whose nodes'
/// connections both leave from the VIP, and one with a single address and backend.
fn config() -> Desired {
    let mut all = Desired::default();
    for (n, vips, backend, snat) in
        [(0u32, VIPS, backend as fn(u8) -> SocketAddr, SNAT), (1, VIPS6, backend6, SNAT6)]
    {
        let (id, slot) = (3 * n, 5 * n);
        let member = |number: u32, at: u8| (slot + number, backend(at), 1);
        let narrow = SocketAddr::new(backend(1).ip(), 5070);
        let plain = outbound(desired(&[Service(id + 1, vips[0], &[member(1, 1), member(2, 2)])]));
        let wide = outbound(desired(&[Service(id + 2, vips[1], &[member(3, 3), member(4, 4)])]));
        let narrow = desired(&[Service(id + 3, vips[2], &[(slot + 5, narrow, 1)])]);
        for part in [plain, full_nat(wide, &snat), full_nat(narrow, &snat[..1])] {
            all.services.extend(part.services);
            all.backends.extend(part.backends);
        }
    }
    all
}

/// The balancer that they are for.
pub fn setup() -> Setup {
    let rules = PortRules { range: FIRST_PORT..=LAST_PORT, ..PortRules::default() };
    Setup { desired: config(), rules, ip: SUB_INTERFACES, ..Setup::default() }
}

/// What is known of it at first.
pub fn model() -> Model {
    Model::new(config(), FIRST_PORT..=LAST_PORT)
}

/// A connection that is there.
struct Talk {
    dialogue: Dialogue,
    /// Where its client is.
    side: Side,
    tags: Vec<Tag>,
    /// Whom its client's packets go to in the end.
    far: SocketAddr,
}

impl Talk {
    /// The handshake.
    fn open(
        rig: &mut Rig<'_>,
        model: &mut Model,
        side: Side,
        tags: &[Tag],
        dialogue: Dialogue,
    ) -> Self {
        let far = dialogue.vip;
        let mut talk = Self { dialogue, side, tags: tags.to_vec(), far };
        let syn = talk.client_sends(Flags::SYN, b"");
        let came = play(rig, model, side, &syn);
        let ends = View::of(&came).and_then(|view| view.ends(&came)).expect("its ends");
        (talk.dialogue.seen, talk.far) = ends;
        let answer = talk.far_sends(Flags::SYN_ACK, b"");
        play(rig, model, talk.far_side(), &answer);
        let proof = talk.client_sends(Flags::ACK, b"");
        play(rig, model, side, &proof);
        talk
    }

    fn far_side(&self) -> Side {
        if self.side == Side::Front { Side::Back } else { Side::Front }
    }

    fn client_sends(&mut self, flags: Flags, payload: &[u8]) -> Frame {
        let frame = self.dialogue.client_sends(flags, payload);
        Frame { tags: self.tags.clone(), ..arriving(self.side, frame) }
    }

    fn far_sends(&mut self, flags: Flags, payload: &[u8]) -> Frame {
        let frame = self.dialogue.backend_sends(self.far, flags, payload);
        arriving(self.far_side(), frame)
    }

    /// What its two ends may say next.
    fn frames(&self) -> Vec<(Side, Frame)> {
        let next = || Self { dialogue: self.dialogue.clone(), tags: self.tags.clone(), ..*self };
        let mut frames = Vec::new();
        for payload in [&b""[..], b"INFO sip:imp SIP/2.0\r\n\r\n"] {
            frames.push((self.side, next().client_sends(Flags::PSH_ACK, payload)));
            frames.push((self.far_side(), next().far_sends(Flags::PSH_ACK, payload)));
        }
        frames.push((self.side, next().client_sends(Flags::FIN_ACK, b"")));
        frames.push((self.far_side(), next().far_sends(Flags::FIN_ACK, b"")));
        frames.push((self.far_side(), next().far_sends(Flags::RST, b"")));
        // A newer connection, and its answer.
        let mut newer = next();
        newer.dialogue.client_next ^= 0x4000_0000;
        frames.push((self.side, newer.client_sends(Flags::SYN, b"")));
        frames.push((self.far_side(), newer.far_sends(Flags::SYN_ACK, b"")));
        frames
    }

    /// Errors about what each end got.
    fn errors(&self) -> Vec<(Side, Icmp)> {
        let Dialogue { client, vip, seen, .. } = self.dialogue;
        let mut errors = Vec::new();
        for (side, tags, from, to) in
            [(self.far_side(), &[][..], seen, self.far), (self.side, &self.tags, vip, client)]
        {
            let got = Frame { flags: Flags::PSH_ACK, payload: vec![7; 40], ..Frame::new(from, to) };
            let got = got.build().expect("a frame");
            let packet = packet_of(&got).expect("a packet");
            let (kind, code) = if from.is_ipv4() {
                (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED)
            } else {
                (v6::PACKET_TOO_BIG, 0)
            };
            for limit in [if from.is_ipv4() { 28 } else { 48 }, 1000] {
                let error = Icmp::new(to.ip(), from.ip(), kind, code, 1280).about(packet, limit);
                let frame = arriving(side, Frame::new(to, from));
                let (source_mac, destination_mac) = (frame.source_mac, frame.destination_mac);
                errors.push((
                    side,
                    Icmp { source_mac, destination_mac, tags: tags.to_vec(), ..error },
                ));
            }
        }
        errors
    }
}

/// The frame as it arrives there.
fn arriving(side: Side, frame: Frame) -> Frame {
    match side {
        Side::Front => from_gateway(&frame),
        Side::Back => from_backend(&frame),
    }
}

/// A frame of the corpus through the program, judged as every other.
fn play(rig: &mut Rig<'_>, model: &mut Model, side: Side, frame: &Frame) -> Vec<u8> {
    let sent = frame.build().expect("a frame");
    let out = rig.run(side, &sent);
    if let Err(wrong) = judge(model, &sent, &out) {
        panic!("{wrong}: {frame:?}, {out:02x?}");
    }
    out.bytes
}

/// The frames, and where they arrive. The connections that they are of are there afterwards.
pub fn frames(rig: &mut Rig<'_>, model: &mut Model) -> Vec<(Side, Vec<u8>)> {
    rig.use_sub_interfaces();
    let mut whole: Vec<(Side, Frame)> = Vec::new();
    let mut errors = Vec::new();
    for (vips, clients, nodes) in [
        (
            VIPS,
            [CLIENT, socket([10, 3, 0, 7], 0), socket([10, 4, 0, 7], 0)],
            [backend(1), backend(3)],
        ),
        (
            VIPS6,
            [
                CLIENT6,
                socket6([0xfd00, 3, 0, 0, 0, 0, 0, 7], 0),
                socket6([0xfd00, 4, 0, 0, 0, 0, 0, 7], 0),
            ],
            [backend6(1), backend6(3)],
        ),
    ] {
        let ways =
            [(clients[0], &[][..]), (clients[1], &TAGGED[..]), (clients[2], &TAGGED_TWICE[..])];
        for vip in &vips[..2] {
            for (client, tags) in ways {
                for port in 47_000..47_003 {
                    let client = SocketAddr::new(client.ip(), port);
                    let dialogue = Dialogue::new(client, *vip);
                    let talk = Talk::open(rig, model, Side::Front, tags, dialogue);
                    whole.extend(talk.frames());
                    errors.extend(talk.errors());
                    let stranger = SocketAddr::new(client.ip(), port + 1000);
                    let frame = from_gateway(&Frame::new(stranger, *vip));
                    whole.push((Side::Front, Frame { tags: tags.to_vec(), ..frame }));
                }
            }
            // From itself, from one of the balancer's addresses, from a node.
            let from = [*vip, vips[0], nodes[0]];
            whole.extend(from.map(|from| (Side::Front, from_gateway(&Frame::new(from, *vip)))));
        }
        // Every port is taken, by connections that nobody ends.
        for n in 0..=LAST_PORT - FIRST_PORT {
            let client = SocketAddr::new(clients[0].ip(), 30_000 + n);
            let dialogue = Dialogue::new(client, vips[2]);
            Talk::open(rig, model, Side::Front, &[], dialogue);
        }
        for (client, tags) in ways {
            let late = SocketAddr::new(client.ip(), 50_000);
            for flags in [Flags::SYN, Flags::PSH_ACK] {
                let frame = Frame { flags, tags: tags.to_vec(), ..Frame::new(late, vips[2]) };
                whole.push((Side::Front, from_gateway(&frame)));
            }
        }
        for (n, node) in (0..).zip(nodes) {
            let node = SocketAddr::new(node.ip(), 45_000 + n);
            let remote = SocketAddr::new(clients[0].ip(), 443);
            let talk = Talk::open(rig, model, Side::Back, &[], Dialogue::new(node, remote));
            whole.extend(talk.frames());
            errors.extend(talk.errors());
            let syn = from_backend(&Frame::new(SocketAddr::new(node.ip(), 46_000), remote));
            whole.push((Side::Back, syn));
        }
    }
    bytes(&whole, &errors)
}

/// All of it, with options and extensions, in fragments, with a low TTL.
fn bytes(whole: &[(Side, Frame)], errors: &[(Side, Icmp)]) -> Vec<(Side, Vec<u8>)> {
    let mut all = Vec::new();
    for (side, frame) in whole {
        let plain = Frame { dont_fragment: frame.source.is_ipv6(), ..frame.clone() };
        all.push((*side, frame.build().expect("a frame")));
        all.push((*side, Frame { ttl: 2, ..with_options(frame) }.build().expect("a frame")));
        let long = Frame { payload: vec![9; 64], ..plain };
        let long = long.build().expect("a frame");
        let id = fragment_id(&long);
        let pieces = fragment::cut(&long, id, &[32, 24]).expect("fragments");
        all.extend(pieces.into_iter().map(|piece| (*side, piece)));
    }
    all.extend(errors.iter().map(|(side, icmp)| (*side, icmp.build().expect("a frame"))));
    assert!(all.iter().any(|(_, frame)| frame[6..12] == GATEWAY_MAC));
    all
}

fn with_options(frame: &Frame) -> Frame {
    if frame.source.is_ipv4() {
        return Frame { ip_options: vec![1; 12], ..frame.clone() };
    }
    let extensions = vec![
        Extension::padding(Extension::HOP_BY_HOP, 6),
        Extension::padding(Extension::DESTINATION, 14),
    ];
    Frame { extensions, ..frame.clone() }
}

/// Few of them, so that packets of several connections have the same.
fn fragment_id(frame: &[u8]) -> u32 {
    u32::from(frame[frame.len() / 2] % 4)
}
