//! What becomes of operators' orders when a file is taken in.

use std::{fmt, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Service, State};

/// What a reload does to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderKept {
    /// The service.
    pub service: String,
    /// The backend.
    pub backend: String,
    /// What the operator ordered: `weight 5`, `draining`, `suspended`.
    pub order: String,
    /// Whether it stays.
    pub stays: bool,
    /// Why not, or what else there is to know; may be empty.
    pub remark: String,
}

impl fmt::Display for OrderKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, backend, order, stays, remark } = self;
        match (stays, order.strip_prefix("weight ")) {
            (true, Some(_)) => write!(f, "{service}/{backend} keeps {order} set by the operator")?,
            (true, None) => write!(f, "{service}/{backend} stays {order} by the operator")?,
            (false, Some(_)) => write!(f, "{service}/{backend}: {order} set by the operator")?,
            (false, None) => write!(f, "{service}/{backend}: {order} by the operator")?,
        }
        if remark.is_empty() { Ok(()) } else { write!(f, " {remark}") }
    }
}

impl State {
    /// What operators have ordered, and what becomes of it with the state that a file has led to. A
    /// weight that the file changes is the file's; all else stays as long as its service and backend do.
    pub fn orders_kept(&self, next: &Self, now: Instant) -> Vec<OrderKept> {
        self.services
            .iter()
            .flat_map(|service| {
                let after = next.services.iter().find(|its| its.vip == service.vip);
                of_service(service, after, now)
            })
            .collect()
    }
}

fn of_service(before: &Service, after: Option<&Service>, now: Instant) -> Vec<OrderKept> {
    let mut kept = Vec::new();
    for backend in &before.backends {
        let is = after.and_then(|its| its.backends.iter().find(|is| is.address == backend.address));
        let listed = is.filter(|is| is.listed);
        let name = listed.map_or(&backend.name, |is| &is.name);
        let mut add = |order: String, stays: bool, remark: String| {
            kept.push(OrderKept {
                service: after.unwrap_or(before).name.clone(),
                backend: name.clone(),
                order,
                stays,
                remark,
            });
        };
        if backend.weight != backend.file_weight && backend.listed {
            let order = format!("weight {}", backend.weight);
            match listed {
                None => add(order, false, gone(after)),
                Some(is) if is.weight == backend.weight && is.file_weight != is.weight => {
                    add(order, true, format!("({} in the file)", is.file_weight));
                }
                Some(is) => add(order, false, format!("is {} by the file", is.weight)),
            }
        }
        if let Some((order, remark)) = backend.ordered(now) {
            match after {
                // Who has left the file may be suspended still; whoever drains goes on draining.
                Some(_) => add(order.to_owned(), true, remark),
                None => add(order.to_owned(), false, gone(after)),
            }
        }
    }
    kept
}

fn gone(after: Option<&Service>) -> String {
    match after {
        Some(_) => "ends, since the backend leaves the file",
        None => "ends with its service",
    }
    .to_owned()
}
