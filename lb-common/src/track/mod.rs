//! The states of a connection, from the segments that both ends send.
//!
//! Evidence comes from both sides before a flow is proven, so that no forged flood can fill the
//! table of proven flows:
//!
//! - by the handshake: the backend's SYN-ACK answers the client's SYN, and the client's ACK
//!   acknowledges exactly the SYN-ACK's sequence number, which only its receiver knows;
//! - where the state was lost: the backend answers a packet of the client with something other
//!   than RST or SYN-ACK, so it has that connection.
//!
//! Sequence arithmetic is modulo 2^32 (RFC 9293, section 3.4).

use crate::{Flow, FlowState};

/// TCP flags as they stand in byte 13 of the header (RFC 9293, section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// What tracking looks at in a TCP segment; numbers in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The flags, see [`flag`].
    pub flags: u8,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number; meaningless without [`flag::ACK`].
    pub ack: u32,
}

impl Segment {
    /// Whether all of `flags` are set.
    #[inline(always)]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// A SYN that opens a connection: not a SYN-ACK, and with no flag that contradicts it.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.flags & (flag::SYN | flag::ACK | flag::FIN | flag::RST) == flag::SYN
    }

    /// Whether it neither opens nor ends a connection, nor a half of one.
    #[inline(always)]
    pub const fn is_in_the_middle(&self) -> bool {
        self.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK) == flag::ACK
    }

    /// Flags that no stack sends: SYN with FIN or RST, FIN with RST, or none of SYN, ACK and RST
    /// (RFC 9293, section 3.10.7; the same ones that the kernel's `tcp_valid_flags` refuses, but
    /// for URG with SYN and ACK, and with RST, net/netfilter/nf_conntrack_proto_tcp.c).
    #[inline(always)]
    pub const fn absurd(&self) -> bool {
        let flags = self.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK);
        ABSURD >> flags & 1 != 0
    }
}

/// A bit for each set of the flags SYN, FIN, RST and ACK that is absurd: looked up by a shift,
/// since it is asked of every packet.
const ABSURD: u32 = {
    let (mut absurd, mut flags) = (0, 0u8);
    while flags < 32 {
        let kinds = flags & (flag::SYN | flag::FIN | flag::RST);
        if kinds.count_ones() > 1 || flags & (flag::SYN | flag::RST | flag::ACK) == 0 {
            absurd |= 1 << flags;
        }
        flags += 1;
    }
    absurd
};

/// What a segment means for the entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stays in its table.
    Stay,
    /// It has its proof: unproven to proven.
    Prove,
    /// It has ended: proven to unproven.
    End,
}

/// How far from the expected sequence number a RST is believed: an end may send it behind data
/// that is still on its way. A forger has one chance in 2048 (cf. RFC 5961, section 3), and if both
/// ends go on, their packets prove the flow again.
const RST_WINDOW: u32 = 1 << 20;

/// How far from the expected one any other number is believed: more than large windows let be on
/// its way. A forger who meets both numbers of an end leaves a wrong one until that end's next
/// packet.
const WINDOW: u32 = 1 << 26;

/// Whether `seq` is at most `window` away from what is `expected` next.
#[inline(always)]
const fn near(seq: u32, expected: u32, window: u32) -> bool {
    within(seq, expected.wrapping_sub(window), 2 * window)
}

/// Whether `number` is in the `window` that begins at `start`.
#[inline(always)]
const fn within(number: u32, start: u32, window: u32) -> bool {
    number.wrapping_sub(start) < window
}

/// Whether `ack` is the receiver's answer to a SYN with number `isn`; data on the SYN may be
/// acknowledged with it (RFC 7413).
#[inline(always)]
pub const fn answers_syn(ack: u32, isn: u32) -> bool {
    within(ack, isn.wrapping_add(1), 1 << 16)
}

