//! Which flows, in which order, and which of those.

use std::{cmp::Ordering, net::IpAddr};

use clap::ValueEnum;
use lb_common::FlowState;
use serde::{Deserialize, Serialize};

use super::{Clients, ListedFlow};

/// Which flows to list: those that match everything that is given. With a limit, an offset or an order
/// they come in order (by their clients where none is given), else as they stand in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// On the backend of this name, in whatever service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Of these clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Clients>,
    /// From this port of a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateWord>,
    /// In this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
    /// The other way round.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Without so many of the first ones.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: usize,
}

/// The connections of one end of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowName {
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// Only of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl FlowName {
    /// The query for them: the first hundred, which only the connections that backends have opened to
    /// one end of somebody can be more than.
    pub fn query(&self) -> FlowQuery {
        FlowQuery {
            service: self.service.clone(),
            client: Some(self.client.into()),
            client_port: Some(self.client_port),
            limit: Some(100),
            ..FlowQuery::default()
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The state of a flow, as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StateWord {
    /// It is not proven.
    Opening,
    /// It is proven.
    Established,
    /// It is proven, and one end has sent FIN.
    Closing,
    /// Both ends have sent FIN, or one RST.
    Closed,
}

impl StateWord {
    fn names(self, state: FlowState) -> bool {
        let word = match self {
            Self::Opening => FlowState::Opening,
            Self::Established => FlowState::Established,
            Self::Closing => FlowState::Closing,
            Self::Closed => FlowState::Closed,
        };
        word.as_str() == state.as_str()
    }
}

/// An order of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// By address and port of the client.
    Client,
    /// By the time since the last packet, the shortest first.
    Idle,
}

impl Sort {
    /// Flows of which neither comes first look alike to an operator.
    pub(super) fn compare(self, a: &ListedFlow, b: &ListedFlow, reverse: bool) -> Ordering {
        let by_client = || {
            let key = |its: &ListedFlow| {
                let address = its.client.to_be_halves().map(u64::from_be);
                (address, its.client_port, its.slot, its.snat_pair, its.snat_port)
            };
            key(a).cmp(&key(b)).then((a.state as u8).cmp(&(b.state as u8)))
        };
        let order = match self {
            Self::Client => by_client().then(a.idle.cmp(&b.idle)),
            Self::Idle => a.idle.cmp(&b.idle).then_with(by_client),
        };
        if reverse { order.reverse() } else { order }
    }
}

impl FlowQuery {
    /// Whether a flow matches what is asked for beside service and backend.
    pub(super) fn matches(&self, flow: &ListedFlow) -> bool {
        self.client_port.is_none_or(|port| port == flow.client_port)
            && self.state.is_none_or(|state| state.names(flow.state))
            && self.client.is_none_or(|clients| clients.contains(flow.client.into()))
    }

    /// The order of the list and how many of the first it needs at most; none where neither matters.
    pub(super) fn order(&self) -> Option<(Sort, usize)> {
        let is_whole = self.limit.is_none() && self.offset == 0 && !self.reverse;
        let end = self.limit.map_or(usize::MAX, |limit| limit.saturating_add(self.offset));
        match self.sort {
            None if is_whole => None,
            sort => Some((sort.unwrap_or(Sort::Client), end)),
        }
    }
}
