//! Packets that are looked at, before and behind the program.
use crate::rig::*;
use lb_common::trace::{Noted, TraceSettings};

#[test]
fn first() {
    rig(Setup::default(), |rig| {
        let mut t = rig.datapath.prepare_trace().unwrap().load(&TraceSettings::all(1000)).expect("traced"); t.go_on(std::time::Duration::from_secs(5)).unwrap();
        let frame = from_gateway(&lb_tests::packet::Frame { flags: lb_tests::packet::Flags::SYN, ..lb_tests::packet::Frame::new(socket([198, 51, 100, 7], 40000), VIP) }).build().unwrap();
        let ix = nix::net::if_::if_nametoindex("front").unwrap(); let raw = lb_tests::bpf::test_run_once(t.program_fd(), &frame, ix).unwrap();
        println!("{:?}", raw);
        while let Some(r) = t.next_record() {
            println!("{:?} {:?}", r, Noted::from_bits(r.header.noted).outcome());
        }
        println!("{:?}", t.left_out());
    });
}
