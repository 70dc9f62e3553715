//! Carries out what the state machine decided.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use log::error;
use tokio::sync::mpsc;

use super::{
    Daemon,
    removal::{Removed, hold_up},
};
use crate::{
    config::format_duration,
    control::{BackendName, Order},
    datapath::{DatapathError, FlowTable, Usage, now_ticks},
    events::{Event, Kind, Severity},
    keepalive,
    state::{Backend, Effects, Service, Status},
};

/// What came of a sweep of the flow table.
pub(super) struct Swept {
    /// How full everything was, and how many flows had to give up their proof.
    relieved: Result<(Usage, usize), DatapathError>,
    /// What flows are translated to, where somebody wants to know.
    in_use: Option<BTreeSet<IpAddr>>,
}

impl Daemon {
    /// Tells, writes the maps, and then has flows removed and reset: in this order no new flow gets
    /// where the old ones are removed.
    pub(super) fn carry_out(&mut self, effects: Effects) {
        self.take_note(effects);
        self.follow_state();
    }

    /// Takes in a keepalive's decision, and those that have come meanwhile: where a thousand nodes come up, the
    /// hash is not built a thousand times.
    pub(super) async fn hear(
        &mut self,
        event: keepalive::Event,
        others: &mut mpsc::Receiver<keepalive::Event>,
    ) {
        let until = hold_up();
        let mut next = Some(event);
        while let Some(event) = next {
            if event.change != keepalive::Change::Down {
                let comes_back = |service: &Service, backend: &Backend| {
                    (service.vip, backend.address) == (event.vip, event.address)
                };
                self.end_resets_of(comes_back, until).await;
            }
            let effects = self.state.keepalive(&event, Instant::now());
            self.take_note(effects);
            next = others.try_recv().ok();
        }
        self.follow_state();
    }

    pub(super) fn take_note(&mut self, effects: Effects) {
        for transition in &effects.transitions {
            self.events.tell(Event::transition(transition));
            // Who has only come back from elsewhere has done nothing that gives a doubt.
            if (transition.before, transition.status) == (Status::Up, Status::Down) {
                self.neighbours.doubt(transition.address.ip());
            }
        }
        self.doomed.add(&effects);
    }

    /// Makes maps, keepalives and neighbours what the state says.
    pub(super) fn follow_state(&mut self) {
        self.behind = None;
        // First: what it would take for done, a later process does again.
        self.try_to_remember();
        let desired = self.state.desired();
        // Who comes back has new flows as soon as the maps say so.
        self.removals.spare(&desired);
        if let Err(error) = self.datapath.apply(&desired) {
            self.try_again(error.to_string());
        }
        self.removals.follow(&desired);
        self.follow_names();
        // Whatever else could not be written: from here on no new flow gets where old ones are removed.
        if self.datapath.steers_by(&desired) {
            self.removals.start(std::mem::take(&mut self.doomed), self.datapath.flows());
        }
        self.keepalives.reconcile(&self.state.targets());
        let backends: Vec<IpAddr> =
            desired.backends.iter().map(|backend| backend.address.ip()).collect();
        self.neighbours.reconcile(&backends);
    }

    /// Has the next tick try what could not be done.
    pub(super) fn try_again(&mut self, why: String) {
        self.events.problem(format!("{why}; trying again"));
        self.behind = Some(why);
    }

    /// What of all that was ordered is not so, for the end of a sentence.
    pub(super) fn lack(&self) -> String {
        self.behind.as_ref().map_or(String::new(), |why| format!("; {why}, trying again"))
    }

    /// Lets time pass for the state machine.
    pub(super) fn pass_time(&mut self) {
        let counts = match self.datapath.counts() {
            Ok(counts) => counts,
            Err(error) => {
                error!("{error}");
                return;
            }
        };
        self.samples.keep(&counts.backends, Instant::now());
        let flows = self.datapath.flows();
        let effects = self.state.tick(Instant::now(), |slot| {
            counts.backends.get(&slot).map_or(0, |counters| flows.active(slot, counters))
        });
        if effects != Effects::default() {
            self.carry_out(effects);
        }
    }

