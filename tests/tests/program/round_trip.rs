//! What a backend answers to what it got reaches the client as an answer of the VIP: for any
//! connection, any options and any payload.

use lb_tests::packet::{Flags, Frame};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::rig::{Dialogue, Setup, Side, VIP, Verdict, rig, socket};

/// What a frame carries besides its addresses.
fn contents() -> impl Strategy<Value = Frame> {
    let options = || (0usize..=10).prop_map(|words| vec![1; words * 4]);
    let payload = proptest::collection::vec(any::<u8>(), 0..1200);
    (options(), options(), payload, any::<u8>(), any::<u16>(), 2u8.., any::<bool>(), any::<u16>())
        .prop_map(|(ip_options, tcp_options, payload, traffic_class, id, ttl, df, window)| Frame {
            ip_options,
            tcp_options,
            payload,
            traffic_class,
            identification: id,
            ttl,
            dont_fragment: df,
            window,
            ..Frame::new(VIP, VIP)
        })
}

/// The addresses, flags and numbers of `segment` with the rest of `contents`.
fn filled(segment: Frame, contents: &Frame) -> Frame {
    Frame {
        source_mac: segment.source_mac,
        destination_mac: segment.destination_mac,
        source: segment.source,
        destination: segment.destination,
        flags: segment.flags,
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        ..contents.clone()
    }
}

#[test]
fn the_client_gets_what_the_backend_said() {
    rig(Setup::default(), |rig| {
        // Rejected cases would hide behind a default; there are none.
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let clients = (1u8.., 1u16.., any::<u32>(), any::<u32>());
        let rig = std::cell::RefCell::new(rig);
        let result = runner.run(&(clients, contents(), contents()), |(client, up, down)| {
            let rig = &mut *rig.borrow_mut();
            let (host, port, client_next, backend_next) = client;
            let client = socket([198, 51, 100, host], port);
            let mut talk = Dialogue { client_next, backend_next, ..Dialogue::new(client, VIP) };

            let sent = filled(talk.client_sends(Flags::PSH_ACK, b""), &up);
            let out = rig.run(Side::Front, &sent.build().expect("a frame"));
            prop_assert_eq!(out.verdict, Verdict::Redirect);
            let at_backend =
                Frame::judge(&out.bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&at_backend.payload, &up.payload);

            let answer = Frame {
                source: at_backend.destination,
                destination: at_backend.source,
                ..filled(talk.backend_sends(at_backend.destination, Flags::PSH_ACK, b""), &down)
            };
            let out = rig.run(Side::Back, &answer.build().expect("a frame"));
            prop_assert_eq!(out.verdict, Verdict::Redirect);
            let at_client =
                Frame::judge(&out.bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let expected = Frame {
                source: VIP,
                ttl: down.ttl - 1,
                source_mac: at_client.source_mac,
                destination_mac: at_client.destination_mac,
                ..answer
            };
            prop_assert_eq!(at_client, expected);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}