/// The entry after a segment from the client.
#[inline(always)]
#[must_use]
pub fn from_client(flow: &Flow, segment: &Segment) -> (Flow, Change) {
    let mut next = *flow;
    if segment.absurd() {
        return (next, Change::Stay);
    }
    match flow.state() {
        FlowState::Established | FlowState::Closing => {
            let Flow { client_ack, client_fin, .. } = &mut next;
            let reset = note(client_ack, client_fin, flow.backend_ack, segment);
            return proceed(next, reset);
        }
        _ if segment.has(flag::RST) => {
            if near(segment.seq, flow.backend_ack, RST_WINDOW) {
                next.state = FlowState::Closed as u8;
            }
        }
        FlowState::Opening => {}
        FlowState::Answered => {
            if segment.has(flag::ACK) && segment.ack == flow.client_ack {
                next.client_fin |= u8::from(segment.has(flag::FIN));
                return prove(next);
            }
        }
        FlowState::Recovering => {
            if segment.has(flag::ACK) {
                next.client_ack = segment.ack;
            }
            next.client_fin |= u8::from(segment.has(flag::FIN));
        }
        FlowState::Closed => {
            // A client that goes on did not send the RST; its backend's answer will tell.
            if flow.client_fin & flow.backend_fin == 0 && segment.has(flag::ACK) {
                next.state = FlowState::Recovering as u8;
                next.client_ack = segment.ack;
                next.client_fin |= u8::from(segment.has(flag::FIN));
            }
        }
    }
    (next, Change::Stay)
}

/// The entry after a segment from its backend.
#[inline(always)]
#[must_use]
pub fn from_backend(flow: &Flow, segment: &Segment) -> (Flow, Change) {
    let mut next = *flow;
    if segment.absurd() {
        return (next, Change::Stay);
    }
    match flow.state() {
        FlowState::Established | FlowState::Closing => {
            let Flow { backend_ack, backend_fin, .. } = &mut next;
            let reset = note(backend_ack, backend_fin, flow.client_ack, segment);
            return proceed(next, reset);
        }
        _ if segment.has(flag::RST) => next.state = FlowState::Closed as u8,
        FlowState::Opening | FlowState::Answered => {
            if segment.has(flag::SYN | flag::ACK) && answers_syn(segment.ack, flow.client_isn) {
                next.state = FlowState::Answered as u8;
                next.client_ack = segment.seq.wrapping_add(1);
                next.backend_ack = segment.ack;
            }
        }
        FlowState::Recovering => {
            if segment.has(flag::ACK) && !segment.has(flag::SYN) {
                next.backend_ack = segment.ack;
                next.backend_fin |= u8::from(segment.has(flag::FIN));
                return prove(next);
            }
        }
        FlowState::Closed => {}
    }
    (next, Change::Stay)
}

/// Notes what one end of a proven flow says, of whom `expected` is the next number; whether it
/// resets the connection.
#[inline(always)]
fn note(acked: &mut u32, fin: &mut u8, expected: u32, segment: &Segment) -> bool {
    if segment.has(flag::RST) {
        return near(segment.seq, expected, RST_WINDOW);
    }
    *acked = acknowledged(*acked, expected, segment);
    if near(segment.seq, expected, WINDOW) {
        *fin |= u8::from(segment.has(flag::FIN));
    }
    false
}

/// The last acknowledgement of one end of a proven flow after its segment, where it was `acked`
/// before, and the end's next number is the `expected` one.
#[inline(always)]
pub const fn acknowledged(acked: u32, expected: u32, segment: &Segment) -> u32 {
    let believed = near(segment.seq, expected, WINDOW)
        && segment.has(flag::ACK)
        && near(segment.ack, acked, WINDOW);
    if believed { segment.ack } else { acked }
}

/// A proven flow after one end's segment was noted.
#[inline(always)]
fn proceed(mut flow: Flow, reset: bool) -> (Flow, Change) {
    if reset || flow.client_fin & flow.backend_fin != 0 {
        flow.state = FlowState::Closed as u8;
        return (flow, Change::End);
    }
    if flow.client_fin | flow.backend_fin != 0 {
        flow.state = FlowState::Closing as u8;
    }
    (flow, Change::Stay)
}

/// A flow that has its proof, unless both ends have closed it meanwhile.
#[inline(always)]
fn prove(flow: Flow) -> (Flow, Change) {
    let (mut flow, change) = proceed(flow, false);
    if change == Change::End {
        return (flow, Change::Stay);
    }
    if flow.state() != FlowState::Closing {
        flow.state = FlowState::Established as u8;
    }
    (flow, Change::Prove)
}

#[cfg(test)]
mod tests;