    /// Follows what live traffic says of backends.
    pub(super) fn look_at_traffic(&mut self) {
        let datapath = &self.datapath;
        if self.traffic.is_quiet() && !datapath.has_signs() {
            return;
        }
        let findings = self.traffic.look(self.state.candidates(), |slot| datapath.signs(slot));
        for finding in findings.iter().filter(|finding| finding.out.is_some()) {
            datapath.clear_signs(finding.candidate.slot);
        }
        self.keepalives.follow(findings);
    }

    /// The flows of some backends are gone.
    pub(super) fn removed(&mut self, done: Removed) {
        done.tell(&mut self.events);
        self.done.reset_flows += done.told();
        match done.into_freed() {
            Ok(freed) => self.state.vacated(freed),
            Err(again) => {
                self.doomed.join(again);
                self.behind = Some("flows could not be removed".to_owned());
            }
        }
    }

    /// Removes what is over from the flow table, and looks which addresses its flows are
    /// translated to where somebody wants to know, beside everything else.
    pub(super) fn start_sweep(&mut self) {
        if self.sweep.is_some() {
            return;
        }
        if let Err(error) = self.datapath.retire() {
            error!("{error}");
        }
        let look = self.state.has_retired();
        let flows = self.datapath.flows();
        self.sweep = Some(tokio::task::spawn_blocking(move || {
            let relieved = flows.sweep(now_ticks()).and_then(|()| {
                let usage = flows.usage();
                Ok((usage, flows.relieve(now_ticks())?))
            });
            Swept { relieved, in_use: if look { addresses_in_use(&flows) } else { None } }
        }));
    }

    /// Tells what a sweep has found, where one has ended.
    pub(super) async fn end_sweep(&mut self) {
        let Some(ended) = self.sweep.take_if(|sweep| sweep.is_finished()) else { return };
        let Ok(Swept { relieved, in_use }) = ended.await else { return };
        if let Some(in_use) = in_use {
            self.state.looked(&in_use);
        }
        match relieved {
            Ok((usage, relieved)) => {
                for event in self.fullness.news(&usage, self.state.services()) {
                    self.events.tell(event);
                }
                if relieved > 0 {
                    let capacity = self.config.flow_capacity;
                    let text = format!(
                        "the flow table is nearly full ({capacity} flows): the {relieved} that were \
                         idle for longest are no longer sure of their place; raise flow_capacity"
                    );
                    self.events.tell(Event::new(Kind::FlowTable, Severity::Warning, text));
                }
            }
            Err(error) => self.events.problem(error.to_string()),
        }
    }
}

/// What the flows are translated to.
fn addresses_in_use(flows: &FlowTable) -> Option<BTreeSet<IpAddr>> {
    let mut in_use = BTreeSet::new();
    let listed = flows.for_each(|_, flow| {
        in_use.extend(flows.leaves_from(flow).map(|(address, _)| address));
    });
    listed.map(|()| in_use).inspect_err(|error| error!("{error}")).ok()
}

/// What an order did, in a sentence for its operator and the log.
pub(super) fn describe(name: &BackendName, order: &Order) -> String {
    match order {
        Order::Drain { deadline: None } => format!("{name} drains: no new flows, old ones stay"),
        Order::Drain { deadline: Some(deadline) } => format!(
            "{name} drains: no new flows, old ones stay for {}, then they are reset",
            format_duration(*deadline)
        ),
        Order::Suspend => format!("{name} is suspended: no new flows, old ones are reset"),
        Order::Activate => format!("{name} is active: it takes new flows while it is up"),
        Order::Weight(weight) => format!("{name} has weight {weight}"),
    }
}
