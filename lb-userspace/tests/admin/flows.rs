//! `lb show flows` and `lb show flow` as an operator meets them.

use lb_userspace::admin::Limits;
use serde_json::Value;

use crate::{
    cli::{done, lb},
    fake::{Behaviour, Daemon},
};

#[test]
fn flows_are_filtered_and_limited() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let show = |args: &[&str]| done(lb(&socket, &[&["show", "flows"], args].concat()));
    assert_eq!(
        show(&["--backend", "imp2", "--service", "csta", "--client", "10.0.0.1"]),
        "BACKEND    CLIENT          STATE        IDLE\n\
         csta/imp2  10.0.0.1:10001  established    1s\n"
    );
    assert_eq!(show(&["--state", "closed"]), "no flows\n");
    assert_eq!(show(&["--state", "closed", "--json"]), "[]\n");
    assert_eq!(show(&["--client", "2001:db8::1"]), "no flows\n");
    assert_eq!(show(&["--client", "10.0.0.0/30", "--client-port", "10001"]).lines().count(), 2);
    assert_eq!(show(&["--client", "10.0.0.4/30"]), "no flows\n");
    assert_eq!(
        show(&["--sort", "idle", "--reverse", "--limit", "2"]),
        "BACKEND    CLIENT          STATE        IDLE\n\
         csta/imp1  10.0.0.1:10002  established    2s\n\
         csta/imp2  10.0.0.1:10001  established    1s\n\
         flows 1 to 2 of 3; the next ones: --offset 2, more of them: --limit N\n"
    );
    assert!(show(&["--limit", "2", "--offset", "2"]).ends_with("\nflows 3 to 3 of 3\n"));
    assert_eq!(show(&["--offset", "3"]), "no flow after the first 3: 3 match\n");
    let page: Value = serde_json::from_str(&show(&["--limit", "2", "--json"])).unwrap();
    assert_eq!(page.as_array().map(Vec::len), Some(2));
}

#[test]
fn people_are_shown_a_hundred_flows_and_how_many_more_there_are() {
    let daemon =
        Daemon::with(Limits::default(), Behaviour { flows: 100_000, ..Behaviour::default() });
    let text = done(lb(&daemon.socket(), &["show", "flows"]));
    assert_eq!(text.lines().count(), 102, "a heading, a hundred, and how many more:\n{text}");
    let last = "\nflows 1 to 100 of 100000; the next ones: --offset 100, more of them: --limit N\n";
    assert!(text.ends_with(last), "{text}");
    let json = done(lb(&daemon.socket(), &["show", "flows", "--json"]));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&json).unwrap().len(), 100_000);
}

#[test]
fn one_connection_is_explained_and_one_that_is_not_there_is_a_failure() {
    let daemon = Daemon::start();
    let there = done(lb(&daemon.socket(), &["show", "flow", "10.0.0.7:40000"]));
    assert_eq!(
        there,
        "\
client     10.0.0.7:40000, inbound
service    csta, 192.0.2.100:5060
backend    imp1, 10.0.0.11:5060
which is   up: tcp connect succeeded, 2 of 2
why there  by the consistent hash of the connection's ends
state      established, idle 0s
seen as    192.0.2.100:1024
"
    );
    for json in [false, true] {
        let args = ["show", "flow", "[2001:db8::7]:40001", "--json"];
        let output = lb(&daemon.socket(), if json { &args } else { &args[..3] });
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "lb: there is no connection of [2001:db8::7]:40001\n");
        let text = String::from_utf8(output.stdout).unwrap();
        if json {
            let report: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(report["new_connections"][0]["backend"], "imp2");
        } else {
            assert_eq!(
                text,
                "\
[2001:db8::7]:40001 has no connection; a new one would go to:

SERVICE  VIP               BACKEND  WHY
csta     192.0.2.100:5060  imp2     by the consistent hash of the connection's ends
"
            );
        }
    }
}
