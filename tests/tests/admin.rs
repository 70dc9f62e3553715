//! The admin socket of a balancer at work: what it shows, and that nobody on it disturbs traffic.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::daemon::lb_binary;
use lb_tests::lab::{LabPlan, client_address};
use lb_tests::peer::HeldConnections;
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn garbage_and_hanging_clients_disturb_no_connection() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(200)?;
    let path = balanced.daemon.socket();

    let mut hanging = Vec::new();
    for i in 0..40_u8 {
        let mut client = UnixStream::connect(&path)?;
        client.set_write_timeout(Some(SECOND))?;
        match i % 4 {
            0 => client.write_all(b"GET /v1/flows HTTP/1.1\r\nHost: l")?,
            1 => client
                .write_all(b"POST /v1/order HTTP/1.1\r\nHost: l\r\nContent-Length: 99\r\n\r\n{")?,
            2 => {}
            _ => {
                // It may be cut off in the middle.
                let _ = client.write_all(&[i.wrapping_mul(37); 4096]);
            }
        }
        hanging.push(client);
    }
    let mut client = UnixStream::connect(&path)?;
    client.set_read_timeout(Some(5 * SECOND))?;
    client.write_all(b"\x16\x03\x01 this is no request\r\n\r\n")?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).context("garbage is answered or cut off")?;
    let status = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || status.starts_with("HTTP/1.1 400"), "{status}");

    thread::sleep(2 * SECOND);
    assert_eq!(balanced.daemon.show("summary")?["active_flows"], 200, "it answers beside them");
    went_on(&balanced, held)?;
    drop(hanging);
    Ok(())
}

