//! Whole files. What is refused, and with which words, is in `tests/wrong-configs`.

mod limits;
mod random;

use std::time::Duration;

use super::*;
use crate::access::IpNet;

const EXAMPLE: &str = r#"
interfaces     = ["eth0"]        # every interface by which VIP or backend traffic comes in
xdp_mode       = "auto"          # auto (native, else generic with a warning) | native | generic
persist        = false           # true: pinned in bpffs; the datapath outlives the process
flow_capacity  = 1048576
snat_ports     = "1024-65535"    # of connections that full-nat and outbound_nat translate
admin_socket   = "/run/lb/lb.sock"

[[service]]
name         = "csta"
vip          = "192.0.2.100"     # IPv4 or IPv6
port         = 5060
protocol     = "tcp"
forwarding   = "nat"             # nat: the client's address is kept, the balancer is the nodes' gateway
                                 # full-nat: the client is source-NATed to snat_addresses, nodes need no route
snat_addresses = []              # full-nat
outbound_nat = false             # true: connections that the nodes open leave from the VIP
reset_on_failure = true          # false: flows of a node that is down stay, in case it comes back
when_unavailable = "reset"       # reset: clients are told while no node is up | drop: they are not
balance      = "consistent-hash" # | least-connections
affinity     = "connection"      # connection: the tuple | client-address

[service.keepalive]
type           = "tcp"           # tcp | sip | icmp | none
interval       = "5s"
retry_interval = "1s"
timeout        = "1s"
fall           = 3
rise           = 2

[[service.backend]]
name    = "imp1"
address = "10.0.0.11"
port    = 5060
weight  = 1
backup  = false                  # true: only while no other node is up
"#;

/// The fewest words that make a config.
const SHORTEST: &str = r#"
interfaces = ["eth0"]
[[service]]
name = "csta"
vip = "192.0.2.100"
[[service.backend]]
name = "imp1"
address = "10.0.0.11"
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, "lb.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn example() -> Config {
    Config {
        interfaces: vec!["eth0".to_owned()],
        xdp_mode: XdpMode::Auto,
        flow_capacity: 1_048_576,
        snat_ports: 1024..=65535,
        persist: None,
        admin_socket: PathBuf::from("/run/lb/lb.sock"),
        admin_group: None,
        metrics_listen: None,
        syslog: None,
        services: vec![Service {
            name: "csta".to_owned(),
            vip: IpAddr::from([192, 0, 2, 100]),
            port: 5060,
            forwarding: Forwarding::Nat,
            outbound_nat: false,
            balance: Balance::ConsistentHash,
            affinity: Affinity::Connection,
            reset_on_failure: true,
            when_unavailable: WhenUnavailable::Reset,
            access: Access::default(),
            keepalive: Keepalive {
                kind: KeepaliveKind::Tcp,
                interval: Duration::from_secs(5),
                retry_interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                fall: 3,
                rise: 2,
                error_limit: 5,
                port: None,
                source_address: None,
                close: Close::Fin,
                down_statuses: vec![408, 500, 502, 503, 504],
            },
            backends: vec![Backend {
                name: "imp1".to_owned(),
                address: IpAddr::from([10, 0, 0, 11]),
                port: 5060,
                weight: 1,
                backup: false,
            }],
        }],
    }
}

#[test]
fn the_documented_example_means_what_it_says() {
    assert_eq!(parse(EXAMPLE), example());
}

#[test]
fn the_documented_example_is_that_of_the_defaults() {
    assert_eq!(parse(SHORTEST), example());
}

