//! How much one file may hold.

use std::net::Ipv4Addr;

use super::*;

/// A config of `services` services, each with the backends that `backends` gives for its number.
fn generated(services: usize, backends: impl Fn(usize) -> Vec<Ipv4Addr>) -> String {
    let mut text = String::from("interfaces = ['eth0']\n");
    for service in 0..services {
        text += &format!("[[service]]\nname = 's{service}'\nvip = '192.0.2.1'\n");
        text += &format!("port = {}\n", 1 + service);
        for (index, address) in backends(service).into_iter().enumerate() {
            text += "[[service.backend]]\n";
            text += &format!("name = 'b{index}'\naddress = '{address}'\nport = 5060\n");
        }
    }
    text
}

fn node(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0001 + u32::try_from(number).expect("few nodes"))
}

fn only_problem(text: &str) -> Problem {
    let error = Config::parse(text, "lb.toml").expect_err("beyond a limit");
    let [problem] = &error.problems[..] else { panic!("one problem: {error}") };
    problem.clone()
}

#[test]
fn the_number_of_services_is_bounded() {
    let with = |services| generated(services, |service| vec![node(service)]);
    assert_eq!(parse(&with(MAX_SERVICES)).services.len(), MAX_SERVICES);
    let problem = only_problem(&with(MAX_SERVICES + 1));
    assert_eq!((problem.key.as_str(), problem.line), ("service \"s256\"", 2 + 256 * 8));
    assert!(problem.message.contains("257 services: 256 are allowed"), "{}", problem.message);
}

#[test]
fn the_number_of_backends_is_bounded_over_all_services() {
    let with = |backends| {
        generated(
            2,
            |service| if service == 0 { vec![node(0)] } else { (1..backends).map(node).collect() },
        )
    };
    assert_eq!(parse(&with(MAX_BACKENDS)).services[1].backends.len(), MAX_BACKENDS - 1);
    let problem = only_problem(&with(MAX_BACKENDS + 1));
    assert_eq!(problem.key, "service \"s1\" → backend \"b4095\"");
    assert!(problem.message.contains("4097 backends in all services: 4096 are allowed"));
}

#[test]
fn the_number_of_prefixes_is_bounded_over_all_services() {
    let with = |prefixes: usize| {
        let mut text = generated(2, |service| vec![node(100_000 + service)]);
        for (port, some) in [(1, 0..prefixes / 2), (2, prefixes / 2..prefixes)] {
            let list: Vec<_> = some.map(|number| format!("'{}'", node(number))).collect();
            let port = format!("port = {port}\n");
            text = text.replace(&port, &format!("{port}allow = [{}]\n", list.join(", ")));
        }
        text
    };
    let config = parse(&with(MAX_PREFIXES));
    assert_eq!(config.services[0].access.clients.prefixes().count(), MAX_PREFIXES / 2);
    let problem = only_problem(&with(MAX_PREFIXES + 1));
    assert!(problem.message.contains("more than 32512 prefixes in all services"), "{problem:?}");
}

#[test]
fn the_number_of_services_that_share_a_backend_is_bounded() {
    let with = |services| generated(services, |_| vec![node(0)]);
    assert_eq!(parse(&with(MAX_SERVICES_PER_BACKEND)).services.len(), MAX_SERVICES_PER_BACKEND);
    let problem = only_problem(&with(MAX_SERVICES_PER_BACKEND + 1));
    assert_eq!(problem.key, "service \"s8\" → backend \"b0\" → address");
    assert!(problem.message.contains("10.0.0.1:5060 is a backend of more than 8 services"));
}

/// Two full-NAT services of the same addresses and backends, the second of them with `outbound_nat`
/// as said.
fn translating(addresses: usize, backends: usize, outbound: bool) -> String {
    let mut text = String::from("interfaces = ['eth0']\n");
    let snat: Vec<_> = (1..=addresses).map(|host| format!("'192.0.2.{host}'")).collect();
    let snat = snat.join(", ");
    for (port, outbound) in [(1, false), (2, outbound)] {
        text += &format!("[[service]]\nname = 's{port}'\nvip = '192.0.2.100'\nport = {port}\n");
        text += &format!("forwarding = 'full-nat'\nsnat_addresses = [{snat}]\n");
        text += &format!("outbound_nat = {outbound}\n");
        for index in 0..backends {
            let address = node(index);
            text += &format!("[[service.backend]]\nname = 'b{index}'\naddress = '{address}'\n");
            text += "port = 5060\n";
        }
    }
    text
}

#[test]
fn the_room_for_translated_connections_is_bounded() {
    // 11 x 93 is 1023, and a service with the same pairs needs no more.
    assert_eq!(parse(&translating(11, 93, false)).services.len(), 2);

    let problem = only_problem(&translating(11, 93, true));
    assert_eq!(problem.key, "service \"s2\" → snat_addresses");
    assert!(problem.message.starts_with("1024 pairs"), "{}", problem.message);

    let problem = only_problem(&translating(16, 64, false));
    assert_eq!((problem.key.as_str(), problem.line), ("service \"s1\" → snat_addresses", 7));
    assert_eq!(
        problem.message,
        "1024 pairs of an SNAT address and a backend, and VIPs with outbound_nat, in all services: \
         1023 are allowed, since each takes half a MiB of kernel memory for its ports, 1.5 MiB for \
         IPv6; write fewer addresses"
    );
}
