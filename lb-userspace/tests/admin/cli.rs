//! The command `lb` as an operator meets it: exit status, what is printed and where.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use lb_userspace::{
    admin::Limits,
    control::{BackendName, Order},
};
use serde_json::Value;

use crate::fake::{self, Behaviour, Daemon};

pub const LB: &str = env!("CARGO_BIN_EXE_lb");
/// A user that is not root.
const NOBODY: u32 = 65_534;

pub fn lb(socket: &Path, args: &[&str]) -> Output {
    Command::new(LB).arg("--socket").arg(socket).args(args).output().unwrap()
}

/// What a command prints that is done.
pub fn done(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// The one line of a command that is refused or fails.
pub fn refused(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("lb: ") && said.ends_with('\n'), "{said}");
    assert_eq!(output.stdout, b"");
    said
}

#[test]
fn tables_fit_in_a_terminal_and_name_what_they_show() {
    let daemon = Daemon::start();
    for (what, parts) in [
        ("summary", ["eth0 (native)", "3d04h"]),
        ("services", ["192.0.2.100:5060", "1/2"]),
        ("backends", ["csta/imp2", "tcp connect timed out, 3 of 3"]),
        ("keepalives", ["csta/imp1", "0.4ms"]),
        ("drops", ["no_backend", "ttl_expired"]),
        ("flows", ["csta/imp1", "10.0.0.1:10002"]),
        ("events", ["1970-01-01T00:00:00Z", "csta/imp1 has weight 3"]),
    ] {
        let text = done(lb(&daemon.socket(), &["show", what]));
        for part in parts {
            assert!(text.contains(part), "{what}: no {part:?} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn json_has_the_promised_fields() {
    let daemon = Daemon::start();
    let json = |what| -> Value {
        serde_json::from_str(&done(lb(&daemon.socket(), &["show", what, "--json"]))).unwrap()
    };
    for (what, rows, fields) in [
        (
            "backends",
            2,
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
            ][..],
        ),
        (
            "flows",
            3,
            &[
                "service",
                "backend",
                "direction",
                "client",
                "client_port",
                "snat_address",
                "snat_port",
                "state",
                "idle_seconds",
            ],
        ),
        ("drops", 2, &["reason", "packets"]),
        (
            "services",
            1,
            &["service", "vip", "port", "state", "forwarding", "snat_addresses", "outbound_nat"],
        ),
        ("keepalives", 2, &["service", "backend", "state", "result"]),
        (
            "events",
            3,
            &["seq", "time", "severity", "kind", "service", "backend", "text", "flows_reset"],
        ),
    ] {
        let found = json(what);
        let found = found.as_array().unwrap_or_else(|| panic!("{what} is no array"));
        assert_eq!(found.len(), rows, "{what}");
        for (row, field) in found.iter().flat_map(|row| fields.iter().map(move |f| (row, f))) {
            assert!(row.get(field).is_some(), "{what}: no {field} in {row}");
        }
    }
    assert_eq!(json("summary")["interfaces"][0]["xdp_mode"], "native");
    assert_eq!(json("backends")[1]["reason"], "tcp connect timed out, 3 of 3");
}

#[test]
fn orders_are_given_as_typed() {
    let daemon = Daemon::start();
    for (args, order) in [
        (&["drain", "csta/imp1"][..], Order::Drain { deadline: None }),
        (
            &["drain", "csta/imp1", "--deadline", "30m"],
            Order::Drain { deadline: Some(Duration::from_secs(1800)) },
        ),
        (&["suspend", "csta/imp1"], Order::Suspend),
        (&["activate", "csta/imp1"], Order::Activate),
        (&["weight", "csta/imp1", "7"], Order::Weight(7)),
    ] {
        assert_eq!(done(lb(&daemon.socket(), args)), "csta/imp1: done\n");
        let name = BackendName { service: "csta".to_owned(), backend: "imp1".to_owned() };
        assert_eq!(daemon.orders().last(), Some(&(name, order)));
    }
}

#[test]
fn what_the_daemon_refuses_is_one_line() {
    let daemon = Daemon::start();
    assert_eq!(
        refused(lb(&daemon.socket(), &["suspend", "csta/ghost"])),
        "lb: there is no backend csta/ghost\n"
    );
    assert_eq!(
        refused(lb(&daemon.socket(), &["reload"])),
        "lb: lb.toml:1: a: is wrong; lb.toml:2: b: is wrong\n"
    );
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let directory = fake::directory();
    let socket = directory.path().join("lb.sock");
    for args in [
        &[][..],
        &["explode"],
        &["show"],
        &["show", "everything"],
        &["show", "flows", "--state", "asleep"],
        &["show", "flows", "--limit", "0"],
        &["show", "flows", "--sort", "age"],
        &["show", "flows", "--client", "10.0.0.0/33"],
        &["show", "flow", "10.0.0.7"],
        &["drain", "imp1"],
        &["drain", "csta/imp1", "--deadline", "soon"],
        &["weight", "csta/imp1", "heavy"],
        &["weight", "csta/imp1", "65536"],
        &["run"],
        // A daemon has the socket of its config file.
        &["run", "--config", "lb.toml"],
        &["check", "--config", "lb.toml"],
    ] {
        let output = lb(&socket, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn no_daemon_is_said_with_what_to_do() {
    let directory = fake::directory();
    let socket = directory.path().join("lb.sock");
    let name = socket.display().to_string();

    let missing = refused(lb(&socket, &["show", "summary"]));
    assert!(missing.contains(&name) && missing.contains("lb run --config"), "{missing}");

    drop(UnixListener::bind(&socket).unwrap());
    let dead = refused(lb(&socket, &["show", "summary"]));
    assert!(dead.contains(&name) && dead.contains("nobody answers"), "{dead}");

    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    let file = refused(lb(&socket, &["show", "summary"]));
    assert!(file.contains(&name) && file.contains("is no socket"), "{file}");
}

#[test]
fn other_users_are_told_to_be_root() {
    let daemon = Daemon::start();
    // Where other users can reach it, which the directory of a build may not be.
    let binary = daemon.socket().with_file_name("lb");
    fs::copy(LB, &binary).unwrap();
    let mut command = Command::new(&binary);
    command.arg("--socket").arg(daemon.socket()).args(["show", "summary"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        // The same refusal by the same mode, seen from its other side.
        fs::set_permissions(daemon.socket(), PermissionsExt::from_mode(0o000)).unwrap();
    }
    let said = refused(command.output().unwrap());
    assert!(said.contains("permission denied") && said.contains("root"), "{said}");
    assert!(said.contains(&daemon.socket().display().to_string()), "{said}");
}

#[test]
fn an_answer_that_is_not_lbs_is_one_line() {
    for answer in [
        &b"\x00\xffgarbage\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",
        b"",
    ] {
        let directory = fake::directory();
        let socket = directory.path().join("lb.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let other = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _request = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let said = refused(lb(&socket, &["show", "summary"]));
        assert!(said.contains(&socket.display().to_string()), "{said}");
        other.join().unwrap();
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_one_line() {
    let limits = Limits { answer: Duration::from_millis(300), ..Limits::default() };
    let mute = Daemon::with(limits, Behaviour { mute: true, ..Behaviour::default() });
    let said = refused(lb(&mute.socket(), &["reload"]));
    assert!(said.contains("has not answered within 0.3 s"), "{said}");
}

#[test]
fn a_socket_on_which_nothing_happens_is_given_up() {
    let directory = fake::directory();
    let socket = directory.path().join("lb.sock");
    let _listening = UnixListener::bind(&socket).unwrap();
    let said = refused(lb(&socket, &["show", "summary"]));
    assert!(said.contains("has not answered on") && said.contains("within 10 s"), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon =
        Daemon::with(Limits::default(), Behaviour { flows: 20_000, ..Behaviour::default() });
    for json in [&["--limit", "20000"][..], &["--json"]] {
        let mut child = Command::new(LB)
            .arg("--socket")
            .arg(daemon.socket())
            .args(["show", "flows"])
            .args(json)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        done(child.wait_with_output().unwrap());
    }
}

#[test]
fn a_plan_is_there_for_people_and_for_programs() {
    let daemon = Daemon::start();
    let file = |name: &str, text: &str| {
        let path = daemon.socket().with_file_name(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // Larger than all that other requests may be.
    let next = file("next.toml", &"# a line of a comment\n".repeat(50_000));
    let text = done(lb(&daemon.socket(), &["plan", &next]));
    println!("{text}");
    for part in [
        "1.2 M connections would stay where they are, 0 be reset",
        "50.0%",
        "affinity",
        "csta/imp2",
        "1 → -",
        "50.0% → 0.0%",
        "- → 2",
        "\n\ncsta/imp1 keeps weight 5 set by the operator (1 in the file)\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("csta/imp1  "), "it stays as it is:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let json: Value =
        serde_json::from_str(&done(lb(&daemon.socket(), &["plan", &next, "--json"]))).unwrap();
    assert_eq!(json["backends"][1]["change"], "leaves");
    let said = refused(lb(&daemon.socket(), &["plan", &file("wrong.toml", "a = 1")]));
    assert!(said.contains("/wrong.toml:1: a: is wrong"), "{said}");
    let said = refused(lb(&daemon.socket(), &["plan", &file("large.toml", &"#".repeat(9 << 20))]));
    assert!(said.contains("/large.toml: is larger than 8 MiB"), "{said}");
    let said = refused(lb(&daemon.socket(), &["plan", "/nowhere/lb.toml"]));
    assert!(said.contains("/nowhere/lb.toml: cannot be read"), "{said}");
}
