//! The parts of a file against each other: duplicates, clashes and limits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use super::address::family;
use super::report::{Refused, Report, key_in};
use super::schema::{ForwardingWord, RawBackend, RawConfig, RawService};
use super::{
    Affinity, Backend, Balance, Config, Forwarding, MAX_BACKENDS, MAX_SERVICES,
    MAX_SERVICES_PER_BACKEND, Service, access, keepalive, syslog, translation,
};

/// Turns a file into a config. Where some value was refused there is none, but the others are
/// compared all the same.
pub(super) fn validate(raw: RawConfig, report: &mut Report) -> Result<Config, Refused> {
    if let Ok(interfaces) = &raw.interfaces {
        let mut seen = Seen::default();
        for interface in interfaces {
            seen.refuse_again(report, &interface.value, interface.line, "interfaces", |first| {
                format!("{:?} is already on line {first}: remove one", interface.value)
            });
        }
    }
    syslog::check(&raw, report);
    if let Ok(services) = &raw.services {
        check_limits(services, report);
        check_services(services, report);
        check_choices(services, report);
        check_backends(services, report);
        check_shared_backends(services, report);
        translation::check(services, report);
        keepalive::check(services, report);
        access::check(services, report);
    }
    build(raw)
}

fn check_limits(services: &[RawService], report: &mut Report) {
    if let Some(service) = services.get(MAX_SERVICES) {
        let message = format!("{} services: {MAX_SERVICES} are allowed", services.len());
        report.refuse(service.line, &service.path, message);
    }
    let backends: Vec<_> = services.iter().flat_map(backends_of).collect();
    if let Some(backend) = backends.get(MAX_BACKENDS) {
        let message =
            format!("{} backends in all services: {MAX_BACKENDS} are allowed", backends.len());
        report.refuse(backend.line, &backend.path, message);
    }
}

fn check_services(services: &[RawService], report: &mut Report) {
    let mut names = Seen::default();
    let mut addresses = Seen::default();
    for service in services {
        if let Ok(name) = &service.name {
            let key = key_in(&service.path, "name");
            names.refuse_again(report, &name.value, name.line, &key, |first| {
                format!("the service of line {first} has this name: give each its own")
            });
        }
        if let (Ok(vip), Ok(port)) = (&service.vip, &service.port) {
            let (line, key) = if port.given { (port.line, "port") } else { (vip.line, "vip") };
            let key = key_in(&service.path, key);
            addresses.refuse_again(report, &(vip.value, port.value), line, &key, |first| {
                let place = SocketAddr::new(vip.value, port.value);
                format!("the service of line {first} has {place}: change VIP or port")
            });
        }
    }
}

fn check_choices(services: &[RawService], report: &mut Report) {
    for service in services {
        let (Ok(balance), Ok(affinity)) = (&service.balance, &service.affinity) else { continue };
        if (balance.value, affinity.value) == (Balance::LeastConnections, Affinity::ClientAddress) {
            let message = "\"client-address\" is kept by the hash, and balance = \"least-connections\" does \
                           not choose by it: remove one of the two";
            report.refuse(affinity.line, key_in(&service.path, "affinity"), message.to_owned());
        }
    }
}

fn check_backends(services: &[RawService], report: &mut Report) {
    let vips: HashMap<IpAddr, usize> = services
        .iter()
        .rev()
        .filter_map(|service| service.vip.as_ref().ok())
        .map(|vip| (vip.value, vip.line))
        .collect();
    for service in services {
        let mut names = Seen::default();
        let mut addresses = Seen::default();
        for backend in backends_of(service) {
            if let Ok(name) = &backend.name {
                let key = key_in(&backend.path, "name");
                names.refuse_again(report, &name.value, name.line, &key, |first| {
                    format!("the backend of line {first} has this name: give each its own")
                });
            }
            let Ok(address) = &backend.address else { continue };
            if let Some(line) = vips.get(&address.value) {
                let message = format!(
                    "{} is the VIP of line {line}: write the node's own address",
                    address.value
                );
                report.refuse(address.line, key_in(&backend.path, "address"), message);
            }
            if let Ok(vip) = &service.vip
                && vip.value.is_ipv4() != address.value.is_ipv4()
            {
                let (ours, theirs) = (family(address.value), family(vip.value));
                let message = format!(
                    "{} is {ours}, and the VIP of line {} is {theirs}: write the node's {theirs} \
                     address, or make a service of its own for {ours}",
                    address.value, vip.line
                );
                report.refuse(address.line, key_in(&backend.path, "address"), message);
            }
            if let Ok(port) = &backend.port {
                let key = key_in(&backend.path, "address");
                let place = SocketAddr::new(address.value, port.value);
                addresses.refuse_again(report, &place, address.line, &key, |first| {
                    format!("the backend of line {first} has {place}: remove one")
                });
            }
        }
    }
}