#[test]
fn every_value_arrives_where_it_belongs() {
    let config = parse(
        r#"
interfaces = ["eth0", "vlan.100"]
xdp_mode = "native"
flow_capacity = 16_777_216
snat_ports = "20000-29999"
persist = true
pin_directory = "/sys/fs/bpf/other"
admin_socket = "/tmp/other.sock"
admin_group = "lbadmin"
metrics_listen = "[::1]:9460"
syslog = "tcp://[::1]:601"
syslog_facility = "local0"

[[service]]
name = "csta"
vip = "192.0.2.100"
port = 5070
affinity = "client-address"
reset_on_failure = false
when_unavailable = "drop"
allow = ["10.0.0.0/8", "192.0.2.7"]
deny = ["10.1.0.0/16"]
max_new_per_second = 50
keepalive = { type = "none", interval = "500ms" }
backend = [
    { name = "imp1", address = "10.0.0.11", weight = 0 },
    { name = "imp2", address = "10.0.0.12", port = 1, weight = 65535, backup = true },
]

[[service]]
name = "sip_A.1-x"
vip = "192.0.2.100"
balance = "least-connections"

[service.keepalive]
type = "sip"
port = 5062
source_address = "192.0.2.1"
close = "rst"
down_statuses = [503, 404]
interval = "1h"
retry_interval = "10ms"
timeout = "1m 30s"
fall = 1
rise = 100
error_limit = 0

[[service.backend]]
name = "imp1"
address = "10.0.0.11"
weight = 0
"#,
    );
    assert_eq!(config.interfaces, ["eth0", "vlan.100"]);
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!(config.flow_capacity, 1 << 24);
    assert_eq!(config.snat_ports, 20_000..=29_999);
    assert_eq!(config.persist, Some(PathBuf::from("/sys/fs/bpf/other")));
    assert_eq!(config.admin_socket, PathBuf::from("/tmp/other.sock"));
    assert_eq!(config.admin_group, Some(AdminGroup::Name("lbadmin".to_owned())));
    assert_eq!(config.metrics_listen, "[::1]:9460".parse().ok());
    let target = SyslogTarget::Tcp("[::1]:601".parse().expect("an address and a port"));
    assert_eq!(config.syslog, Some(Syslog { target, facility: 16 }));

    let [csta, sip] = &config.services[..] else { panic!("two services: {config:?}") };
    assert_eq!((csta.name.as_str(), csta.port), ("csta", 5070));
    assert_eq!(csta.keepalive.kind, KeepaliveKind::None);
    assert_eq!(csta.keepalive.interval, Duration::from_millis(500));
    assert_eq!(csta.affinity, Affinity::ClientAddress);
    assert_eq!((csta.reset_on_failure, csta.when_unavailable), (false, WhenUnavailable::Drop));
    let clients: Vec<_> = csta.access.clients.prefixes().collect();
    let prefix = |text: &str| text.parse::<IpNet>().expect("a prefix");
    let (offices, branch) = (prefix("10.0.0.0/8"), prefix("10.1.0.0/16"));
    let expected = [(offices, true), (branch, false), (prefix("192.0.2.7/32"), true)];
    assert_eq!((clients, csta.access.max_new_per_second), (expected.to_vec(), Some(50)));
    let backends: Vec<_> = csta.backends.iter().map(|b| (b.port, b.weight, b.backup)).collect();
    assert_eq!(backends, [(5070, 0, false), (1, 65535, true)]);

    assert_eq!((sip.name.as_str(), sip.vip, sip.port), ("sip_A.1-x", csta.vip, 5060));
    assert_eq!(sip.balance, Balance::LeastConnections);
    assert_eq!(
        sip.keepalive,
        Keepalive {
            kind: KeepaliveKind::Sip,
            interval: Duration::from_secs(3600),
            retry_interval: Duration::from_millis(10),
            timeout: Duration::from_secs(90),
            fall: 1,
            rise: 100,
            error_limit: 0,
            port: Some(5062),
            source_address: Some(IpAddr::from([192, 0, 2, 1])),
            close: Close::Rst,
            down_statuses: vec![503, 404],
        }
    );
    assert_eq!(sip.backends[0].weight, 0, "a whole service may be drained by the file");
}

