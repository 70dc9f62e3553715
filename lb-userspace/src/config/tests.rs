//! Whole files. What is refused, and with which words, is in `tests/wrong-configs`.

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = r#"
interfaces     = ["eth0"]        # every interface by which VIP or backend traffic comes in
xdp_mode       = "auto"          # auto (native, else generic with a warning) | native | generic
persist        = false           # true: pinned in bpffs; the datapath outlives the process
flow_capacity  = 1048576
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
        admin_socket: PathBuf::from("/run/lb/lb.sock"),
        services: vec![Service {
            name: "csta".to_owned(),
            vip: Ipv4Addr::new(192, 0, 2, 100),
            port: 5060,
            keepalive: Keepalive {
                kind: KeepaliveKind::Tcp,
                interval: Duration::from_secs(5),
                retry_interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                fall: 3,
                rise: 2,
            },
            backends: vec![Backend {
                name: "imp1".to_owned(),
                address: Ipv4Addr::new(10, 0, 0, 11),
                port: 5060,
                weight: 1,
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
admin_socket = "/tmp/other.sock"

[[service]]
name = "csta"
vip = "192.0.2.100"
port = 5070
reset_on_failure = false
keepalive = { type = "none", interval = "500ms", close = "fin" }
backend = [
    { name = "imp1", address = "10.0.0.11", weight = 0 },
    { name = "imp2", address = "10.0.0.12", port = 1, weight = 65535, backup = false },
]

[[service]]
name = "sip_A.1-x"
vip = "192.0.2.100"

[service.keepalive]
interval = "1h"
retry_interval = "10ms"
timeout = "1m 30s"
fall = 1
rise = 100

[[service.backend]]
name = "imp1"
address = "10.0.0.11"
weight = 0
"#,
    );
    assert_eq!(config.interfaces, ["eth0", "vlan.100"]);
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!(config.flow_capacity, 1 << 24);
    assert_eq!(config.admin_socket, PathBuf::from("/tmp/other.sock"));

    let [csta, sip] = &config.services[..] else { panic!("two services: {config:?}") };
    assert_eq!((csta.name.as_str(), csta.port), ("csta", 5070));
    assert_eq!(csta.keepalive.kind, KeepaliveKind::None);
    assert_eq!(csta.keepalive.interval, Duration::from_millis(500));
    let backends: Vec<_> = csta.backends.iter().map(|b| (b.port, b.weight)).collect();
    assert_eq!(backends, [(5070, 0), (1, 65535)]);

    assert_eq!((sip.name.as_str(), sip.vip, sip.port), ("sip_A.1-x", csta.vip, 5060));
    assert_eq!(
        sip.keepalive,
        Keepalive {
            kind: KeepaliveKind::Tcp,
            interval: Duration::from_secs(3600),
            retry_interval: Duration::from_millis(10),
            timeout: Duration::from_secs(90),
            fall: 1,
            rise: 100,
        }
    );
    assert_eq!(sip.backends[0].weight, 0, "a whole service may be drained by the file");
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
fn the_number_of_services_that_share_a_backend_is_bounded() {
    let with = |services| generated(services, |_| vec![node(0)]);
    assert_eq!(parse(&with(MAX_SERVICES_PER_BACKEND)).services.len(), MAX_SERVICES_PER_BACKEND);
    let problem = only_problem(&with(MAX_SERVICES_PER_BACKEND + 1));
    assert_eq!(problem.key, "service \"s8\" → backend \"b0\" → address");
    assert!(problem.message.contains("10.0.0.1:5060 is a backend of more than 8 services"));
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

/// What must hold for any text: no panic, and either a config or problems with places in the text.
fn judged(text: &str) -> Result<(), TestCaseError> {
    match Config::parse(text, "lb.toml") {
        Ok(config) => {
            prop_assert!(!config.interfaces.is_empty());
            prop_assert!(config.services.iter().all(|service| !service.backends.is_empty()));
        }
        Err(error) => {
            prop_assert!(!error.problems.is_empty());
            let lines = 1 + text.matches('\n').count();
            for problem in &error.problems {
                prop_assert!((1..=lines).contains(&problem.line), "{:?}", problem);
                prop_assert!(!problem.message.contains('\n'), "{:?}", problem);
            }
        }
    }
    Ok(())
}

/// A text that replaces a part of a valid file: noise, or something that TOML gives a meaning.
fn insertion() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,8}",
        prop::sample::select(vec![
            "",
            "\"",
            "'",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ",",
            ".",
            "\n",
            "#",
            "\\u0000",
            "0x",
            "-1",
            "1e400",
            "nan",
            "99999999999999999999999999999999999999999",
            "true",
            "1979-05-27",
            "[[service]]\n",
            "[service.keepalive]\n",
            "[[service.backend]]\n",
            "name = \"csta\"\n",
            "\"::1\"",
            "\"\"\"",
            "\u{feff}",
            "\r",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,400}") {
        judged(&text)?;
    }

    #[test]
    fn no_mutation_of_a_valid_file_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, insertion()), 1..5),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (place, length, insertion) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insertion.chars());
        }
        judged(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn no_order_of_the_lines_panics(lines in Just(EXAMPLE.lines().collect::<Vec<_>>()).prop_shuffle()) {
        judged(&lines.join("\n"))?;
    }
}