/// A packet that returns from a backend may belong to each of the services that share it; the
/// datapath tries them in turn, and its program is bounded.
fn check_shared_backends(services: &[RawService], report: &mut Report) {
    let mut services_of: HashMap<SocketAddr, Vec<usize>> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        for backend in backends_of(service) {
            let (Ok(address), Ok(port)) = (&backend.address, &backend.port) else { continue };
            let place = SocketAddr::new(address.value, port.value);
            let sharing = services_of.entry(place).or_default();
            if sharing.last() == Some(&index) {
                continue;
            }
            sharing.push(index);
            if sharing.len() == MAX_SERVICES_PER_BACKEND + 1 {
                let message = format!(
                    "{place} is a backend of more than {MAX_SERVICES_PER_BACKEND} \
                     services: let the node listen on one more port"
                );
                report.refuse(address.line, key_in(&backend.path, "address"), message);
            }
        }
    }
}

pub(super) fn backends_of(service: &RawService) -> impl Iterator<Item = &RawBackend> {
    service.backends.iter().flatten()
}

/// Values that must not come twice, each with the line of its first.
pub(super) struct Seen<T>(HashMap<T, usize>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq + Clone> Seen<T> {
    /// Takes note of `value`; where it was seen on line N before, refuses it by `message(N)`.
    pub(super) fn refuse_again(
        &mut self,
        report: &mut Report,
        value: &T,
        line: usize,
        key: &str,
        message: impl FnOnce(usize) -> String,
    ) {
        match self.0.entry(value.clone()) {
            Entry::Occupied(first) => {
                report.refuse(line, key, message(*first.get()));
            }
            Entry::Vacant(place) => {
                place.insert(line);
            }
        }
    }
}

fn build(raw: RawConfig) -> Result<Config, Refused> {
    Ok(Config {
        interfaces: raw.interfaces?.into_iter().map(|interface| interface.value).collect(),
        xdp_mode: raw.xdp_mode?.value,
        flow_capacity: raw.flow_capacity?.value,
        snat_ports: raw.snat_ports?.value,
        persist: {
            let directory = raw.pin_directory?.value;
            raw.persist?.value.then_some(directory)
        },
        admin_socket: raw.admin_socket?.value,
        admin_group: raw.admin_group?.map(|group| group.value),
        metrics_listen: raw.metrics_listen?.map(|listen| listen.value),
        syslog: syslog::build(raw.syslog, raw.syslog_facility)?,
        services: raw.services?.into_iter().map(build_service).collect::<Result<_, _>>()?,
    })
}

fn build_service(raw: RawService) -> Result<Service, Refused> {
    let snat_addresses = raw.snat_addresses?.value.into_iter().map(|address| address.value);
    Ok(Service {
        name: raw.name?.value,
        vip: raw.vip?.value,
        port: raw.port?.value,
        forwarding: match raw.forwarding?.value {
            ForwardingWord::Nat => Forwarding::Nat,
            ForwardingWord::FullNat => {
                Forwarding::FullNat { snat_addresses: snat_addresses.collect() }
            }
        },
        outbound_nat: raw.outbound_nat?.value,
        balance: raw.balance?.value,
        affinity: raw.affinity?.value,
        reset_on_failure: raw.reset_on_failure?.value,
        when_unavailable: raw.when_unavailable?.value,
        access: access::build(raw.access)?,
        keepalive: keepalive::build(raw.keepalive?)?,
        backends: raw.backends?.into_iter().map(build_backend).collect::<Result<_, _>>()?,
    })
}

fn build_backend(raw: RawBackend) -> Result<Backend, Refused> {
    Ok(Backend {
        name: raw.name?.value,
        address: raw.address?.value,
        port: raw.port?.value,
        weight: raw.weight?.value,
        backup: raw.backup?.value,
    })
}
