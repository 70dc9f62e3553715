//! Lists the flow table, beside everything else.

use tokio::sync::oneshot;

use super::Daemon;
use crate::{
    control::Refused,
    datapath::{FlowTable, now_ticks},
    explain::explain,
    listing::{FlowList, FlowName, FlowQuery, ListedFlow, Names, Source, find, list},
    report::FlowReport,
};

impl Daemon {
    pub(super) fn list_flows(
        &self,
        query: FlowQuery,
        answer: oneshot::Sender<Result<FlowList, Refused>>,
    ) {
        let (flows, names) = (self.datapath.flows(), Names::of(&self.state));
        tokio::task::spawn_blocking(move || {
            let source = Source {
                walk: |each: &mut dyn FnMut(ListedFlow)| walk(&flows, each),
                address_of: |pair| flows.address_of(pair),
                names,
            };
            list(&query, source, answer);
        });
    }

    pub(super) fn explain_flow(
        &self,
        name: FlowName,
        answer: oneshot::Sender<Result<FlowReport, Refused>>,
    ) {
        let (flows, state) = (self.datapath.flows(), self.state.clone());
        tokio::task::spawn_blocking(move || {
            let found = find(&name.query(), Names::of(&state), |each| walk(&flows, each));
            let look = (|pair| flows.address_of(pair), |slot| flows.load(slot));
            let report = found.and_then(|found| explain(&state, &name, &found, look));
            // Whoever asked may be gone: then nobody misses the answer.
            let _ = answer.send(report);
        });
    }
}

/// Every flow, as it is now.
fn walk(flows: &FlowTable, each: &mut dyn FnMut(ListedFlow)) -> Result<(), Refused> {
    let now = now_ticks();
    let walked = flows.for_each(|key, flow| each(ListedFlow::new(key, flow, now)));
    walked.map_err(|error| Refused::Because(error.to_string()))
}
