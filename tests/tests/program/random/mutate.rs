//! Changes right frames, and makes wrong ones.

use fastrand::Rng;

use super::view::View;

/// Where all the decisions are: the headers.
const HEADERS: usize = 110;

/// The frame with up to three changes.
pub fn mutate(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..rng.u32(0..4) {
        match rng.u32(0..10) {
            0..=3 => {
                let at = rng.usize(12..frame.len().min(HEADERS));
                frame[at] = rng.u8(..);
            }
            4 => {
                let at = rng.usize(..frame.len());
                frame[at] ^= 1 << rng.u32(0..8);
            }
            5 => frame.truncate(rng.usize(14..=frame.len())),
            6 => {
                for _ in 0..rng.u32(0..40) {
                    frame.push(rng.u8(..));
                }
            }
            7 => in_packet(rng, &mut frame, |view| view.l4 + 13),
            8 => {
                // A few values, where TTL and fields next to it are decided upon.
                if let Some(at) = View::of(&frame).map(|view| view.ttl_at())
                    && at < frame.len()
                {
                    frame[at] = rng.u8(0..4);
                }
            }
            _ => in_packet(rng, &mut frame, |view| view.l4 + 1),
        }
        if frame.len() < 16 {
            break;
        }
    }
    frame
}

/// A random byte at a place of the packet.
fn in_packet(rng: &mut Rng, frame: &mut [u8], at: impl FnOnce(&View) -> usize) {
    if let Some(byte) = View::of(frame).and_then(|view| frame.get_mut(at(&view))) {
        *byte = rng.u8(..);
    }
}

/// Random bytes, that begin like a packet now and then.
pub fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..rng.usize(14..200)).map(|_| rng.u8(..)).collect();
    let mut at = 12;
    while frame.len() > at + 4 && rng.u32(0..4) == 0 {
        frame[at..at + 2].copy_from_slice(if rng.bool() { &[0x81, 0] } else { &[0x88, 0xa8] });
        frame[at + 2..at + 4].copy_from_slice(&[0, 10]);
        at += 4;
    }
    if frame.len() > at + 60 {
        match rng.u32(0..4) {
            0 => {
                frame[at..at + 2].copy_from_slice(&[0x08, 0x00]);
                frame[at + 2] = 0x40 | rng.u8(0..16);
                frame[at + 11] = if rng.bool() { 6 } else { 1 };
            }
            1 => {
                frame[at..at + 2].copy_from_slice(&[0x86, 0xdd]);
                frame[at + 2] = 0x60;
                frame[at + 8] = [0, 6, 43, 44, 58, 60][rng.usize(..6)];
            }
            _ => {}
        }
    }
    frame
}