#[test]
fn every_mode_is_there_for_both_families() {
    let config = parse(
        r#"
interfaces = ["eth0"]

[[service]]
name = "kept"
vip = "2001:db8::100"
outbound_nat = true
backend = [{ name = "imp1", address = "2001:db8::11" }]

[[service]]
name = "translated"
vip = "192.0.2.100"
forwarding = "full-nat"
snat_addresses = ["192.0.2.100", "192.0.2.10"]  # its own VIP, and one that others have as well
backend = [{ name = "imp1", address = "10.0.0.11" }]

[[service]]
name = "both"
vip = "2001:db8::100"
port = 5070
forwarding = "full-nat"
snat_addresses = ["2001:db8::10"]
outbound_nat = true
backend = [{ name = "imp1", address = "2001:db8::11" }]

[[service]]
name = "shared"
vip = "192.0.2.101"
forwarding = "full-nat"
snat_addresses = ["192.0.2.10"]
backend = [{ name = "imp1", address = "10.0.0.11" }]
"#,
    );
    let modes: Vec<_> = config
        .services
        .iter()
        .map(|service| {
            let addresses = service.forwarding.snat_addresses();
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            (service.forwarding.as_str(), addresses.join(" "), service.outbound_nat)
        })
        .collect();
    assert_eq!(
        modes,
        [
            ("nat", String::new(), true),
            ("full-nat", "192.0.2.100 192.0.2.10".to_owned(), false),
            ("full-nat", "2001:db8::10".to_owned(), true),
            ("full-nat", "192.0.2.10".to_owned(), false),
        ]
    );
    assert_eq!(config.services[0].vip.to_string(), "2001:db8::100");
    assert_eq!(config.services[0].backends[0].address.to_string(), "2001:db8::11");
}

#[test]
fn one_run_reports_every_problem_by_line() {
    let text = "interfaces = []\nprot = 1\n[[service]]\nname = 'a'\nvip = '::1'\nport = 0\n";
    let error = Config::parse(text, "/etc/lb.toml").expect_err("wrong in five places");
    let found: Vec<_> = error.problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "interfaces"),
            (2, "prot"),
            (3, "service \"a\" → backend"),
            (5, "service \"a\" → vip"),
            (6, "service \"a\" → port"),
        ]
    );
    let text = error.to_string();
    assert_eq!(text.lines().count(), 5);
    assert!(text.lines().all(|line| line.starts_with("/etc/lb.toml:")), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_without_a_line() {
    let error = Config::load(Path::new("/nonexistent/lb.toml")).expect_err("there is none");
    let text = error.to_string();
    assert!(text.starts_with("/nonexistent/lb.toml: cannot be read: No such file"), "{text}");
    let error = Config::load(Path::new("/")).expect_err("a directory");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let error = Config::load(Path::new("/dev/zero")).expect_err("endless");
    assert!(error.to_string().contains("is larger than 8 MiB"), "{error}");
}

#[test]
fn a_byte_order_mark_and_crlf_are_no_problem() {
    let text = format!("\u{feff}{}", SHORTEST.replace('\n', "\r\n"));
    assert_eq!(parse(&text), example());
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let code = r"\u001b]0;x\u0007\n";
    let text = format!(
        "interfaces = [\"{code}\"]\nxdp_mode = \"{code}\"\n\"{code}\" = 1\nadmin_socket = \"{code}\"\n\
         [[service]]\nname = \"{code}\"\nvip = \"{code}\"\n[service.keepalive]\ninterval = \"5{code}\"\n\
         [[service.backend]]\nname = \"{code}\"\naddress = \"{code}\"\n"
    );
    let error = Config::parse(&text, "lb.toml").expect_err("wrong everywhere");
    assert_eq!(error.problems.len(), 9, "{error}");
    for Problem { key, message, .. } in &error.problems {
        assert!(!key.chars().chain(message.chars()).any(char::is_control), "{key:?} {message:?}");
    }
}
