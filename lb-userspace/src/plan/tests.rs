use super::*;
use crate::keepalive::{self, Event};

/// Name, last byte of the address, weight.
type BackendText<'a> = (&'a str, u8, u32);
/// Name, last byte of the VIP, other keys, backends.
type ServiceText<'a> = (&'a str, u8, &'a str, &'a [BackendText<'a>]);

fn config(services: &[ServiceText]) -> Config {
    let mut text = "interfaces = ['front']\n".to_owned();
    for (name, vip, keys, backends) in services {
        text += &format!("[[service]]\nname = '{name}'\nvip = '10.1.0.{vip}'\n{keys}\n");
        for (name, host, weight) in *backends {
            text += &format!(
                "[[service.backend]]\nname = '{name}'\naddress = '10.2.0.{host}'\nweight = {weight}\n"
            );
        }
    }
    Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// A state that has taken in the file, and whose nodes are all up.
fn running(config: &Config) -> State {
    let mut state = State::default();
    state.reload(config, Instant::now()).expect("fits");
    for target in state.targets() {
        let event = Event {
            vip: target.vip,
            address: target.address,
            change: keepalive::Change::Up,
            reason: String::new(),
        };
        state.keepalive(&event, Instant::now());
    }
    state
}

const TWO: &[BackendText] = &[("imp1", 11, 1), ("imp2", 12, 1)];

fn ten(slot: u32) -> u64 {
    10 + u64::from(slot)
}

#[test]
fn the_file_that_runs_changes_nothing() {
    let file = config(&[("csta", 100, "", TWO)]);
    let plan = plan(&running(&file), &file, ten).expect("a plan");
    assert_eq!(plan.needs_restart, None);
    let [service] = &plan.services[..] else { panic!("{plan:?}") };
    assert_eq!((service.change, service.keys.len()), (Change::Stays, 0));
    assert_eq!((service.reset_flows, service.kept_flows), (0, 21));
    assert!(service.moves_percent.abs() < 1e-9, "{service:?}");
    for backend in &plan.backends {
        assert_eq!((backend.change, backend.resets), (Change::Stays, false));
        assert!((45.0..55.0).contains(&backend.share_percent), "{backend:?}");
        assert!((backend.share_percent - backend.share_before_percent).abs() < 1e-9);
    }
}

#[test]
fn what_comes_and_goes_is_told_with_what_moves() {
    let state = running(&config(&[("csta", 100, "", TWO), ("sip", 101, "", &TWO[..1])]));
    let keys = "affinity = 'client-address'\nreset_on_failure = false\nallow = ['10.0.0.0/8']\n\
                max_new_per_second = 7";
    let next = config(&[
        ("csta", 100, keys, &[("imp1", 11, 3), ("imp3", 13, 1)]),
        ("new", 102, "", &[("imp9", 19, 1)]),
    ]);
    let plan = plan(&state, &next, ten).expect("a plan");
    let services: Vec<_> = plan
        .services
        .iter()
        .map(|its| (&*its.service, its.change, its.reset_flows, its.kept_flows))
        .collect();
    assert_eq!(
        services,
        [
            ("csta", Change::Changed, 0, 21),
            ("new", Change::Added, 0, 0),
            ("sip", Change::Leaves, 12, 0),
        ]
    );
    assert_eq!(
        plan.services[0].keys,
        ["affinity", "reset_on_failure", "allow", "max_new_per_second"]
    );
    // imp2's half goes to others, and a quarter of the table comes to imp3 in all.
    assert!((45.0..65.0).contains(&plan.services[0].moves_percent), "{:?}", plan.services[0]);
    assert!((plan.services[1].moves_percent - 100.0).abs() < 1e-9);
    let backends: Vec<_> = plan
        .backends
        .iter()
        .map(|its| (&*its.backend, its.change, its.weight_before, its.weight, its.resets))
        .collect();
    assert_eq!(
        backends,
        [
            ("imp1", Change::Changed, Some(1), Some(3), false),
            ("imp3", Change::Added, None, Some(1), false),
            ("imp2", Change::Leaves, Some(1), None, false),
            ("imp9", Change::Added, None, Some(1), false),
            ("imp1", Change::Leaves, Some(1), None, true),
        ]
    );
    let shares: Vec<_> = plan.backends.iter().map(|its| its.share_percent.round()).collect();
    assert_eq!(shares, [75.0, 25.0, 0.0, 100.0, 0.0]);
}

#[test]
fn what_a_reload_would_refuse_is_refused() {
    let state = running(&config(&[("csta", 100, "", TWO)]));
    let gone = config(&[("csta", 100, "", &TWO[..1])]);
    let mut draining = state.clone();
    draining.reload(&gone, Instant::now()).expect("fits");
    let vip_of_node = "interfaces = ['front']\n[[service]]\nname = 'x'\nvip = '10.2.0.12'\n\
                       backend = [{ name = 'imp1', address = '10.2.0.11' }]";
    let mut both = gone.clone();
    both.services.extend(Config::parse(vip_of_node, "x").expect("a file").services);
    let refused = plan(&draining, &both, ten).expect_err("a node would be a VIP");
    assert!(refused.to_string().contains("10.2.0.12"), "{refused}");
}
