//! Lists of flows: which ones, in which order, and which page of them.
//!
//! A flow table holds millions of flows, so a list is made while the table is walked: without an order its
//! rows are handed on as they are met, and of an ordered list only the rows up to the end of the page
//! are kept, in [`ListedFlow`]s.

mod client;
mod first;
mod query;

use std::{collections::HashMap, net::IpAddr};

use lb_common::{Flow, FlowKey, FlowState, Ip, table::ticks_since};
use tokio::sync::{mpsc, oneshot};

use crate::{control::Refused, report::FlowRow, state::State};

pub use client::{BadClients, Clients};
use first::First;
pub use first::MAX_ORDERED;
pub use query::{FlowName, FlowQuery, Sort, StateWord};

/// Rows that are handed on together.
const BATCH: usize = 128;
/// Batches that wait for a reader.
const WAITING: usize = 4;

/// Ticks are 2^30 ns.
const TICK_SECONDS: f64 = (1u64 << lb_common::TICK_SHIFT) as f64 / 1e9;

/// What a list has to know of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedFlow {
    /// The client; of a connection that a backend has opened, the remote end.
    pub client: Ip,
    /// Ticks since its last packet (see [`lb_common::TICK_SHIFT`]).
    pub idle: u32,
    /// Its port.
    pub client_port: u16,
    /// The backend's slot.
    pub slot: u16,
    /// The pair that its source is translated to (see [`lb_common::snat`]); 0: it is not.
    pub snat_pair: u16,
    /// The port that its source is translated to.
    pub snat_port: u16,
    /// Its state.
    pub state: FlowState,
    /// Whether the backend has opened it.
    pub outbound: bool,
}

impl ListedFlow {
    /// A flow of the table at the tick `now`.
    pub fn new(key: &FlowKey<Ip>, flow: &Flow, now: u32) -> Self {
        let outbound = flow.snat.is_outbound();
        let (client, client_port) =
            if outbound { (key.vip, key.vip_port) } else { (key.client, key.client_port) };
        Self {
            client,
            idle: ticks_since(flow.last_seen, now),
            client_port: client_port.get(),
            slot: flow.backend as u16,
            snat_pair: flow.snat.pair,
            snat_port: flow.snat.port.get(),
            state: flow.state(),
            outbound,
        }
    }

    /// As operators see it.
    pub fn row(&self, (service, backend): (&str, &str), snat: Option<IpAddr>) -> FlowRow {
        FlowRow {
            service: service.to_owned(),
            backend: backend.to_owned(),
            direction: if self.outbound { "outbound" } else { "inbound" }.to_owned(),
            client: self.client.into(),
            client_port: self.client_port,
            snat_address: snat,
            snat_port: snat.map(|_| self.snat_port),
            state: self.state.as_str().to_owned(),
            idle_seconds: (f64::from(self.idle) * TICK_SECONDS) as u64,
        }
    }
}

/// The names of services and backends, by slot.
#[derive(Debug, Clone, Default)]
pub struct Names(HashMap<u16, (String, String)>);

impl Names {
    /// Of everybody who may have flows.
    pub fn of(state: &State) -> Self {
        let services = state.services().iter();
        let all = services.flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(|its| (its.slot as u16, (service.name.clone(), its.name.clone())))
        });
        Self(all.collect())
    }

    /// Of these.
    pub fn new(names: impl IntoIterator<Item = (u16, (String, String))>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Those of the service and the backend that a query names.
    fn wanted(mut self, query: &FlowQuery) -> Self {
        let fits = |wanted: &Option<String>, name: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == name)
        };
        self.0.retain(|_, (service, backend)| {
            fits(&query.service, service) && fits(&query.backend, backend)
        });
        self
    }

    fn get(&self, slot: u16) -> Option<(&str, &str)> {
        self.0.get(&slot).map(|(service, backend)| (service.as_str(), backend.as_str()))
    }
}

/// A list that is being handed on.
#[derive(Debug)]
pub struct FlowList {
    /// How many flows match, on whatever page; unknown where the list is not ordered.
    pub matched: Option<u64>,
    /// Its rows, in batches; an error ends it.
    pub rows: mpsc::Receiver<Result<Vec<FlowRow>, Refused>>,
}