/// New connections succeed, and none that was held has noticed anything.
fn went_on(balanced: &Balanced, held: HeldConnections) -> Result<()> {
    let new = balanced.short(100)?;
    assert_eq!(new.ok, 100, "{new}");
    let report = held.stop();
    println!("{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    assert!(report.worst_answer < SECOND, "{report}");
    Ok(())
}

/// What the process has of memory that is its own, in bytes.
fn own_memory(balanced: &Balanced) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", balanced.daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line.context("no RssAnon")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

#[test]
fn a_thousand_clients_at_once_disturb_no_connection() -> Result<()> {
    lb_tests::limits::raise_open_files()?;
    let balanced = Balanced::start()?;
    let held = balanced.hold(200)?;
    let path = balanced.daemon.socket();
    balanced.daemon.show("summary")?;
    let before = own_memory(&balanced)?;

    let mut clients = Vec::new();
    for i in 0..1000_u16 {
        let mut client = UnixStream::connect(&path)?;
        client.set_nonblocking(true)?;
        let said: &[u8] = match i % 5 {
            0 => &[b'a'; 60_000],
            1 => b"POST /v1/order HTTP/1.1\r\nHost: l\r\nContent-Length: 60000\r\n\r\n{",
            2 => b"POST /v1/plan?file=a HTTP/1.1\r\nHost: l\r\nContent-Length: 8000000\r\n\r\n#",
            // Complete, and its answer is not read.
            3 => b"GET /v1/snapshot HTTP/1.1\r\nHost: l\r\n\r\n",
            _ => b"",
        };
        // It may be refused before it has said all.
        let _ = client.write(said);
        clients.push(client);
    }
    for _ in 0..10 {
        assert_eq!(balanced.daemon.show("summary")?["active_flows"], 200, "it answers beside them");
    }
    let after = own_memory(&balanced)?;
    println!("{} KiB of memory, {} KiB with a thousand clients", before >> 10, after >> 10);
    // Each of 64 has 64 KiB at most, and one a config file.
    assert!(after < before + (16 << 20), "{before} bytes became {after}");
    let told = clients.iter().filter(|client| {
        let mut client: &UnixStream = client;
        let mut answer = [0; 12];
        client.read(&mut answer).is_ok_and(|read| &answer[..read] == b"HTTP/1.1 503")
    });
    let told = told.count();
    println!("{told} were told that there are too many");
    // All but those that are served or waited for, and the complete ones.
    assert!(told >= 1000 - 200 - 64, "{told}");

    went_on(&balanced, held)?;
    drop(clients);
    Ok(())
}

#[test]
fn the_socket_is_roots_alone() -> Result<()> {
    const NOBODY: u32 = 65534;
    let balanced = Balanced::start()?;
    let socket = balanced.daemon.socket();
    assert_eq!(socket.metadata()?.permissions().mode() & 0o7777, 0o600);

    // The kit's directories are root's alone as well: neither shall be what refuses.
    std::fs::set_permissions(
        socket.parent().context("a directory")?,
        std::fs::Permissions::from_mode(0o755),
    )?;
    let files =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir()?;
    let binary = files.path().join("lb");
    std::fs::copy(lb_binary()?, &binary)?;
    let mut lb = Command::new(&binary);
    lb.arg("--socket").arg(&socket).args(["show", "summary"]);
    let unprivileged = lb.uid(NOBODY).gid(NOBODY).output()?;

    let said = String::from_utf8_lossy(&unprivileged.stderr);
    assert_eq!(unprivileged.status.code(), Some(1), "{said}");
    assert!(said.contains("root") || said.to_lowercase().contains("permission"), "{said}");
    println!("{}", said.trim_end());
    assert_eq!(balanced.short(50)?.ok, 50);
    Ok(())
}

/// The fields that programs rely on.
const PROMISED: [(&str, &[&str]); 5] = [
    (
        "backends",
        &[
            "service",
            "backend",
            "address",
            "port",
            "weight",
            "state",
            "reason",
            "active_flows",
            "new_flows",
            "packets_in",
            "packets_out",
            "bytes_in",
            "bytes_out",
        ],
    ),
    ("flows", &["service", "backend", "client", "client_port", "state", "idle_seconds"]),
    ("drops", &["reason", "packets"]),
    ("services", &["service", "vip", "port", "protocol", "state", "backends", "active_flows"]),
    ("keepalives", &["service", "backend", "address", "type", "state", "result"]),
];

#[test]
fn everything_shown_is_there_for_people_and_for_programs() -> Result<()> {
    let balanced = Balanced::start()?;
    let _held = balanced.hold(10)?;
    // Something that is dropped: no row is shown of what has not happened.
    for node in ["node1", "node2"] {
        balanced.daemon.lb_ok(&["drain", &format!("csta/{node}")])?;
    }
    let plan = lb_tests::peer::ShortPlan {
        timeout: Duration::from_millis(300),
        ..lb_tests::peer::ShortPlan::new(lb_tests::balanced::TARGET, 2, 2)
    };
    plan.run(&balanced.lab.client)?;

    for (what, fields) in PROMISED {
        let rows = balanced.daemon.show(what)?;
        let rows = rows.as_array().with_context(|| format!("{what} is no array"))?;
        assert!(!rows.is_empty(), "{what}");
        for row in rows {
            for field in fields {
                assert!(row.get(field).is_some(), "{what} has no {field}: {row}");
            }
        }
        let table = balanced.daemon.lb_ok(&["show", what])?;
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines.len() > rows.len(), "{what}: a heading and a line each:\n{table}");
        println!("{table}");
    }
    let summary = balanced.daemon.show("summary")?;
    assert_eq!((&summary["services"], &summary["active_flows"]), (&1.into(), &10.into()));
    let table = balanced.daemon.lb_ok(&["show", "summary"])?;
    println!("{table}");
    for part in ["front", "back", "native"] {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
    let drops = balanced.daemon.show("drops")?;
    let refused = drops.as_array().into_iter().flatten().find(|row| row["reason"] == "unavailable");
    assert!(refused.is_some_and(|row| row["packets"].as_u64() >= Some(2)), "{drops}");
    Ok(())
}

#[test]
fn traffic_is_counted_in_both_directions() -> Result<()> {
    let balanced = Balanced::start()?;
    let report = balanced.short(200)?;
    let mut sum = [0; 5];
    for node in ["node1", "node2"] {
        let count = |field| balanced.counted(node, field);
        let fields = ["new_flows", "packets_in", "packets_out", "bytes_in", "bytes_out"];
        for (sum, field) in sum.iter_mut().zip(fields) {
            *sum += count(field)?;
        }
    }
    println!("new flows, packets in and out, bytes in and out: {sum:?}");
    let [flows, packets_in, packets_out, bytes_in, bytes_out] = sum;
    assert_eq!((report.ok, flows), (200, 200), "{report}");
    // SYN, ACK, question, FIN and its ACK one way; SYN-ACK, answer and FIN the other at least.
    assert!((800..=2000).contains(&packets_in), "{packets_in} packets towards the backends");
    assert!((600..=2000).contains(&packets_out), "{packets_out} packets from the backends");
    assert!(bytes_in >= 40 * packets_in && bytes_in < 100 * packets_in, "{bytes_in}");
    assert!(bytes_out >= 40 * packets_out && bytes_out < 100 * packets_out, "{bytes_out}");
    let summary = balanced.daemon.show("summary")?;
    assert_eq!(summary["packets_in"], packets_in, "{summary}");
    Ok(())
}

#[test]
fn flows_are_listed_with_their_clients_and_grow_idle() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(60)?;
    let on_nodes = held.report().per_node;
    let list = |args: &[&str]| -> Result<Vec<Value>> {
        let args = [&["show", "flows", "--json"], args].concat();
        Ok(serde_json::from_str(&balanced.daemon.lb_ok(&args)?)?)
    };
    let idle = |flows: &[Value]| -> Vec<u64> {
        flows.iter().filter_map(|flow| flow["idle_seconds"].as_u64()).collect()
    };

    let flows = list(&["--state", "established"])?;
    assert_eq!(flows.len(), 60, "{flows:?}");
    let ports: BTreeSet<u64> =
        flows.iter().filter_map(|flow| flow["client_port"].as_u64()).collect();
    assert_eq!(ports.len(), 60, "{ports:?}");
    for flow in &flows {
        assert_eq!(flow["client"], client_address(1).to_string(), "{flow}");
        assert_eq!((&flow["service"], &flow["state"]), (&"csta".into(), &"established".into()));
    }
    for (node, count) in on_nodes {
        assert_eq!(list(&["--backend", &node])?.len(), count, "{node}");
        assert_eq!(balanced.counted(&node, "active_flows")?, count as u64, "{node}");
    }
    assert!(idle(&flows).iter().all(|&seconds| seconds <= 3), "{:?}", idle(&flows));
    thread::sleep(4 * SECOND);
    let later = list(&["--state", "established"])?;
    assert_eq!(idle(&later).len(), 60);
    assert!(idle(&later).iter().all(|seconds| (3..=8).contains(seconds)), "{:?}", idle(&later));
    assert_eq!(held.stop().breaks.len(), 0);
    Ok(())
}

