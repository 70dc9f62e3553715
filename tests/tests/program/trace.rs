//! Packets that are looked at: the records of single frames, and what looking costs.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::time::Duration;

use aya::programs::loaded_programs;
use lb_common::{
    ENTRY, Outcome, Step,
    trace::{HEADERS, MAX_SNAP, Noted, TELL_PROGRAM, TraceSettings, WATCH},
};
use lb_tests::{
    bpf,
    packet::{Flags, Frame},
};
use lb_userspace::datapath::{Record, Tracer};
use nix::net::if_::if_nametoindex;

use crate::rig::{
    CLIENT, CLIENT6, Rig, SERVICE, Setup, TAGGED_TWICE, VIP, VIP6, check_walk, from_gateway, rig,
    socket, two_backends, two_backends6,
};

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(600);
const NOT_OURS: std::net::SocketAddr = socket([10, 1, 0, 9], 80);

fn look(rig: &mut Rig<'_>, settings: TraceSettings) -> Tracer {
    let prepared = rig.datapath.prepare_trace().expect("what is needed");
    let mut tracer = prepared.load(&settings).expect("the programs load");
    tracer.go_on(LONG).expect("it goes on");
    tracer
}

fn front() -> u32 {
    if_nametoindex("front").expect("front")
}

/// One frame through the programs; what is told of it.
fn told(tracer: &mut Tracer, frame: &Frame) -> Vec<Record> {
    let bytes = from_gateway(frame).build().expect("a frame");
    bpf::test_run(tracer.program_fd(), &bytes, 1, front()).expect("a run");
    std::iter::from_fn(|| tracer.next_record()).collect()
}

fn outcome(record: &Record) -> (u32, Option<Outcome>) {
    let noted = Noted::from_bits(record.header.noted);
    (noted.service(), noted.outcome())
}

#[test]
fn a_record_has_the_packet_before_and_after() {
    rig(Setup::default(), |rig| {
        let mut tracer = look(rig, TraceSettings::all(1000));
        let frame = Frame { payload: vec![7; 600], ..Frame::new(CLIENT, VIP) };
        let records = told(&mut tracer, &frame);
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(outcome(record), (SERVICE, Some(Outcome::Forwarded)));
        let bytes = from_gateway(&frame).build().expect("a frame");
        assert_eq!(
            (record.header.before, record.header.after),
            (bytes.len() as u32, bytes.len() as u32)
        );
        assert_eq!((record.header.interface, record.header.action), (front(), 4));
        assert_eq!((record.before.len(), record.after.len()), (HEADERS, HEADERS));
        assert_eq!(record.before, bytes[..HEADERS]);
        assert_ne!(record.before[30..34], record.after[30..34], "the destination");
        drop(tracer);

        let all = TraceSettings { snap: MAX_SNAP as u32, ..TraceSettings::all(1000) };
        let mut tracer = look(rig, all);
        for len in [0, 1, 1400] {
            let frame = Frame { payload: vec![7; len], ..Frame::new(CLIENT, VIP) };
            let bytes = from_gateway(&frame).build().expect("a frame");
            let records = told(&mut tracer, &frame);
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].before, bytes, "all of it");
            let left = Frame::judge(&records[0].after).expect("right lengths and checksums");
            assert_eq!(left.payload, frame.payload);
        }
    });
}

#[test]
fn every_way_out_is_told_of() {
    let setup = || {
        let mut both = two_backends();
        let six = two_backends6();
        both.services.extend(six.services);
        both.backends.extend(six.backends);
        Setup { desired: both, ..Setup::default() }
    };
    rig(setup(), |rig| {
        let mut tracer = look(rig, TraceSettings::all(1000));
        let mut of = |frame: &Frame| {
            let records = told(&mut tracer, frame);
            assert_eq!(records.len(), 1, "{frame:?}");
            outcome(&records[0]).1
        };
        let syn = Frame::new(CLIENT, VIP);
        assert_eq!(of(&Frame { ttl: 1, ..syn.clone() }), Some(Outcome::TtlExceeded));
        assert_eq!(of(&Frame { flags: Flags(0), ..syn.clone() }), Some(Outcome::BadFlags));
        assert_eq!(of(&Frame::new(VIP, VIP)), Some(Outcome::Land));
        assert_eq!(of(&Frame::new(CLIENT, NOT_OURS)), Some(Outcome::NotOurs));
        assert_eq!(of(&Frame::new(CLIENT6, VIP6)), Some(Outcome::Forwarded));
    });
}

