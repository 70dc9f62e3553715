//! What a reload would change: the state as it is beside the state that a file asks for.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    maglev,
    state::{Backend, OrderKept, ReloadRefused, Service, State},
};

/// What a reload would change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The key whose new value a running daemon cannot follow: the reload would be refused.
    pub needs_restart: Option<String>,
    /// All services, those that would end included.
    pub services: Vec<ServicePlan>,
    /// All backends, those of services that would end included.
    pub backends: Vec<BackendPlan>,
    /// What operators have ordered, and what would become of it.
    #[serde(default)]
    pub orders: Vec<OrderKept>,
}

/// What becomes of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name from then on.
    pub service: String,
    /// Where clients connect to.
    pub vip: IpAddr,
    /// Where clients connect to.
    pub port: u16,
    /// What becomes of it.
    pub change: Change,
    /// The keys whose values change.
    pub keys: Vec<String>,
    /// The part of new connections that would go to another backend, in percent.
    pub moves_percent: f64,
    /// Proven connections that would be reset.
    pub reset_flows: u64,
    /// Proven connections that would stay where they are.
    pub kept_flows: u64,
}

/// What becomes of a backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendPlan {
    /// Its service.
    pub service: String,
    /// Its name from then on.
    pub backend: String,
    /// Where it listens.
    pub address: IpAddr,
    /// Where it listens.
    pub port: u16,
    /// What becomes of it.
    pub change: Change,
    /// Its weight now; none where it is new.
    pub weight_before: Option<u32>,
    /// Its weight from then on; none where it goes.
    pub weight: Option<u32>,
    /// Its part of the service's hash table now, in percent.
    pub share_before_percent: f64,
    /// The same from then on, if all nodes answer of which nothing is known so far.
    pub share_percent: f64,
    /// Its proven connections.
    pub active_flows: u64,
    /// Whether these would be reset; else they stay.
    pub resets: bool,
}

/// What becomes of a service or backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It has left the file: a backend drains, a service ends.
    Leaves,
    /// Some of its keys have other values.
    Changed,
    /// Nothing.
    Stays,
}

/// What the file would change; `active` says how many proven flows a slot has.
///
/// # Errors
/// Where a reload would be refused as things are.
pub fn plan(
    now: &State,
    config: &Config,
    active: impl Fn(u32) -> u64,
) -> Result<Plan, ReloadRefused> {
    let mut next = now.clone();
    let instant = Instant::now();
    let effects = next.reload(config, instant)?;
    let orders = now.orders_kept(&next, instant);
    let next = next.where_all_answer();
    let reset: BTreeSet<u32> = effects.reset.iter().map(|doomed| doomed.slot).collect();
    let mut plan = Plan { orders, ..Plan::default() };
    let ended = now.services().iter().filter(|service| find(&next, service).is_none());
    let pairs = next
        .services()
        .iter()
        .map(|service| (find(now, service), Some(service)))
        .chain(ended.map(|service| (Some(service), None)));
    for (before, after) in pairs {
        let tables = [before, after].map(|service| service.map(Table::new).unwrap_or_default());
        let backends =
            backends(before, after, &tables, |slot| (active(slot), reset.contains(&slot)));
        let flows = |resets: bool| {
            let its = backends.iter().filter(|backend| backend.resets == resets);
            its.map(|backend| backend.active_flows).sum()
        };
        let Some(shown) = after.or(before) else { continue };
        let keys = changed_keys(before, after);
        let same = backends.iter().all(|backend| backend.change == Change::Stays);
        plan.services.push(ServicePlan {
            service: shown.name.clone(),
            vip: shown.vip.ip(),
            port: shown.vip.port(),
            change: match (before, after) {
                (None, _) => Change::Added,
                (_, None) => Change::Leaves,
                _ if keys.is_empty() && same => Change::Stays,
                _ => Change::Changed,
            },
            keys,
            moves_percent: tables[0].moves_percent(&tables[1]),
            reset_flows: flows(true),
            kept_flows: flows(false),
        });
        plan.backends.extend(backends);
    }
    Ok(plan)
}

