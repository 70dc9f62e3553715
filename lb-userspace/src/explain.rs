//! Why a connection is where it is, and where a new one would go.

use std::net::{IpAddr, SocketAddr};

use lb_common::{Address as _, FlowKey, Ip, Ip4, MAGLEV_SIZE, Port, least::Member};

use crate::{
    config::{Affinity, Balance},
    control::Refused,
    listing::{FlowName, ListedFlow},
    maglev,
    report::{Choice, FlowDetail, FlowReport},
    state::{Backend, Service, State},
};

/// Why a backend has a connection, or would get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The hash of the connection's ends.
    Connection,
    /// The hash of the client's address.
    ClientAddress,
    /// The fewest connections for its weight.
    LeastConnections,
    /// Nobody but backups takes new connections.
    Backup,
    /// It was so when the connection began, and is not any more.
    Earlier,
    /// The backend has opened it.
    Outbound,
    /// Nobody takes new connections.
    Nobody,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "consistent-hash",
            Self::ClientAddress => "client-address",
            Self::LeastConnections => "least-connections",
            Self::Backup => "backup",
            Self::Earlier => "earlier-choice",
            Self::Outbound => "opened-by-backend",
            Self::Nobody => "nobody",
        }
    }

    /// Of a new connection.
    fn of_new(service: &Service, chosen: Option<&Backend>) -> Self {
        match chosen {
            None => Self::Nobody,
            Some(backend) if backend.backup => Self::Backup,
            Some(_) => match (service.balance, service.affinity) {
                (Balance::LeastConnections, _) => Self::LeastConnections,
                (Balance::ConsistentHash, Affinity::Connection) => Self::Connection,
                (Balance::ConsistentHash, Affinity::ClientAddress) => Self::ClientAddress,
            },
        }
    }

    /// Of a connection that a client has opened, where a new one would go to `chosen`.
    fn of_old(service: &Service, backend: &Backend, chosen: Option<&Backend>) -> Self {
        match chosen {
            Some(chosen) if chosen.slot == backend.slot => Self::of_new(service, Some(chosen)),
            // Who has the fewest changes with each connection: that is no change of what chooses.
            _ if service.balance == Balance::LeastConnections && !backend.backup => {
                Self::LeastConnections
            }
            _ => Self::Earlier,
        }
    }

    /// In words; `chosen` would get a new connection, and `has` one, if it is not about a new one.
    fn sentence(self, has: Option<&Backend>, chosen: Option<&Backend>) -> String {
        match (self, chosen) {
            (Self::LeastConnections, _) if has.is_none() => {
                "it has the fewest connections for its weight".to_owned()
            }
            (Self::LeastConnections, Some(chosen)) => format!(
                "it had the fewest connections for its weight, or this one was first seen in its middle; \
                 a new one would go to {}",
                chosen.name
            ),
            (Self::LeastConnections, None) => "it had the fewest connections for its weight, or this one \
                                               was first seen in its middle; a new one would not be taken"
                .to_owned(),
            (Self::Connection, _) => "by the consistent hash of the connection's ends".to_owned(),
            (Self::ClientAddress, _) => "by the consistent hash of the client's address".to_owned(),
            (Self::Backup, _) => {
                "a backup has taken over: no other backend takes new connections".to_owned()
            }
            (Self::Earlier, Some(chosen)) => format!(
                "it was chosen when the connection began; a new one would go to {}",
                chosen.name
            ),
            (Self::Earlier, None) => {
                "it was chosen when the connection began; a new one would not be taken".to_owned()
            }
            (Self::Outbound, _) => "the backend has opened the connection itself".to_owned(),
            (Self::Nobody, _) => "no backend takes new connections".to_owned(),
        }
    }
}

/// A service's choice of backends as it is now.
struct Chooser<'s> {
    service: &'s Service,
    choice: Method,
}

enum Method {
    /// Empty while nobody takes new connections.
    Hash(Vec<u32>),
    /// All that take new connections, with their loads.
    Least(Vec<(Member, u64)>),
}

impl<'s> Chooser<'s> {
    fn new(service: &'s Service, load: impl Fn(u32) -> u64) -> Self {
        let members = service.members().map(Backend::member);
        let choice = match service.balance {
            Balance::ConsistentHash => {
                let members: Vec<_> = members.collect();
                Method::Hash(maglev::of_members(&members).unwrap_or_default())
            }
            Balance::LeastConnections => Method::Least(
                members.map(|its| (Member::new(its.slot, its.weight), load(its.slot))).collect(),
            ),
        };
        Self { service, choice }
    }

    /// Why the service does not take the client's new connections, if it does not.
    fn denial(&self, client: SocketAddr) -> Option<String> {
        match self.service.access.clients.judge(client.ip()) {
            (_, true) => None,
            (Some(prefix), false) => Some(format!("the client is in {prefix} of deny")),
            (None, false) => Some("the client is in no prefix of allow".to_owned()),
        }
    }

