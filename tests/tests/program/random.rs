//! Random frames: mutations of right ones, and noise. Whatever comes, the program's answer is
//! one of its own, and does what it says.

use std::collections::HashMap;

use fastrand::Rng;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Dialogue, Raw, Rig, Setup, Side, VIP, Verdict, backend, rig, socket, sums};

/// How many frames.
const FRAMES: u32 = 300_000;
/// Names a seed, to see a failure again.
const SEED: &str = "LB_SEED";

const IP: usize = 14;

/// Frames worth mutating: of no flow, of unproven ones, of proven ones, in both directions.
fn corpus(rig: &mut Rig<'_>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for port in 47_000..47_016 {
        let mut talk = Dialogue::from_port(port);
        let slot = talk.open(rig);
        let backend = rig.address_of(slot);
        for payload in [&b""[..], b"INFO sip:imp SIP/2.0\r\n\r\n"] {
            frames.push(talk.clone().client_sends(Flags::PSH_ACK, payload));
            frames.push(talk.clone().backend_sends(backend, Flags::PSH_ACK, payload));
        }
        frames.push(talk.clone().client_sends(Flags::FIN_ACK, b""));
        frames.push(talk.clone().backend_sends(backend, Flags::RST, b""));
        let mut stranger = Dialogue::from_port(port + 1000);
        frames.push(stranger.client_sends(Flags::SYN, b""));
        frames.push(stranger.backend_sends(backend, Flags::SYN_ACK, b""));
    }
    let with_options =
        frames.iter().map(|frame| Frame { ip_options: vec![1; 12], ttl: 2, ..frame.clone() });
    let all: Vec<Frame> = frames.iter().cloned().chain(with_options).collect();
    all.iter().map(|frame| frame.build().expect("a frame")).collect()
}

fn mutate(rng: &mut Rng, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for _ in 0..rng.u32(0..4) {
        match rng.u32(0..8) {
            // A byte of the headers, where all the decisions are.
            0..=3 => {
                let at = rng.usize(12..frame.len().min(60));
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
            _ => {
                // The flags of TCP, and the TTL.
                if frame.len() > 47 {
                    frame[47] = rng.u8(..);
                    frame[22] = rng.u8(0..4);
                }
            }
        }
        if frame.len() < 16 {
            break;
        }
    }
    frame
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..rng.usize(14..200)).map(|_| rng.u8(..)).collect();
    if rng.bool() && frame.len() > 24 {
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[23] = 6;
        frame[14] = 0x40 | rng.u8(0..16);
    }
    frame
}

/// What is wrong with a translated frame, if anything.
fn wrong_in_translation(sent: &[u8], came: &[u8]) -> Option<&'static str> {
    if sent.len() != came.len() {
        return Some("its length changed");
    }
    let tcp = IP + usize::from(sent[IP] & 0xf) * 4;
    let endpoint = |frame: &[u8], address: usize, port: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| frame[IP + address + i]);
        socket([a, b, c, d], u16::from_be_bytes([frame[tcp + port], frame[tcp + port + 1]]))
    };
    let source = |frame: &[u8]| endpoint(frame, 12, 0);
    let destination = |frame: &[u8]| endpoint(frame, 16, 2);
    let backends = [backend(1), backend(2)];
    let forward = destination(sent) == VIP
        && backends.contains(&destination(came))
        && source(sent) == source(came);
    let back = source(came) == VIP
        && backends.contains(&source(sent))
        && destination(sent) == destination(came);
    if !forward && !back {
        return Some("it went where it must not go");
    }
    if came[IP + 8] != sent[IP + 8] - 1 {
        return Some("its TTL is not one less");
    }
    if sums(sent) != sums(came) {
        return Some("a checksum is not as right or as wrong as it came");
    }
    // All but link addresses, TTL, IP checksum, addresses, ports and TCP checksum.
    let may_change = |i: usize| {
        i < 12
            || [IP + 8, IP + 10, IP + 11].contains(&i)
            || (IP + 12..IP + 20).contains(&i)
            || (tcp..tcp + 4).contains(&i)
            || [tcp + 16, tcp + 17].contains(&i)
    };
    let same = |(i, (a, b)): (usize, (&u8, &u8))| a == b || may_change(i);
    if !sent.iter().zip(came).enumerate().all(same) {
        return Some("more than its translation changed");
    }
    None
}

/// What is wrong with the program's answer to a frame, if anything.
fn wrong(sent: &[u8], out: &Raw) -> Option<&'static str> {
    match out.verdict {
        Verdict::Pass if out.bytes != sent => Some("it passed, but not byte for byte"),
        Verdict::Pass | Verdict::Drop => None,
        Verdict::Redirect => wrong_in_translation(sent, &out.bytes),
        Verdict::Tx if out.bytes[IP + 9] == 6 => wrong_in_translation(sent, &out.bytes),
        Verdict::Tx => {
            let quoted = IP..IP + usize::from(sent[IP] & 0xf) * 4 + 8;
            if out.bytes[IP + 28..] != sent[quoted] {
                return Some("the complaint does not quote it");
            }
            let right = etherparse::SlicedPacket::from_ethernet(&out.bytes).is_ok_and(|packet| {
                matches!(packet.transport, Some(etherparse::TransportSlice::Icmpv4(icmp))
                    if icmp.checksum() == icmp.icmp_type().calc_checksum(icmp.payload()))
            });
            (!right).then_some("the complaint is no right ICMP error")
        }
        Verdict::Aborted => Some("the program failed"),
    }
}

#[test]
fn random_frames() {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().unwrap_or_else(|_| panic!("{SEED}={seed}: not a number")),
        Err(_) => fastrand::u64(..),
    };
    println!("{SEED}={seed}");
    rig(Setup::default(), |rig| {
        let mut rng = Rng::with_seed(seed);
        let corpus = corpus(rig);
        let mut verdicts: HashMap<(Side, Verdict), u32> = HashMap::new();
        for n in 0..FRAMES {
            let sent = if rng.u32(0..10) == 0 {
                noise(&mut rng)
            } else {
                let frame = &corpus[rng.usize(..corpus.len())];
                mutate(&mut rng, frame)
            };
            let side = if rng.bool() { Side::Front } else { Side::Back };
            let out = rig.run(side, &sent);
            if let Some(wrong) = wrong(&sent, &out) {
                panic!(
                    "{SEED}={seed}, frame {n} at {side:?}: {wrong}\nin  {sent:02x?}\nout {out:02x?}"
                );
            }
            *verdicts.entry((side, out.verdict)).or_default() += 1;
        }
        println!("{verdicts:?}");
        // A generator that reaches one side of the program only would test nothing.
        for side in [Side::Front, Side::Back] {
            for verdict in [Verdict::Pass, Verdict::Drop, Verdict::Tx, Verdict::Redirect] {
                let count = verdicts.get(&(side, verdict)).copied().unwrap_or(0);
                assert!(count > FRAMES / 1000, "{verdict:?} at {side:?}: {count}");
            }
        }
        rig.count();
        let unexpected = rig
            .counted()
            .outcomes
            .iter()
            .find(|(_, outcome, _)| *outcome == lb_common::Outcome::Inconsistent);
        assert_eq!(unexpected, None, "a map contradicts another");
    });
}
