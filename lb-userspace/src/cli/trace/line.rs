//! A packet in one line.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use crate::trace::{Packet, TraceRow};

/// When, where, what came, what was decided, and what went out.
pub(super) fn line(row: &TraceRow) -> String {
    let time = row.time.split_once('T').map_or(&*row.time, |(_, time)| time);
    let mut line = format!(
        "{} {}{} {} → {}",
        time.trim_end_matches('Z'),
        row.interface,
        vlans(&row.packet),
        packet(&row.packet),
        row.outcome
    );
    let (service, backend) = (row.service.as_deref(), row.backend.as_deref());
    match (service, backend) {
        (Some(service), Some(backend)) => push(&mut line, format_args!(" {service}/{backend}")),
        (Some(service), None) => push(&mut line, format_args!(" {service}")),
        _ => {}
    }
    match (row.action.as_str(), &row.sent) {
        ("sent", Some(sent)) => {
            let device = row.out_interface.as_deref().unwrap_or("another interface");
            push(&mut line, format_args!("; out {device}{}: {}", vlans(sent), ends(sent)));
        }
        ("sent_by_kernel", Some(sent)) => {
            push(&mut line, format_args!("; out by the kernel: {}", ends(sent)));
        }
        ("answered", Some(sent)) => push(&mut line, format_args!("; answered: {}", packet(sent))),
        (action, _) => push(&mut line, format_args!("; {action}")),
    }
    line
}

/// Writing to a text does not fail.
fn push(line: &mut String, more: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(more);
}

fn vlans(packet: &Packet) -> String {
    packet.vlans.iter().fold(String::new(), |all, id| format!("{all} vlan {id}"))
}

fn packet(packet: &Packet) -> String {
    let mut text = ends(packet);
    if packet.fragment {
        text.push_str(" fragment");
    }
    if let Some(tcp) = &packet.tcp {
        push(&mut text, format_args!(" {} seq {}", tcp.flags, tcp.sequence));
        if let Some(acknowledgement) = tcp.acknowledgement {
            push(&mut text, format_args!(" ack {acknowledgement}"));
        }
        push(&mut text, format_args!(" len {}", tcp.len));
    } else {
        push(&mut text, format_args!(" {}", packet.protocol));
    }
    if let Some((kind, code)) = packet.icmp {
        push(&mut text, format_args!(" type {kind} code {code}"));
    }
    text.trim_start().to_owned()
}

fn ends(packet: &Packet) -> String {
    match (packet.source, packet.destination) {
        (Some(source), Some(destination)) => format!(
            "{} → {}",
            end(source, packet.source_port),
            end(destination, packet.destination_port)
        ),
        _ => String::new(),
    }
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, flags: &str) -> Packet {
        let text = format!(
            r#"{{"source":"{source}","source_port":40000,"destination":"{destination}",
                "destination_port":5060,"protocol":"tcp","ttl":64,
                "tcp":{{"flags":"{flags}","sequence":7,"len":0}}}}"#
        );
        serde_json::from_str(&text).expect("a packet")
    }

    fn row() -> TraceRow {
        TraceRow {
            time: "2026-01-02T03:04:05.000006Z".to_owned(),
            interface: "front".to_owned(),
            packet: packet("10.1.0.2", "10.1.0.100", "SYN"),
            outcome: "forwarded".to_owned(),
            action: "sent".to_owned(),
            service: Some("csta".to_owned()),
            backend: Some("imp1".to_owned()),
            out_interface: Some("back".to_owned()),
            sent: Some(packet("10.1.0.2", "10.2.0.11", "SYN")),
            frames: None,
        }
    }

    #[test]
    fn a_forwarded_packet() {
        assert_eq!(
            line(&row()),
            "03:04:05.000006 front 10.1.0.2:40000 → 10.1.0.100:5060 SYN seq 7 len 0 → forwarded \
             csta/imp1; out back: 10.1.0.2:40000 → 10.2.0.11:5060"
        );
        let by_kernel = TraceRow {
            action: "sent_by_kernel".to_owned(),
            outcome: "no_neighbour".to_owned(),
            out_interface: None,
            ..row()
        };
        assert!(
            line(&by_kernel).ends_with(
                "→ no_neighbour csta/imp1; out by the kernel: 10.1.0.2:40000 → 10.2.0.11:5060"
            ),
            "{}",
            line(&by_kernel)
        );
    }

    #[test]
    fn what_does_not_go_on() {
        let dropped = TraceRow {
            action: "dropped".to_owned(),
            outcome: "no_backend".to_owned(),
            backend: None,
            out_interface: None,
            sent: None,
            ..row()
        };
        assert!(line(&dropped).ends_with("len 0 → no_backend csta; dropped"), "{}", line(&dropped));
        let answered = TraceRow {
            action: "answered".to_owned(),
            outcome: "unavailable".to_owned(),
            sent: Some(packet("fd00::1", "fd00::2", "RST+ACK")),
            ..dropped
        };
        let expected = "→ unavailable csta; answered: [fd00::1]:40000 → [fd00::2]:5060 RST+ACK \
                        seq 7 len 0";
        assert!(line(&answered).ends_with(expected), "{}", line(&answered));
    }

    #[test]
    fn what_is_no_tcp() {
        let arp = Packet { protocol: "arp".to_owned(), vlans: vec![100], ..Packet::default() };
        let row = TraceRow {
            packet: arp,
            outcome: "not_ours".to_owned(),
            action: "passed".to_owned(),
            service: None,
            backend: None,
            sent: None,
            ..row()
        };
        assert_eq!(line(&row), "03:04:05.000006 front vlan 100 arp → not_ours; passed");
    }
}
