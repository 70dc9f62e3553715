//! What can be typed after `lb show flows` and `lb show flow`.

use std::{net::SocketAddr, num::NonZeroUsize};

use clap::Args as ClapArgs;

use super::Output;
use crate::listing::{Clients, FlowName, FlowQuery, Sort, StateWord};

/// So many rows people are shown who do not say how many.
const LIMIT: usize = 100;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  lb show flows --backend imp1 --state established
  lb show flows --client 10.0.0.7 --json
  lb show flows --client 2001:db8::/64 --client-port 5060
  lb show flows --sort idle --reverse --limit 20    the 20 that have been silent for longest

In which order flows began is not known: the table does not keep their age.")]
pub(in crate::cli) struct Flows {
    #[command(flatten)]
    pub(in crate::cli) output: Output,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only on this backend
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Only of this client, or of clients with this prefix; where a backend has opened the
    /// connection, the client is the remote end
    #[arg(long, value_name = "ADDRESS[/LENGTH]")]
    client: Option<Clients>,
    /// Only from this port of a client
    #[arg(long, value_name = "PORT")]
    client_port: Option<u16>,
    /// Only in this state
    #[arg(long)]
    state: Option<StateWord>,
    /// In this order: client (the default) or idle, the shortest time first
    #[arg(long, value_name = "ORDER", value_parser = sort)]
    sort: Option<Sort>,
    /// In the reverse order
    #[arg(long)]
    reverse: bool,
    /// At most this many rows [default: 100; all with --json]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Leave out so many rows at the beginning: the next page
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(in crate::cli) offset: usize,
}

impl Flows {
    /// What to ask the daemon.
    pub(in crate::cli) fn query(&self) -> FlowQuery {
        let usual = (!self.output.json).then_some(LIMIT);
        FlowQuery {
            service: self.service.clone(),
            backend: self.backend.clone(),
            client: self.client,
            client_port: self.client_port,
            state: self.state,
            sort: self.sort,
            reverse: self.reverse,
            limit: self.limit.map(NonZeroUsize::get).or(usual),
            offset: self.offset,
        }
    }
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  lb show flow 10.0.0.7:40000
  lb show flow '[2001:db8::7]:40000' --service csta --json

Exit status: 1 where there is no such connection; what would become of a new one is printed.")]
pub(in crate::cli) struct Flow {
    #[command(flatten)]
    pub(in crate::cli) output: Output,
    /// The client's end; of a connection that a backend has opened, the remote end
    #[arg(value_name = "CLIENT:PORT")]
    pub(in crate::cli) client: SocketAddr,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

impl Flow {
    /// What to ask the daemon.
    pub(in crate::cli) fn name(&self) -> FlowName {
        FlowName {
            client: self.client.ip(),
            client_port: self.client.port(),
            service: self.service.clone(),
        }
    }
}

fn sort(text: &str) -> Result<Sort, &'static str> {
    match text {
        "client" => Ok(Sort::Client),
        "idle" => Ok(Sort::Idle),
        "age" => Err("the flow table does not keep when a flow began: sort by idle or client"),
        _ => Err("sort by client or idle"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_is_not_known_says_so() {
        assert_eq!(sort("idle"), Ok(Sort::Idle));
        assert!(sort("age").expect_err("an order").contains("does not keep"));
        assert!(sort("name").expect_err("an order").contains("client or idle"));
    }
}