    /// Whose the client's next connection would be, if the service takes it.
    fn choose(&self, client: SocketAddr) -> Option<&'s Backend> {
        let hash = self.hash(client);
        let slot = match &self.choice {
            Method::Hash(table) => *table.get((hash % MAGLEV_SIZE) as usize)?,
            Method::Least(members) => {
                let (best, _) =
                    members.iter().copied().reduce(|(best, least), (other, load)| {
                        if other.is_better(load, best, least, hash) {
                            (other, load)
                        } else {
                            (best, least)
                        }
                    })?;
                best.slot()
            }
        };
        self.service.backends.iter().find(|backend| backend.slot == slot)
    }

    /// As the program hashes: addresses of IPv4 in their short form.
    fn hash(&self, client: SocketAddr) -> u32 {
        let by_address = self.service.affinity == Affinity::ClientAddress;
        let vip = self.service.vip;
        let (port, vip_port) = (Port::new(client.port()), Port::new(vip.port()));
        let (client, vip): (Ip, Ip) = (client.ip().into(), vip.ip().into());
        if self.service.vip.is_ipv4() {
            let key = FlowKey::tcp(Ip4::from_ip(client), port, Ip4::from_ip(vip), vip_port);
            key.hash_by(mask::<Ip4>(by_address))
        } else {
            FlowKey::tcp(client, port, vip, vip_port).hash_by(mask::<Ip>(by_address))
        }
    }
}

const fn mask<A: lb_common::Address>(by_address: bool) -> u32 {
    if by_address { FlowKey::<A>::VIPS_PORT } else { FlowKey::<A>::ALL_PORTS }
}

/// Explains the flows of a name; where there are none, what would become of a new connection. Pairs stand
/// for addresses (see [`lb_common::snat`]), and slots have loads (see [`lb_common::least`]).
///
/// # Errors
/// Where there is no such service, or none of the client's family.
pub fn explain(
    state: &State,
    name: &FlowName,
    flows: &[ListedFlow],
    (address_of, load): (impl Fn(u16) -> Option<IpAddr>, impl Fn(u32) -> u64),
) -> Result<FlowReport, Refused> {
    let client = SocketAddr::new(name.client, name.client_port);
    let named = |service: &&Service| name.service.as_ref().is_none_or(|its| *its == service.name);
    let services: Vec<&Service> = state.services().iter().filter(named).collect();
    // One at a time: each may have a hash table.
    let chooser = |service| Chooser::new(service, &load);
    if let (Some(service), []) = (&name.service, &services[..]) {
        return Err(Refused::Because(format!("there is no service \"{service}\"")));
    }
    let details: Vec<FlowDetail> = flows
        .iter()
        .filter_map(|flow| {
            let (service, backend) = services.iter().find_map(|service| {
                let mut backends = service.backends.iter();
                Some((service, backends.find(|its| its.slot == u32::from(flow.slot))?))
            })?;
            Some(detail(&chooser(service), backend, flow, address_of(flow.snat_pair)))
        })
        .collect();
    let new_connections = if details.is_empty() {
        let of_family = services.iter().filter(|its| its.vip.is_ipv4() == client.is_ipv4());
        of_family.map(|service| choice(&chooser(service), client)).collect()
    } else {
        Vec::new()
    };
    Ok(FlowReport {
        client: name.client,
        client_port: name.client_port,
        flows: details,
        new_connections,
    })
}

fn detail(
    chooser: &Chooser,
    backend: &Backend,
    flow: &ListedFlow,
    snat: Option<IpAddr>,
) -> FlowDetail {
    let service = chooser.service;
    let client = SocketAddr::new(flow.client.into(), flow.client_port);
    let (chosen, denial) = match flow.outbound {
        true => (None, None),
        false => (chooser.choose(client), chooser.denial(client)),
    };
    let reason =
        if flow.outbound { Reason::Outbound } else { Reason::of_old(service, backend, chosen) };
    FlowDetail {
        flow: flow.row((&service.name, &backend.name), snat),
        vip: service.vip.ip(),
        port: service.vip.port(),
        backend_address: backend.address.ip(),
        backend_port: backend.address.port(),
        backend_state: backend.status().as_str().to_owned(),
        backend_reason: backend.reason(),
        chosen_by: reason.as_str().to_owned(),
        why: match &denial {
            None => reason.sentence(Some(backend), chosen),
            Some(denial) => format!("{}; {denial}", reason.sentence(Some(backend), None)),
        },
        new_connection: chosen.filter(|_| denial.is_none()).map(|backend| backend.name.clone()),
    }
}

fn choice(chooser: &Chooser, client: SocketAddr) -> Choice {
    let service = chooser.service;
    let denial = chooser.denial(client);
    let chosen = chooser.choose(client).filter(|_| denial.is_none());
    let reason = Reason::of_new(service, chosen);
    let (by, why) = match denial {
        None => (reason.as_str(), reason.sentence(None, chosen)),
        Some(denial) => ("denied", denial),
    };
    Choice {
        service: service.name.clone(),
        vip: service.vip.ip(),
        port: service.vip.port(),
        backend: chosen.map(|backend| backend.name.clone()),
        chosen_by: by.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests;