#[test]
fn the_filter_knows_both_families_and_tags() {
    rig(Setup::default(), |rig| {
        let client = |address: std::net::SocketAddr| TraceSettings {
            client: address.ip().into(),
            ..TraceSettings::all(1000)
        };
        let (four, six) = (Frame::new(CLIENT, NOT_OURS), Frame::new(CLIENT6, VIP6));
        let tagged = |frame: &Frame| Frame { tags: TAGGED_TWICE.to_vec(), ..frame.clone() };
        for (asked, other) in [(&four, &six), (&six, &four)] {
            let mut tracer = look(rig, client(asked.source));
            for frame in [asked, &tagged(asked)] {
                assert_eq!(told(&mut tracer, frame).len(), 1, "{frame:?}");
            }
            for frame in [other, &tagged(other)] {
                assert_eq!(told(&mut tracer, frame).len(), 0, "{frame:?}");
            }
        }
        let drops = TraceSettings { drops: 1, ..TraceSettings::all(1000) };
        let mut tracer = look(rig, drops);
        assert_eq!(told(&mut tracer, &four).len(), 0, "what is not ours passes");
        assert_eq!(told(&mut tracer, &Frame::new(CLIENT, VIP)).len(), 0, "it goes through");
        let bad = Frame { flags: Flags(0), ..Frame::new(CLIENT, VIP) };
        assert_eq!(told(&mut tracer, &bad).len(), 1);
    });
}

#[test]
fn a_rate_and_a_time_are_bounds() {
    const RATE: u32 = 3;
    rig(Setup::default(), |rig| {
        let mut tracer = look(rig, TraceSettings::all(RATE));
        let bytes = from_gateway(&Frame::new(CLIENT, NOT_OURS)).build().expect("a frame");
        bpf::test_run(tracer.program_fd(), &bytes, 100, front()).expect("a run");
        let records = std::iter::from_fn(|| tracer.next_record()).count();
        let left_out = tracer.left_out().expect("counts");
        assert_eq!((records, left_out.over_rate, left_out.ring_full), (3, 97, 0));

        tracer.go_on(Duration::ZERO).expect("it is over");
        let run = bpf::test_run(tracer.program_fd(), &bytes, 1, front()).expect("a run");
        assert_eq!(run.verdict, 2, "it takes its usual way");
        assert_eq!(tracer.next_record(), None);
        assert_eq!(tracer.left_out().expect("counts"), left_out, "nobody looks");
    });
}

#[test]
fn what_is_not_read_is_counted() {
    rig(Setup::default(), |rig| {
        let all = TraceSettings { snap: MAX_SNAP as u32, ..TraceSettings::all(u32::MAX) };
        let mut tracer = look(rig, all);
        let frame = Frame { payload: vec![7; 1400], ..Frame::new(CLIENT, NOT_OURS) };
        let bytes = from_gateway(&frame).build().expect("a frame");
        bpf::test_run(tracer.program_fd(), &bytes, 1000, front()).expect("a run");
        let records = std::iter::from_fn(|| tracer.next_record()).count() as u64;
        let left_out = tracer.left_out().expect("counts");
        assert!((300..400).contains(&records), "{records} fill a MiB");
        assert_eq!(records + left_out.ring_full, 1000);
    });
}

#[test]
fn the_usual_program_is_back_afterwards() {
    rig(Setup::default(), |rig| {
        let attached = |rig: &Rig<'_>| rig.netns.output("ip", &["-d", "link", "show"]).expect("ip");
        let before = attached(rig);
        assert!(!before.contains(WATCH), "{before}");
        let tracer = look(rig, TraceSettings::all(1000));
        assert_eq!(attached(rig).matches(WATCH).count(), 2, "{}", attached(rig));
        drop(tracer);
        assert_eq!(attached(rig), before);
    });
}

#[test]
fn the_verifier_walks_the_programs_that_tell_in_bounds_and_they_cost_little() {
    const RUNS: u32 = 200_000;
    let ids = || -> BTreeSet<u32> {
        loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect()
    };
    rig(Setup::default(), |rig| {
        let usual = ids();
        let tracer = look(rig, TraceSettings::all(1000));
        for info in loaded_programs().filter_map(Result::ok) {
            let name = info.name_as_str().unwrap_or_default().to_owned();
            let known = [ENTRY, WATCH, TELL_PROGRAM].contains(&name.as_str())
                || Step::ALL.iter().any(|step| step.as_str() == name);
            if known && !usual.contains(&info.id()) {
                check_walk(&format!("{name}, telling"), &info);
            }
        }
        let bytes = from_gateway(&Frame::new(CLIENT, NOT_OURS)).build().expect("a frame");
        let plain = rig.datapath.program_fd().expect("the program").try_clone().expect("a copy");
        let cost = |program| {
            let run = || bpf::test_run(program, &bytes, RUNS, front()).expect("a run").nanoseconds;
            (0..7).map(|_| run()).min().expect("runs")
        };
        let (plain, looked) = (cost(plain.as_fd()), cost(tracer.program_fd()));
        println!("a packet that is not ours: {plain} ns, and {looked} ns while it is looked at");
        // Most are left out by the rate. An emulated machine is slow at all that it does.
        assert!(looked < plain + 1000.max(3 * plain), "{looked} ns");
    });
}