#[test]
fn figures_for_prometheus_are_those_of_lb_show() -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("metrics_listen", "\"127.0.0.1:9460\"")
    })?;
    let held = balanced.hold_idle(20)?;
    let ask = |request: &str| -> Result<String> {
        let request = format!("{request} HTTP/1.1\r\nHost: lb\r\n\r\n");
        balanced.lab.balancer.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9460")?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    };
    let answer = ask("GET /metrics")?;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
    let mut flows = 0.0;
    for node in ["node1", "node2"] {
        let figure = |name: &str, more: &str| -> Option<f64> {
            let start = format!("lb_{name}{{service=\"csta\",backend=\"{node}\"{more}}} ");
            answer.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
        };
        assert_eq!(figure("backend_state", ",state=\"up\""), Some(1.0), "{answer}");
        assert_eq!(figure("backend_state", ",state=\"down\""), Some(0.0), "{answer}");
        let its = balanced.counted(node, "active_flows")? as f64;
        assert_eq!(figure("backend_flows", ""), Some(its), "{answer}");
        flows += its;
    }
    assert!((flows - 20.0).abs() < 0.1, "{answer}");
    assert!(ask("GET /")?.starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics")?.starts_with("HTTP/1.1 405 "));
    drop(held);
    Ok(())
}