/// What a list is made of.
pub struct Source<W, A> {
    /// Calls its argument for every flow.
    pub walk: W,
    /// The address that a pair stands for.
    pub address_of: A,
    /// Whose flows they are. A flow of nobody is about to go, and is left out.
    pub names: Names,
}

/// Makes a list: answers, then hands on its rows. Blocks until they are read, or nobody reads them.
pub fn list<W, A>(
    query: &FlowQuery,
    source: Source<W, A>,
    answer: oneshot::Sender<Result<FlowList, Refused>>,
) where
    W: FnOnce(&mut dyn FnMut(ListedFlow)) -> Result<(), Refused>,
    A: Fn(u16) -> Option<IpAddr>,
{
    let names = source.names.wanted(query);
    let wanted = |flow: &ListedFlow| query.matches(flow) && names.get(flow.slot).is_some();
    let row = |flow: &ListedFlow| {
        let snat = (flow.snat_pair != 0).then(|| (source.address_of)(flow.snat_pair)).flatten();
        names.get(flow.slot).map(|names| flow.row(names, snat))
    };
    let (sender, rows) = mpsc::channel(WAITING);
    let mut batches = Batches { rows: Vec::with_capacity(BATCH), sender, is_read: true };
    let Some((sort, end)) = query.order() else {
        if answer.send(Ok(FlowList { matched: None, rows })).is_err() {
            return;
        }
        let walked = (source.walk)(&mut |flow| {
            if batches.is_read && wanted(&flow) {
                batches.extend(row(&flow));
            }
        });
        return batches.end(walked);
    };
    let (matched, page) = match page(query, (sort, end), wanted, source.walk) {
        Ok(page) => page,
        // Who asked may be gone: then nobody misses the answer.
        Err(refused) => return drop(answer.send(Err(refused))),
    };
    if answer.send(Ok(FlowList { matched: Some(matched), rows })).is_ok() {
        for flow in &page {
            if batches.is_read {
                batches.extend(row(flow));
            }
        }
        batches.end(Ok(()));
    }
}

/// The flows of a query, in order.
///
/// # Errors
/// Where the walk fails, or there are more than can be put in order.
pub fn find(
    query: &FlowQuery,
    names: Names,
    walk: impl FnOnce(&mut dyn FnMut(ListedFlow)) -> Result<(), Refused>,
) -> Result<Vec<ListedFlow>, Refused> {
    let names = names.wanted(query);
    let order = query.order().unwrap_or((Sort::Client, usize::MAX));
    let wanted = |flow: &ListedFlow| query.matches(flow) && names.get(flow.slot).is_some();
    page(query, order, wanted, walk).map(|(_, page)| page)
}

/// How many flows are wanted, and the page of them.
fn page(
    query: &FlowQuery,
    (sort, end): (Sort, usize),
    wanted: impl Fn(&ListedFlow) -> bool,
    walk: impl FnOnce(&mut dyn FnMut(ListedFlow)) -> Result<(), Refused>,
) -> Result<(u64, Vec<ListedFlow>), Refused> {
    let mut first = First::new(end, |a, b| sort.compare(a, b, query.reverse));
    walk(&mut |flow| {
        if wanted(&flow) {
            first.offer(flow);
        }
    })?;
    Ok((first.matched(), first.into_page(query.offset)?))
}

/// Hands rows on.
struct Batches {
    rows: Vec<FlowRow>,
    sender: mpsc::Sender<Result<Vec<FlowRow>, Refused>>,
    is_read: bool,
}

impl Batches {
    fn extend(&mut self, row: Option<FlowRow>) {
        self.rows.extend(row);
        if self.rows.len() >= BATCH {
            let full = std::mem::replace(&mut self.rows, Vec::with_capacity(BATCH));
            self.is_read = self.sender.blocking_send(Ok(full)).is_ok();
        }
    }

    fn end(self, walked: Result<(), Refused>) {
        let last = walked.map(|()| self.rows);
        // As above.
        let _ = self.sender.blocking_send(last);
    }
}

#[cfg(test)]
mod tests;
