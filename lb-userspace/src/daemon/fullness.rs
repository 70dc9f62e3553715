//! Tells when a table of flows or the ports of an SNAT address are nearly used up.

use std::net::{IpAddr, SocketAddr};

use crate::{
    control::BackendName,
    datapath::{PortUse, TableUse, Usage},
    events::{Crossing, Event, Kind, Severity, Watermarks},
    state::Service,
};

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Fullness {
    tables: Watermarks<&'static str>,
    ports: Watermarks<(IpAddr, Option<SocketAddr>)>,
}

impl Fullness {
    /// What is to be told of what a sweep found.
    pub(super) fn news(&mut self, usage: &Usage, services: &[Service]) -> Vec<Event> {
        let mut news = Vec::new();
        for its in &usage.tables {
            let crossing = self.tables.look(its.table, its.flows, its.capacity.into());
            news.extend(crossing.map(|crossing| of_table(its, crossing)));
        }
        self.ports.retain(|pair| usage.ports.iter().any(|its| (its.snat, its.backend) == *pair));
        for its in &usage.ports {
            let (used, ports) = (its.used.into(), its.ports.into());
            let crossing = self.ports.look((its.snat, its.backend), used, ports);
            news.extend(crossing.map(|crossing| of_ports(its, crossing, services)));
        }
        news
    }
}

fn of_table(its: &TableUse, crossing: Crossing) -> Event {
    let TableUse { table, flows, capacity } = *its;
    let what = match table {
        "ipv4" => "the flow table for IPv4",
        _ => "the flow table for IPv6 and for what nodes open",
    };
    let part = percent(flows, capacity.into());
    let fact = format!("{what} is {part} % full, {flows} of {capacity} flows");
    match crossing {
        Crossing::High => {
            let text = format!("{fact}: raise flow_capacity");
            Event::new(Kind::FlowTable, Severity::Warning, text)
        }
        Crossing::Low => {
            Event::new(Kind::FlowTable, Severity::Info, format!("{fact}: it has room again"))
        }
    }
}

fn of_ports(its: &PortUse, crossing: Crossing, services: &[Service]) -> Event {
    let PortUse { snat, backend, used, ports } = *its;
    let name = backend.and_then(|backend| name_of(snat, backend, services));
    let to = match (&name, backend) {
        (Some(name), _) => name.to_string(),
        (None, Some(backend)) => backend.to_string(),
        (None, None) => "what nodes connect to".to_owned(),
    };
    let part = percent(used.into(), ports.into());
    let fact = format!("{part} % of the ports of {snat} to {to} are in use, {used} of {ports}");
    let event = match (crossing, backend) {
        (Crossing::High, Some(_)) => {
            let text = format!("{fact}: add an SNAT address");
            Event::new(Kind::SnatPorts, Severity::Warning, text)
        }
        (Crossing::High, None) => {
            let text = format!("{fact}: nodes open many connections from one VIP");
            Event::new(Kind::SnatPorts, Severity::Warning, text)
        }
        (Crossing::Low, _) => {
            Event::new(Kind::SnatPorts, Severity::Info, format!("{fact}: there is room again"))
        }
    };
    match &name {
        Some(name) => event.of(name),
        None => event,
    }
}

/// A backend there whose service uses this address: the ports are those of all of them.
fn name_of(snat: IpAddr, backend: SocketAddr, services: &[Service]) -> Option<BackendName> {
    let using = services.iter().filter(|its| its.forwarding.snat_addresses().contains(&snat));
    using.flat_map(|service| service.backends.iter().map(move |its| (service, its))).find_map(
        |(service, its)| {
            let name = || BackendName { service: service.name.clone(), backend: its.name.clone() };
            (its.address == backend).then(name)
        },
    )
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{config::Config, state::State};

    fn services() -> Vec<Service> {
        let text = "interfaces = ['eth0']\n[[service]]\nname = 'csta'\nvip = '192.0.2.100'\n\
                    forwarding = 'full-nat'\nsnat_addresses = ['192.0.2.110']\n\
                    backend = [{ name = 'imp1', address = '10.0.0.11' }]";
        let config = Config::parse(text, "lb.toml").unwrap_or_else(|error| panic!("{error}"));
        let mut state = State::default();
        state.reload(&config, Instant::now()).expect("fits");
        state.services().to_vec()
    }

    fn table(flows: u64) -> Usage {
        let its = TableUse { table: "ipv4", flows, capacity: 1000 };
        Usage { tables: vec![its], ports: Vec::new() }
    }

    fn ports(used: u32, backend: Option<&str>) -> Usage {
        let its = PortUse {
            snat: "192.0.2.110".parse().expect("an address"),
            backend: backend.map(|text| text.parse().expect("an address and a port")),
            used,
            ports: 64_512,
        };
        Usage { tables: Vec::new(), ports: vec![its] }
    }

    fn texts(events: &[Event]) -> Vec<(Severity, &str)> {
        events.iter().map(|event| (event.severity, event.text.as_str())).collect()
    }

    #[test]
    fn a_table_is_told_of_above_80_and_below_70_percent() {
        let mut fullness = Fullness::default();
        assert_eq!(fullness.news(&table(799), &[]), []);
        let high = "the flow table for IPv4 is 81 % full, 815 of 1000 flows: raise flow_capacity";
        assert_eq!(texts(&fullness.news(&table(815), &[])), [(Severity::Warning, high)]);
        assert_eq!(fullness.news(&table(815), &[]), []);
        let low = "the flow table for IPv4 is 69 % full, 699 of 1000 flows: it has room again";
        assert_eq!(texts(&fullness.news(&table(699), &[])), [(Severity::Info, low)]);
    }

    #[test]
    fn ports_are_told_of_with_the_backend_that_they_lead_to() {
        let (mut fullness, services) = (Fullness::default(), services());
        let news = fullness.news(&ports(52_900, Some("10.0.0.11:5060")), &services);
        let high = "82 % of the ports of 192.0.2.110 to csta/imp1 are in use, 52900 of 64512: \
                    add an SNAT address";
        assert_eq!(texts(&news), [(Severity::Warning, high)]);
        assert_eq!(
            (news[0].service.as_deref(), news[0].backend.as_deref()),
            (Some("csta"), Some("imp1"))
        );
        let news = fullness.news(&ports(60_000, Some("10.0.0.99:5060")), &services);
        assert!(news[0].text.contains("to 10.0.0.99:5060 are in use"), "{news:?}");
        let news = fullness.news(&ports(60_000, None), &services);
        assert!(news[0].text.contains("to what nodes connect to"), "{news:?}");
        let news = fullness.news(&ports(0, None), &services);
        assert_eq!(news[0].severity, Severity::Info);
    }

    #[test]
    fn a_pair_that_is_gone_is_forgotten() {
        let mut fullness = Fullness::default();
        let full = ports(60_000, Some("10.0.0.11:5060"));
        assert_eq!(fullness.news(&full, &[]).len(), 1);
        assert_eq!(fullness.news(&Usage::default(), &[]), []);
        assert_eq!(fullness.news(&full, &[]).len(), 1, "another one, full again");
    }
}