fn find<'s>(state: &'s State, service: &Service) -> Option<&'s Service> {
    state.services().iter().find(|its| its.vip == service.vip)
}

fn changed_keys(before: Option<&Service>, after: Option<&Service>) -> Vec<String> {
    let (Some(a), Some(b)) = (before, after) else { return Vec::new() };
    let keys = [
        ("name", a.name != b.name),
        ("forwarding", a.forwarding.as_str() != b.forwarding.as_str()),
        ("snat_addresses", a.forwarding.snat_addresses() != b.forwarding.snat_addresses()),
        ("outbound_nat", a.outbound_nat != b.outbound_nat),
        ("balance", a.balance != b.balance),
        ("affinity", a.affinity != b.affinity),
        ("reset_on_failure", a.reset_on_failure != b.reset_on_failure),
        ("when_unavailable", a.when_unavailable != b.when_unavailable),
        ("allow", a.access.clients.differs(&b.access.clients, true)),
        ("deny", a.access.clients.differs(&b.access.clients, false)),
        ("max_new_per_second", a.access.max_new_per_second != b.access.max_new_per_second),
        ("keepalive", a.keepalive != b.keepalive),
    ];
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()).collect()
}

/// The backends of a service before and after, in the order of after, then those that are no longer there.
fn backends(
    before: Option<&Service>,
    after: Option<&Service>,
    [old, new]: &[Table; 2],
    flows: impl Fn(u32) -> (u64, bool),
) -> Vec<BackendPlan> {
    let all = |service: Option<&Service>| -> Vec<Backend> {
        service.map(|service| service.backends.clone()).unwrap_or_default()
    };
    let (befores, afters) = (all(before), all(after));
    let gone = befores.iter().filter(|its| afters.iter().all(|other| other.address != its.address));
    let rows = afters.iter().chain(gone).map(|backend| {
        let was = befores.iter().find(|its| its.address == backend.address);
        let is = afters.iter().find(|its| its.address == backend.address);
        let listed = is.is_some_and(|its| its.is_listed());
        let (active_flows, resets) = was.map_or((0, false), |was| flows(was.slot));
        BackendPlan {
            service: after.or(before).map(|service| service.name.clone()).unwrap_or_default(),
            backend: backend.name.clone(),
            address: backend.address.ip(),
            port: backend.address.port(),
            change: match (was, is) {
                (None, _) => Change::Added,
                (Some(was), _) if !listed && was.is_listed() => Change::Leaves,
                (Some(was), Some(is)) if was.differs(is) => Change::Changed,
                _ => Change::Stays,
            },
            weight_before: was.map(|its| its.weight),
            weight: is.filter(|_| listed).map(|its| its.weight),
            share_before_percent: old.share_percent(backend),
            share_percent: new.share_percent(backend),
            active_flows,
            resets,
        }
    });
    rows.collect()
}

/// A service's hash table, by slots, which both states give alike; empty where nobody is in it.
#[derive(Default)]
struct Table(Vec<u32>);

impl Table {
    fn new(service: &Service) -> Self {
        let members: Vec<_> = service.members().map(Backend::member).collect();
        Self(maglev::of_members(&members).unwrap_or_default())
    }

    fn share_percent(&self, backend: &Backend) -> f64 {
        percent(self.0.iter().filter(|&&slot| slot == backend.slot).count())
    }

    /// The part of the entries whose backend is another one in the other table.
    fn moves_percent(&self, other: &Self) -> f64 {
        let entries = 0..maglev::TABLE_SIZE as usize;
        percent(entries.filter(|&entry| self.0.get(entry) != other.0.get(entry)).count())
    }
}

fn percent(entries: usize) -> f64 {
    100.0 * entries as f64 / f64::from(maglev::TABLE_SIZE)
}

#[cfg(test)]
mod tests;
