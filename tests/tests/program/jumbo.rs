//! Frames that do not fit one buffer (`xdp.frags`).

use std::collections::BTreeSet;

use lb_common::{MAX_HANDOFF_BYTES, Outcome};
use lb_tests::packet::{Flags, Frame};
use nix::net::if_::if_nametoindex;

use crate::rig::{Dialogue, SERVICE, Setup, Side, VIP, rig};

const JUMBO: &str = "link set front mtu 9000\nlink set back mtu 9000";

#[test]
fn jumbo_frames_go_both_ways() {
    rig(Setup { ip: JUMBO, ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        for length in [3000, 3500, 4000, 5000, 8000, 8960] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, &payload)), slot);
            rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, &payload), VIP);
        }
    });
}

#[test]
fn a_jumbo_frame_cut_short_is_malformed() {
    rig(Setup { ip: JUMBO, ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        talk.open(rig);
        let frame = talk.client_sends(Flags::PSH_ACK, &[5; 8000]).build().expect("a frame");
        for length in [3000, 4096, 6000, frame.len() - 1] {
            rig.passes(Side::Front, &frame[..length], Outcome::Malformed);
        }
    });
}

#[test]
fn a_jumbo_frame_is_handed_to_the_kernel_whole() {
    let ip = "link set front mtu 9000\nlink set back mtu 9000\n\
              neigh del 10.2.0.11 dev back\nneigh del 10.2.0.12 dev back";
    rig(Setup { ip, ..Setup::default() }, |rig| {
        let frame: Frame = Dialogue::default().client_sends(Flags::PSH_ACK, &[5; 8960]);
        let out = rig.send(Side::Front, &frame.build().expect("a frame"));
        assert_eq!(rig.counted().outcomes, [(SERVICE, Outcome::NoNeighbour, 1)], "{out:?}");
    });
}

#[test]
fn a_way_out_for_one_buffer_gets_what_fits_and_the_kernel_the_rest() {
    rig(Setup { ip: JUMBO, ..Setup::default() }, |rig| {
        let back = if_nametoindex("back").expect("back");
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        rig.datapath.set_one_buffer(&BTreeSet::new()).expect("it is so from the beginning");
        rig.datapath.set_one_buffer(&BTreeSet::from([back])).expect("the map takes it");
        assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, &[5; 3000])), slot);
        let jumbo = talk.client_sends(Flags::PSH_ACK, &[5; 8960]);
        let out = rig.send(Side::Front, &jumbo.build().expect("a frame"));
        assert_eq!(rig.counted().outcomes, [(SERVICE, Outcome::SeveralBuffers, 1)], "{out:?}");
        // The other way is another interface.
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, &[5; 8960]), VIP);

        rig.datapath.set_one_buffer(&BTreeSet::new()).expect("the map takes it");
        assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, &[5; 8960])), slot);
    });
}

#[test]
fn what_is_too_large_to_be_handed_over_is_dropped_under_that_name() {
    let ip = "link set back mtu 20000\nneigh del 10.2.0.11 dev back\nneigh del 10.2.0.12 dev back";
    rig(Setup { ip, ..Setup::default() }, |rig| {
        let frame: Frame =
            Dialogue::default().client_sends(Flags::PSH_ACK, &[5; MAX_HANDOFF_BYTES - 39]);
        let frame = frame.build().expect("a frame");
        rig.drops(Side::Front, &frame, SERVICE, Outcome::HandoffTooLarge);
    });
}
