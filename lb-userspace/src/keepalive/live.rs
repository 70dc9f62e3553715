//! Passive checks: what clients' connections say of backends, between two keepalives.
//!
//! The datapath counts, for each backend, the connections that it has refused and those that it has not
//! answered, since it last took one (see `lb_common::signs`). The first of them has the backend checked at once;
//! when there are as many as its service's `error_limit`, it gets no new ones, whatever it answers to
//! checks. What it has stays: a listener that is overrun is no reason to end connections that are well. And half
//! of a service's backends stay in at least: whoever has connections fail on purpose must not be able to put
//! all clients on one of them, and with the last one they are no worse off than without.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

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
    /// How many of its service's backends may still go out so.
    pub spare: usize,
}

/// A backend that does not take connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub candidate: Candidate,
    /// Why it is out; else it is to be checked.
    pub out: Option<String>,
}

/// What was last seen, and is on its way.
#[derive(Debug, Default)]
pub struct LiveTraffic {
    /// Of each slot.
    seen: HashMap<u32, Signs>,
    /// Slots that are told to be out, of which nobody has heard so far.
    told: HashSet<u32>,
}

impl LiveTraffic {
    /// Whether nothing is remembered.
    pub fn is_quiet(&self) -> bool {
        self.seen.is_empty() && self.told.is_empty()
    }

    /// What is new in the signs of these backends.
    pub fn look(
        &mut self,
        candidates: impl Iterator<Item = Candidate>,
        signs: impl Fn(u32) -> Signs,
    ) -> Vec<Finding> {
        let candidates: Vec<Candidate> = candidates.collect();
        let still = |slot: &u32| candidates.iter().any(|candidate| candidate.slot == *slot);
        self.told.retain(still);
        let mut going = BTreeMap::<SocketAddr, usize>::new();
        for candidate in candidates.iter().filter(|its| self.told.contains(&its.slot)) {
            *going.entry(candidate.vip).or_default() += 1;
        }
        let before = std::mem::take(&mut self.seen);
        let mut findings = Vec::new();
        for candidate in candidates {
            let Candidate { slot, error_limit, spare, vip, .. } = candidate;
            let now = signs(slot);
            if now == Signs::default() || self.told.contains(&slot) {
                continue;
            }
            self.seen.insert(slot, now);
            if before.get(&slot) == Some(&now) {
                continue;
            }
            let going = going.entry(vip).or_default();
            let out = error_limit != 0 && now.count() >= error_limit && *going < spare;
            if out {
                *going += 1;
                self.told.insert(slot);
            }
            findings.push(Finding { candidate, out: out.then(|| describe(now)) });
        }
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

    fn candidate(slot: u32, error_limit: u32, spare: usize) -> Candidate {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 5060));
        Candidate { slot, vip: address(100), address: address(slot as u8), error_limit, spare }
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
        let (mut traffic, its) = (LiveTraffic::default(), candidate(3, 3, 1));
        assert_eq!(look(&mut traffic, its, signs(0, 0)), None);
        assert_eq!(look(&mut traffic, its, signs(1, 0)), Some(None));
        assert_eq!(look(&mut traffic, its, signs(1, 0)), None, "nothing new");
        assert_eq!(look(&mut traffic, its, signs(1, 1)), Some(None));
        let why = "clients' connections fail: 2 refused and 1 not answered in a row";
        assert_eq!(look(&mut traffic, its, signs(2, 1)), Some(Some(why.to_owned())));
        assert_eq!(look(&mut traffic, its, signs(9, 1)), None, "it has been told");
        assert!(traffic.look(std::iter::empty(), |_| signs(0, 0)).is_empty() && traffic.is_quiet());
        assert_eq!(look(&mut traffic, its, signs(1, 0)), Some(None), "from the beginning");
        assert_eq!(look(&mut traffic, its, signs(0, 0)), None, "it has taken one");
        assert_eq!(look(&mut traffic, its, signs(1, 0)), Some(None), "from the beginning");
    }

    #[test]
    fn no_more_go_out_than_may_whether_at_once_or_one_after_the_other() {
        let mut traffic = LiveTraffic::default();
        let all = || (1..=4).map(|slot| candidate(slot, 3, 2));
        let out = |findings: Vec<Finding>| -> Vec<u32> {
            findings.iter().filter(|its| its.out.is_some()).map(|its| its.candidate.slot).collect()
        };
        assert_eq!(out(traffic.look(all(), |slot| signs(u64::from(slot < 3) * 3, 0))), [1, 2]);
        assert_eq!(
            out(traffic.look(all(), |_| signs(9, 0))),
            [0u32; 0],
            "nobody has heard of them so far"
        );
        let heard = || (3..=4).map(|slot| candidate(slot, 3, 0));
        assert_eq!(out(traffic.look(heard(), |_| signs(12, 0))), [0u32; 0]);
        let one_is_back = || (2..=4).map(|slot| candidate(slot, 3, 1));
        assert_eq!(out(traffic.look(one_is_back(), |_| signs(15, 0))), [2]);
    }

    #[test]
    fn the_last_one_stays_and_so_do_all_without_a_limit() {
        let last = candidate(3, 2, 0);
        assert_eq!(look(&mut LiveTraffic::default(), last, signs(9, 0)), Some(None));
        let unlimited = candidate(3, 0, 1);
        assert_eq!(look(&mut LiveTraffic::default(), unlimited, signs(900, 0)), Some(None));
        let others = candidate(3, 2, 1);
        let out = look(&mut LiveTraffic::default(), others, signs(0, 2));
        assert_eq!(
            out,
            Some(Some("clients' connections fail: 2 not answered in a row".to_owned()))
        );
    }
}
