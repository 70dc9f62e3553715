//! One connection, as both of its ends see it.

use std::net::{IpAddr, SocketAddr};

use lb_tests::packet::{Flags, Frame, icmp::Icmp, packet_of};

use super::{
    Expected, Table, Way,
    plan::{Device, Mode, gateway_mac, node_mac},
};

/// Which way a frame crosses the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    ToNode,
    ToClient,
}

impl Heading {
    pub const BOTH: [Self; 2] = [Self::ToNode, Self::ToClient];

    pub const fn back(self) -> Self {
        match self {
            Self::ToNode => Self::ToClient,
            Self::ToClient => Self::ToNode,
        }
    }
}

/// A connection: what crosses to the node goes from `client` to `vip` and leaves from `seen` to
/// `node`, what crosses to the client goes from `node` to `seen` and leaves from `vip` to `client`.
#[derive(Debug, Clone)]
pub struct Talk {
    pub way: Way,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub seen: SocketAddr,
    pub node: SocketAddr,
    /// The sequence numbers that client and node use next.
    next: [u32; 2],
}

impl Talk {
    /// A connection of this way from or to a client of this number, with a port that no other has.
    pub fn new(way: Way, host: u8, port: u16) -> Self {
        let client = way.client(host);
        let (client, vip, node) = match way.mode {
            Mode::Outbound => (
                SocketAddr::new(client, Way::PORT),
                SocketAddr::new(way.vip().ip(), port),
                SocketAddr::new(way.node().ip(), port),
            ),
            _ => (SocketAddr::new(client, port), way.vip(), way.node()),
        };
        let seen = match way.mode {
            Mode::FullNat => SocketAddr::new(way.snat(), port),
            _ => client,
        };
        Self { way, client, vip, seen, node, next: [0xffff_fff0, 0x7fff_fff8] }
    }

    /// Which way the first SYN crosses.
    pub fn opens(&self) -> Heading {
        if self.way.mode == Mode::Outbound { Heading::ToClient } else { Heading::ToNode }
    }

    /// Where frames of this heading arrive.
    pub fn arrives_at(&self, heading: Heading) -> Device {
        match heading {
            Heading::ToNode => self.way.client_at.device,
            Heading::ToClient => self.way.node_at.device,
        }
    }

    /// The next segment of this heading, as it arrives.
    pub fn says(&mut self, heading: Heading, flags: Flags, payload: &[u8]) -> Frame {
        let (ours, theirs) = (heading as usize, heading.back() as usize);
        let (source, destination) = match heading {
            Heading::ToNode => (self.client, self.vip),
            Heading::ToClient => (self.node, self.seen),
        };
        let ack = if flags.0 & Flags::ACK.0 == 0 { 0 } else { self.next[theirs] };
        let frame = Frame {
            flags,
            sequence: self.next[ours],
            acknowledgement: ack,
            payload: payload.to_vec(),
            ..Frame::new(source, destination)
        };
        let taken = payload.len() as u32 + (flags.0 & 0b11).count_ones();
        self.next[ours] = self.next[ours].wrapping_add(taken);
        self.arriving(heading, frame)
    }

    /// The frame as it comes from the wire on its side.
    fn arriving(&self, heading: Heading, frame: Frame) -> Frame {
        let (source_mac, destination_mac) = self.link_of_arrival(heading);
        Frame { source_mac, destination_mac, tags: self.tags_of_arrival(heading), ..frame }
    }

    fn link_of_arrival(&self, heading: Heading) -> ([u8; 6], [u8; 6]) {
        let Way { client_at, node_at, mode, .. } = self.way;
        match heading {
            Heading::ToNode => (gateway_mac(client_at), client_at.device.mac()),
            Heading::ToClient => (node_mac(node_at, mode), node_at.device.mac()),
        }
    }

    fn tags_of_arrival(&self, heading: Heading) -> Vec<lb_tests::packet::Tag> {
        match heading {
            Heading::ToNode => self.way.client_at.tags.to_vec(),
            Heading::ToClient => self.way.node_at.tags.to_vec(),
        }
    }

