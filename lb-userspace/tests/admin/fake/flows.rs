//! Its flows.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::FlowState;
use lb_userspace::{
    listing::{FlowName, ListedFlow, Names},
    report::{Choice, FlowDetail, FlowReport, FlowRow},
};

/// Clients with an even port have a connection.
pub(super) fn report(name: &FlowName) -> FlowReport {
    let FlowName { client, client_port, .. } = *name;
    let vip = IpAddr::from([192, 0, 2, 100]);
    let flow = FlowDetail {
        flow: FlowRow {
            client,
            client_port,
            snat_address: Some(vip),
            snat_port: Some(1024),
            ..flows(1).remove(0)
        },
        vip,
        port: 5060,
        backend_address: [10, 0, 0, 11].into(),
        backend_port: 5060,
        backend_state: "up".to_owned(),
        backend_reason: "tcp connect succeeded, 2 of 2".to_owned(),
        chosen_by: "consistent-hash".to_owned(),
        why: "by the consistent hash of the connection's ends".to_owned(),
        new_connection: Some("imp1".to_owned()),
    };
    let choice = Choice {
        service: "csta".to_owned(),
        vip,
        port: 5060,
        backend: Some("imp2".to_owned()),
        chosen_by: "consistent-hash".to_owned(),
        why: "by the consistent hash of the connection's ends".to_owned(),
    };
    let is_there = client_port.is_multiple_of(2);
    FlowReport {
        client,
        client_port,
        flows: if is_there { vec![flow] } else { Vec::new() },
        new_connections: if is_there { Vec::new() } else { vec![choice] },
    }
}

pub(super) fn flow(index: u32) -> ListedFlow {
    ListedFlow {
        client: IpAddr::from(Ipv4Addr::from(0x0a00_0001 + index / 50_000)).into(),
        idle: index % 4000,
        client_port: u16::try_from(10_000 + index % 50_000).unwrap(),
        slot: (index % 2) as u16,
        snat_pair: 0,
        snat_port: 0,
        state: FlowState::Established,
        outbound: false,
    }
}

pub(super) fn names() -> Names {
    let name = |slot| (slot, ("csta".to_owned(), format!("imp{}", slot + 1)));
    Names::new([0, 1].map(name))
}

/// What is to be told of so many flows.
pub fn flows(number: u32) -> Vec<FlowRow> {
    let backends = ["imp1", "imp2"];
    let row = |flow: ListedFlow| flow.row(("csta", backends[usize::from(flow.slot)]), None);
    (0..number).map(flow).map(row).collect()
}
