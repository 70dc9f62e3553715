//! Floods of forged packets cost other strangers only.

use lb_common::{BackendCounters, Flow, FlowKey, Ip4};
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Dialogue, FRONT_MAC, GATEWAY_MAC, Rig, Setup, Side, VIP, Verdict, rig, socket};

/// More than the table of unproven flows holds.
const FLOOD: u32 = 200_000;

/// The same forged packet from ever other addresses.
fn flood(rig: &mut Rig<'_>, flags: Flags) {
    let frame = Frame {
        flags,
        source_mac: GATEWAY_MAC,
        destination_mac: FRONT_MAC,
        ..Frame::new(socket([0, 0, 0, 0], 1), VIP)
    };
    let mut bytes = frame.build().expect("a frame");
    for n in 0..FLOOD {
        // The checksums are wrong: the datapath leaves that to the receiver.
        let [a, b, c, d] = n.to_be_bytes();
        bytes[26..30].copy_from_slice(&[100 + a, b, c, d]);
        bytes[34..36].copy_from_slice(&(n as u16 | 1024).to_be_bytes());
        bytes[38..42].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
        assert_eq!(rig.run(Side::Front, &bytes).verdict, Verdict::Redirect);
    }
    rig.count();
}

fn survives(flags: Flags, counted: fn(&BackendCounters) -> u64) {
    rig(Setup::default(), |rig| {
        let mut talks: Vec<Dialogue> = (46_000..46_100).map(Dialogue::from_port).collect();
        for talk in &mut talks {
            talk.open(rig);
        }
        let before: std::collections::HashMap<FlowKey<Ip4>, Flow> = rig.proven();
        assert_eq!(before.len(), talks.len());

        flood(rig, flags);

        assert_eq!(rig.proven(), before);
        let sums = rig.counted().backends.values();
        let (proven, ended) = sums
            .clone()
            .fold((0, 0), |(p, e), counters| (p + counters.flows_proven, e + counters.flows_ended));
        assert_eq!((proven, ended), (0, 0));
        assert_eq!(sums.map(counted).sum::<u64>(), u64::from(FLOOD));
        for talk in &mut talks {
            let slot = rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"still here"));
            assert_eq!(slot, before[&talk.key()].backend);
            rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::ACK, b""), VIP);
        }
    });
}

#[test]
fn of_syns() {
    survives(Flags::SYN, |counters| counters.flows_new);
}

#[test]
fn of_acks() {
    survives(Flags::ACK, |counters| counters.packets_in);
}

#[test]
fn of_syns_on_the_tuple_of_a_proven_flow() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        let forged = talk.clone().client_sends(Flags::SYN, b"");
        for n in 0..10_000u32 {
            let sequence = n.wrapping_mul(0x9e37_79b9);
            let bytes = Frame { sequence, ..forged.clone() }.build().expect("a frame");
            assert_eq!(rig.run(Side::Front, &bytes).verdict, Verdict::Redirect);
        }
        rig.count();
        assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"still here")), slot);
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::ACK, b""), VIP);
        let flow = rig.proven()[&talk.key()];
        assert_eq!((flow.client_ack, flow.backend_ack), (talk.backend_next, talk.client_next));
    });
}