    /// What a frame is on the other side.
    pub fn crossed(&self, heading: Heading, frame: &Frame) -> Frame {
        let (source, destination) = match heading {
            Heading::ToNode => (self.seen, self.node),
            Heading::ToClient => (self.vip, self.client),
        };
        // It leaves as what comes the other way arrives.
        let (far, near) = self.link_of_arrival(heading.back());
        Frame {
            source_mac: near,
            destination_mac: far,
            tags: self.tags_of_arrival(heading.back()),
            source,
            destination,
            ttl: frame.ttl - 1,
            ..frame.clone()
        }
    }

    /// An ICMP error of this heading, as it arrives, from `router` about `original`, which had
    /// arrived the other way: as it went on, with what is quoted of it; and the error's own
    /// other side.
    pub fn error(
        &self,
        heading: Heading,
        router: IpAddr,
        (kind, code, word): (u8, u8, u32),
        original: &Frame,
        limit: usize,
    ) -> (Icmp, Icmp) {
        let departed = self.crossed(heading.back(), original);
        let (to, of) = match heading {
            Heading::ToNode => (self.vip.ip(), self.node),
            Heading::ToClient => (self.seen.ip(), self.client),
        };
        let quote = |frame: &Frame| frame.build().expect("a frame");
        let (source_mac, destination_mac) = self.link_of_arrival(heading);
        let arrives = Icmp {
            source_mac,
            destination_mac,
            tags: self.tags_of_arrival(heading),
            ..Icmp::new(router, to, kind, code, word)
        }
        .about(packet_of(&quote(&departed)).expect("a packet"), limit);

        let speaker = match heading {
            Heading::ToClient => self.vip.ip(),
            Heading::ToNode if self.seen == self.client => router,
            Heading::ToNode => self.seen.ip(),
        };
        let (far, near) = self.link_of_arrival(heading.back());
        let as_sent = Frame { ttl: departed.ttl, ..original.clone() };
        let leaves = Icmp {
            source_mac: near,
            destination_mac: far,
            tags: self.tags_of_arrival(heading.back()),
            ttl: arrives.ttl - 1,
            ..Icmp::new(speaker, of.ip(), kind, code, word)
        }
        .about(packet_of(&quote(&as_sent)).expect("a packet"), limit);
        (arrives, leaves)
    }

    /// Whom we answer as, where a frame of this heading does not go on.
    pub fn speaker(&self, heading: Heading) -> IpAddr {
        match heading {
            Heading::ToClient if self.way.mode == Mode::FullNat => self.seen.ip(),
            _ => self.vip.ip(),
        }
    }

    /// A frame of this heading goes on, changed as it should be and in no other way.
    pub fn crosses(&self, table: &mut Table, name: &str, heading: Heading, frame: &Frame) {
        let crossed = self.crossed(heading, frame).build().expect("a frame");
        let expected = self.sent(crossed);
        self.becomes(table, name, heading, &frame.build().expect("a frame"), &expected);
    }

    /// What a frame that leaves comes to.
    pub fn sent(&self, bytes: Vec<u8>) -> Expected {
        if self.way.turns_round() { Expected::Tx(bytes) } else { Expected::Redirect(bytes) }
    }

    /// A frame of this heading becomes what is expected.
    pub fn becomes(
        &self,
        table: &mut Table,
        name: &str,
        heading: Heading,
        frame: &[u8],
        expected: &Expected,
    ) {
        let name = format!("{name}, {heading:?}, {}", self.way);
        table.case(&name, self.arrives_at(heading), frame, expected);
    }

    /// The handshake.
    pub fn open(&mut self, table: &mut Table) {
        let (there, back) = (self.opens(), self.opens().back());
        for (heading, flags) in [(there, Flags::SYN), (back, Flags::SYN_ACK), (there, Flags::ACK)] {
            let frame = self.says(heading, flags, b"");
            self.crosses(table, "handshake", heading, &frame);
        }
    }
}
