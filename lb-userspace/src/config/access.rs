//! Whose new connections a service takes, and how many: the keys `allow`, `deny` and `max_new_per_second`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use toml::de::DeValue;

use super::MAX_PREFIXES;
use super::address::family;
use super::error::quote;
use super::reader::{Located, Read, TableReader};
use super::report::{Refused, Report, key_in};
use super::schema::RawService;
use super::validate::Seen;
use super::values::{integer, string};
use crate::access::{self, Access, ClientList};

/// More would be told apart by less than what the kernel's clock tells.
const NEW_PER_SECOND: RangeInclusive<u32> = 1..=1_000_000;

/// The keys of one service.
pub(super) struct RawAccess {
    pub allow: Read<Vec<Located<IpNet>>>,
    pub deny: Read<Vec<Located<IpNet>>>,
    pub max_new_per_second: Result<Option<Located<u32>>, Refused>,
}

pub(super) fn read(table: &mut TableReader<'_, '_>) -> RawAccess {
    RawAccess {
        allow: table.list("allow", "[\"10.0.0.0/8\", \"192.0.2.7\"]", prefix),
        deny: table.list("deny", "[\"10.0.0.0/8\", \"192.0.2.7\"]", prefix),
        max_new_per_second: table.optional("max_new_per_second", integer(NEW_PER_SECOND)),
    }
}

/// An address, or a prefix of which nothing stands behind its length: who writes 10.1.2.3/8 may mean
/// either.
fn prefix(value: &DeValue<'_>) -> Result<IpNet, String> {
    const WHAT: &str =
        "an address or a prefix in quotes, such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let text = string(WHAT, value)?;
    let prefix =
        access::prefix(text).ok_or_else(|| format!("{} is neither: write {WHAT}", quote(text)))?;
    if let IpNet::V6(v6) = prefix
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return Err(format!(
            "{} is an IPv4 address in the form of IPv6: write it as IPv4, {v4}",
            quote(text)
        ));
    }
    if prefix != prefix.trunc() {
        return Err(format!(
            "{} has bits behind its length: write {} for all of them, or {} for one client",
            quote(text),
            prefix.trunc(),
            prefix.addr()
        ));
    }
    Ok(prefix)
}

/// The prefixes of a service with the names of their keys.
fn prefixes(service: &RawService) -> impl Iterator<Item = (&'static str, &Located<IpNet>)> {
    let access = &service.access;
    [("allow", &access.allow), ("deny", &access.deny)].into_iter().flat_map(|(key, list)| {
        list.iter().flat_map(|list| &list.value).map(move |prefix| (key, prefix))
    })
}

/// Compares what each service says of its clients.
pub(super) fn check(services: &[RawService], report: &mut Report) {
    let mut count = 0;
    for service in services {
        if let Ok(allow) = &service.access.allow
            && allow.given
            && allow.value.is_empty()
        {
            let message = "has nobody in it: write who may connect, or remove it";
            report.refuse(allow.line, key_in(&service.path, "allow"), message.to_owned());
        }
        let mut seen = Seen::default();
        for (key, prefix) in prefixes(service) {
            let path = key_in(&service.path, key);
            seen.refuse_again(report, &prefix.value, prefix.line, &path, |first| {
                format!("{} is already on line {first}: remove one", prefix.value)
            });
            let address = prefix.value.addr();
            if let Ok(vip) = &service.vip
                && vip.value.is_ipv4() != address.is_ipv4()
            {
                let (ours, theirs) = (family(address), family(vip.value));
                let message = format!(
                    "{} is {ours}, and the VIP of line {} is {theirs}: no such client comes",
                    prefix.value, vip.line
                );
                report.refuse(prefix.line, path, message);
            }
            count += 1;
            if count == MAX_PREFIXES + 1 {
                let message = format!("more than {MAX_PREFIXES} prefixes in all services");
                report.refuse(prefix.line, key_in(&service.path, key), message);
            }
        }
    }
}

pub(super) fn build(raw: RawAccess) -> Result<Access, Refused> {
    let nets = |list: Located<Vec<Located<IpNet>>>| list.value.into_iter().map(|its| its.value);
    Ok(Access {
        clients: Arc::new(ClientList::new(nets(raw.allow?), nets(raw.deny?))),
        max_new_per_second: raw.max_new_per_second?.map(|limit| limit.value),
    })
}
