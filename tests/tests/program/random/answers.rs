//! What the program says itself to a frame's sender: resets and ICMP errors, read by etherparse.

use std::net::SocketAddr;

use lb_tests::packet::{
    Flags, Frame,
    icmp::{Icmp, v4, v6},
};

use super::view::{ICMP, ICMP6, TCP, View, sum};

/// Whether what came out is an answer, not the frame translated.
pub fn is_one(sent: &[u8], came: &[u8]) -> bool {
    let (Some(before), Some(after)) = (View::of(sent), View::of(came)) else { return false };
    let icmp = [ICMP, ICMP6].contains(&after.protocol);
    let turned = || before.ends(sent) == after.ends(came).map(|(a, b)| (b, a));
    before.protocol == TCP && (icmp || !before.is_later() && turned())
}

/// What is wrong with an answer, if anything.
pub fn judge(sent: &[u8], came: &[u8]) -> Result<(), &'static str> {
    let before = View::of(sent).ok_or("an answer to what is no packet")?;
    let after = View::of(came).ok_or("the answer is no packet")?;
    if came[..6] != sent[6..12] || came[6..12] != sent[..6] {
        return Err("the answer does not go back on its link");
    }
    if came[12..after.l3] != sent[12..before.l3] {
        return Err("the answer has other tags");
    }
    if before.is_later() {
        return Err("a later fragment was answered");
    }
    let (source, destination) = before.ends(sent).ok_or("an answer to what has no ports")?;
    if after.protocol == TCP {
        reset(sent, came, &before, (source, destination))
    } else {
        error(sent, came, &before)
    }
}

fn reset(
    sent: &[u8],
    came: &[u8],
    before: &View,
    (source, destination): (SocketAddr, SocketAddr),
) -> Result<(), &'static str> {
    let wrong = before.header_error(sent);
    let after = View::of(came).ok_or("the reset is no packet")?;
    if after.header_error(came) != wrong {
        return Err("the reset's header is not as right or as wrong as the packet's");
    }
    let mut came = came.to_vec();
    if wrong != 0 {
        let header = &mut came[after.l3..after.l4];
        header[10..12].fill(0);
        let check = !(sum(header) as u16);
        header[10..12].copy_from_slice(&check.to_be_bytes());
    }
    let reset = Frame::judge(&came).map_err(|_| "the reset is no right packet")?;
    let word = |at: usize| {
        let bytes = sent[before.l4 + at..][..4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    };
    let (seq, ack, flags) = (word(4), word(8), sent[before.l4 + 13]);
    if flags & 0x04 != 0 {
        return Err("a reset was answered");
    }
    let header = usize::from(sent[before.l4 + 12] >> 4) * 4;
    let length = (before.end - before.l4 - header) as u32;
    let length = length + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
    let expected = if flags & 0x10 != 0 {
        (Flags::RST, ack, 0)
    } else {
        (Flags::RST_ACK, 0, seq.wrapping_add(length))
    };
    if (reset.flags, reset.sequence, reset.acknowledgement) != expected {
        return Err("the reset has the wrong numbers");
    }
    if (reset.source, reset.destination) != (destination, source) || !reset.padding.is_empty() {
        return Err("the reset is not what its receiver expects");
    }
    Ok(())
}

fn error(sent: &[u8], came: &[u8], before: &View) -> Result<(), &'static str> {
    let error = Icmp::judge(came).map_err(|_| "the error is no right packet")?;
    if error.destination != before.source {
        return Err("the error goes to somebody else");
    }
    let kinds: &[u8] = if before.is_six() {
        &[v6::UNREACHABLE, v6::PACKET_TOO_BIG, v6::TIME_EXCEEDED]
    } else {
        &[v4::UNREACHABLE, v4::TIME_EXCEEDED]
    };
    if !kinds.contains(&error.kind) || error.ttl != 64 || !error.padding.is_empty() {
        return Err("the error is none that is sent");
    }
    let packet = &sent[before.l3..];
    if error.payload.len() < before.l4 + 8 - before.l3 || !packet.starts_with(&error.payload) {
        return Err("the error does not quote the packet");
    }
    Ok(())
}
