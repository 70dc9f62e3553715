//! Answers what the admin socket and Prometheus ask.

use std::time::Instant;

use super::{Daemon, carry_out::describe, removal::hold_up};
use crate::{
    control::{Order, Request},
    events::{Event, Kind, Severity},
    state::{Backend, Service},
};

impl Daemon {
    pub(super) async fn answer(&mut self, request: Request) {
        // Whoever asked may be gone: then nobody misses the answer.
        match request {
            Request::Snapshot(answer) => {
                let _ = answer.send(self.snapshot());
            }
            Request::Flows(query, answer) => self.list_flows(query, answer),
            Request::Flow(name, answer) => self.explain_flow(name, answer),
            Request::Events(after, answer) => {
                let _ = answer.send(self.events.after(after));
            }
            Request::Plan(file, text, answer) => self.plan(file, text, answer),
            Request::Trace(options, answer) => self.start_trace(options, answer),
            Request::Order(name, order, answer) => {
                if matches!(order, Order::Activate | Order::Drain { .. }) {
                    let named = |service: &Service, backend: &Backend| {
                        (&service.name, &backend.name) == (&name.service, &name.backend)
                    };
                    self.end_resets_of(named, hold_up()).await;
                }
                let done = self.state.order(&name, &order, Instant::now()).map(|effects| {
                    let said = describe(&name, &order);
                    self.events.tell(Event::new(Kind::Order, Severity::Info, &said).of(&name));
                    self.carry_out(effects);
                    said + &self.lack()
                });
                let _ = answer.send(done);
            }
            Request::Reload(answer) => {
                let _ = answer.send(self.reload("").await);
            }
        }
    }
}
