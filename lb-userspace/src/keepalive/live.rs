//! Passive checks: what clients' connections say of backends, between two keepalives.
//!
//! The datapath counts, for each backend, the connections that it has refused and those that it has not
//! answered, since it last took one (see `lb_common::signs`). The first of them has the backend checked at once;
//! when there are as many as its service's `error_limit`, it gets no new ones, whatever it answers to
//! checks. What it has stays: a listener that is overrun is no reason to end connections that are well. And
//! the last backend that takes connections stays in: clients could not be worse off with it than without.

use std::{collections::HashMap, net::SocketAddr};

use lb_common::signs::Signs;

/// A backend that clients' connections go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its slot.
    pub slot: u32,
    /// Its service's VIP and port.
    pub vip: SocketAddr,
    /// Where it listens.
    pub address: SocketAddr,
    /// How many signs in a row take it out; 0: they never do.
    pub error_limit: u32,
    /// Whether another backend would take its connections.
    pub has_others: bool,
}

/// A backend that does not take connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub candidate: Candidate,
    /// Why it is out; else it is to be checked.
    pub out: Option<String>,
}

/// What was last seen of each slot.
#[derive(Debug, Default)]
pub struct LiveTraffic(HashMap<u32, Signs>);

impl LiveTraffic {
    /// What is new in the signs of these backends.
    pub fn look(
        &mut self,
        candidates: impl Iterator<Item = Candidate>,
        signs: impl Fn(u32) -> Signs,
    ) -> Vec<Finding> {
        let mut seen = HashMap::new();
        let findings = candidates.filter_map(|candidate| {
            let Candidate { slot, error_limit, has_others, .. } = candidate;
            let now = signs(slot);
            if now == Signs::default() {
                return None;
            }
            seen.insert(slot, now);
            if self.0.get(&slot) == Some(&now) {
                return None;
            }
            let out = error_limit != 0 && now.count() >= error_limit && has_others;
            Some(Finding { candidate, out: out.then(|| describe(now)) })
        });
        let findings = findings.collect();
        self.0 = seen;
        findings
    }
}

fn describe(signs: Signs) -> String {
    let count = |number, what| format!("{number} {what}");
    let parts = match (signs.refused(), signs.unanswered()) {
        (refused, 0) => count(refused, "refused"),
        (0, unanswered) => count(unanswered, "not answered"),
        (refused, unanswered) => {
            format!("{} and {}", count(refused, "refused"), count(unanswered, "not answered"))
        }
    };
    format!("clients' connections fail: {parts} in a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: u32, error_limit: u32, has_others: bool) -> Candidate {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 5060));
        Candidate { slot, vip: address(100), address: address(slot as u8), error_limit, has_others }
    }

    fn signs(refused: u64, unanswered: u64) -> Signs {
        Signs::from_bits(
            refused * Signs::REFUSED.to_bits() + unanswered * Signs::UNANSWERED.to_bits(),
        )
    }

    /// What is found of one backend after the other.
    fn look(traffic: &mut LiveTraffic, its: Candidate, now: Signs) -> Option<Option<String>> {
        traffic.look([its].into_iter(), |_| now).pop().map(|finding| finding.out)
    }

    #[test]
    fn each_new_sign_has_it_checked_and_the_limit_takes_it_out() {
        let (mut traffic, its) = (LiveTraffic::default(), candidate(3, 3, true));
        assert_eq!(look(&mut traffic, its, signs(0, 0)), None);
        assert_eq!(look(&mut traffic, its, signs(1, 0)), Some(None));
        assert_eq!(look(&mut traffic, its, signs(1, 0)), None, "nothing new");
        assert_eq!(look(&mut traffic, its, signs(1, 1)), Some(None));
        let why = "clients' connections fail: 2 refused and 1 not answered in a row";
        assert_eq!(look(&mut traffic, its, signs(2, 1)), Some(Some(why.to_owned())));
        assert_eq!(look(&mut traffic, its, signs(0, 0)), None, "it has taken one");
        assert_eq!(look(&mut traffic, its, signs(1, 0)), Some(None), "from the beginning");
    }

    #[test]
    fn the_last_one_stays_and_so_do_all_without_a_limit() {
        let last = candidate(3, 2, false);
        assert_eq!(look(&mut LiveTraffic::default(), last, signs(9, 0)), Some(None));
        let unlimited = candidate(3, 0, true);
        assert_eq!(look(&mut LiveTraffic::default(), unlimited, signs(900, 0)), Some(None));
        let others = candidate(3, 2, true);
        let out = look(&mut LiveTraffic::default(), others, signs(0, 2));
        assert_eq!(
            out,
            Some(Some("clients' connections fail: 2 not answered in a row".to_owned()))
        );
    }
}
