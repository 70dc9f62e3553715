//! What full-NAT and outbound NAT ask of a file: addresses to translate to, and room for the ports.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use super::MAX_SNAT_ADDRESSES;
use super::address::family;
use super::reader::Located;
use super::report::{Report, key_in};
use super::schema::{ForwardingWord, RawService};
use super::validate::{Seen, backends_of};
use crate::translations::{MAX_TRANSLATIONS, Translation};

/// Compares what all services say of translation.
pub(super) fn check(services: &[RawService], report: &mut Report) {
    let nodes: HashMap<IpAddr, usize> = services
        .iter()
        .rev()
        .flat_map(|service| service.backends.iter().flatten().rev())
        .filter_map(|backend| backend.address.as_ref().ok())
        .map(|address| (address.value, address.line))
        .collect();
    for service in services {
        check_snat(service, &nodes, report);
    }
    check_outbound(services, report);
    check_room(services, report);
}

fn check_snat(service: &RawService, nodes: &HashMap<IpAddr, usize>, report: &mut Report) {
    let Ok(list) = &service.snat_addresses else { return };
    let key = key_in(&service.path, "snat_addresses");
    if let Ok(forwarding) = &service.forwarding
        && let Some((line, message)) = misplaced(forwarding, list)
    {
        report.refuse(line, key, message);
        return;
    }
    if let Some(address) = list.value.get(MAX_SNAT_ADDRESSES) {
        let message = format!("{} addresses: {MAX_SNAT_ADDRESSES} are allowed", list.value.len());
        report.refuse(address.line, &key, message);
    }
    let mut seen = Seen::default();
    for Located { value: address, line, .. } in &list.value {
        seen.refuse_again(report, address, *line, &key, |first| {
            format!("{address} is already on line {first}: remove one")
        });
        if let Ok(vip) = &service.vip
            && vip.value.is_ipv4() != address.is_ipv4()
        {
            let (ours, theirs) = (family(*address), family(vip.value));
            let message = format!(
                "{address} is {ours}, and the VIP of line {} is {theirs}: write {theirs} addresses",
                vip.line
            );
            report.refuse(*line, &key, message);
        }
        if let Some(node) = nodes.get(address) {
            let message = format!(
                "{address} is the address of the backend of line {node}: write one that no node has"
            );
            report.refuse(*line, &key, message);
        }
    }
}

/// A list without the mode that it is for, or the mode without its list: the line, and what is
/// wrong.
fn misplaced(
    forwarding: &Located<ForwardingWord>,
    list: &Located<Vec<Located<IpAddr>>>,
) -> Option<(usize, String)> {
    match (forwarding.value, list.value.is_empty()) {
        (ForwardingWord::FullNat, true) => {
            let (line, wrong) =
                if list.given { (list.line, "is empty") } else { (forwarding.line, "is missing") };
            let message = format!(
                "{wrong}: forwarding = \"full-nat\" needs 1 to {MAX_SNAT_ADDRESSES} addresses for \
                 clients to be translated to; write for example snat_addresses = [\"192.0.2.10\"]"
            );
            Some((line, message))
        }
        (ForwardingWord::Nat, false) => {
            let message = "clients keep their address with forwarding = \"nat\": write [] or \
                           remove it, or set forwarding = \"full-nat\"";
            Some((list.line, message.to_owned()))
        }
        _ => None,
    }
}

/// A node's own connections leave from one address, whatever services it is in.
fn check_outbound(services: &[RawService], report: &mut Report) {
    let mut leaves_from: HashMap<IpAddr, &Located<IpAddr>> = HashMap::new();
    for service in services {
        let outbound = service.outbound_nat.as_ref().is_ok_and(|outbound| outbound.value);
        let Ok(vip) = &service.vip else { continue };
        if !outbound {
            continue;
        }
        for backend in backends_of(service) {
            let Ok(address) = &backend.address else { continue };
            let first = *leaves_from.entry(address.value).or_insert(vip);
            if first.value != vip.value {
                let message = format!(
                    "connections that {} opens leave from the VIP of line {} already, {}: set \
                     outbound_nat = false in one of the two services, or give them one VIP",
                    address.value, first.line, first.value
                );
                report.refuse(address.line, key_in(&backend.path, "address"), message);
            }
        }
    }
}

fn check_room(services: &[RawService], report: &mut Report) {
    let mut all = BTreeSet::new();
    let mut beyond = None;
    for service in services {
        all.extend(translations_of(service));
        if all.len() > MAX_TRANSLATIONS && beyond.is_none() {
            beyond = Some(service);
        }
    }
    let Some(service) = beyond else { return };
    let (line, key) = match (&service.snat_addresses, &service.outbound_nat) {
        (Ok(list), _) if !list.value.is_empty() => (list.line, "snat_addresses"),
        (_, Ok(outbound)) => (outbound.line, "outbound_nat"),
        _ => (service.line, "snat_addresses"),
    };
    let message = format!(
        "{} pairs of an SNAT address and a backend, and VIPs with outbound_nat, in all services: \
         {MAX_TRANSLATIONS} are allowed, since each takes half a MiB of kernel memory for its \
         ports, 1.5 MiB for IPv6; write fewer addresses",
        all.len()
    );
    report.refuse(line, key_in(&service.path, key), message);
}

fn translations_of(service: &RawService) -> impl Iterator<Item = Translation> {
    let addresses = service.snat_addresses.iter().flat_map(|list| &list.value);
    let inbound = addresses.flat_map(|snat| {
        backends_of(service).filter_map(|backend| {
            let (Ok(address), Ok(port)) = (&backend.address, &backend.port) else { return None };
            let backend = SocketAddr::new(address.value, port.value);
            Some(Translation::Inbound { snat: snat.value, backend })
        })
    });
    let outbound = service.outbound_nat.as_ref().is_ok_and(|outbound| outbound.value);
    let vip = service.vip.as_ref().ok().filter(|_| outbound);
    inbound.chain(vip.map(|vip| Translation::Outbound { vip: vip.value }))
}
