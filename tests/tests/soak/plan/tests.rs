//! A plan is one that can be carried out, and repeated.

use super::*;

#[test]
fn the_same_seed_is_the_same_plan() {
    let rounds = |seed| {
        let mut plan = Plan::new(seed);
        [plan.round(), plan.round(), plan.round()]
    };
    assert_eq!(rounds(7), rounds(7));
    assert_ne!(rounds(7), rounds(8));
}

#[test]
fn each_round_has_something_of_everything() {
    for seed in 0..200 {
        let mut plan = Plan::new(seed);
        for round in 0..4 {
            let events = plan.round();
            let count = |is: fn(&Event) -> bool| events.iter().filter(|its| is(its)).count();
            assert!(count(|its| matches!(its, Event::Fail { .. })) >= 4, "{events:?}");
            assert!(count(|its| matches!(its, Event::Flood { .. })) == 2, "{events:?}");
            let reloads = |its: &Event| {
                use Event::{Add, Choose, Remove, Reweigh, Translate, WrongFile};
                matches!(its, Add { .. } | Remove { .. } | Reweigh { .. })
                    || matches!(its, Choose(_) | Translate { .. } | WrongFile)
            };
            assert!(count(reloads) >= 3, "{events:?}");
            let restarts = if round % 2 == 0 { RESTARTS } else { 0 };
            assert_eq!(count(|its| matches!(its, Event::Restart { .. })), restarts);
        }
    }
}

/// No event asks for what is not so: the second failure of a node, say.
#[test]
fn events_make_sense_after_those_before_them() {
    for seed in 0..200 {
        let mut plan = Plan::new(seed);
        let (mut failed, mut listed) = ([false; NODES], [true; NODES]);
        for event in (0..6).flat_map(|_| plan.round()) {
            match event {
                Event::Fail { node, .. } | Event::Restart { fails: Some((node, _)), .. } => {
                    assert!(!failed[node] && listed[node], "{event}");
                    failed[node] = true;
                }
                Event::Mend { node } => {
                    assert!(std::mem::take(&mut failed[node]), "{event}");
                }
                Event::Remove { node } => {
                    assert!(std::mem::take(&mut listed[node]) && !failed[node], "{event}");
                }
                Event::Add { node, .. } => {
                    assert!(!std::mem::replace(&mut listed[node], true), "{event}");
                }
                Event::Suspend { node } | Event::Drain { node, .. } => {
                    assert!(!failed[node] && listed[node], "{event}");
                }
                Event::Open { .. } => {
                    let open = (0..NODES).any(|node| !failed[node] && listed[node]);
                    assert!(open, "{event}");
                }
                _ => {}
            }
        }
    }
}
