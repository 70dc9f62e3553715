//! Whatever is asked is answered, and asks no more of the daemon than one connection.

use std::{
    io::Write as _,
    net::Shutdown,
    time::{Duration, Instant},
};

use lb_userspace::admin::{Failure, Limits};
use proptest::{prelude::*, sample::Index, test_runner::Config};

use crate::{
    fake::{Behaviour, Daemon},
    http::{AT_ONCE, answered_at_once, connect, parts, read_to_end},
};

const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "get"];

const PATHS: [&str; 18] = [
    "/v1/snapshot",
    "/v1/summary",
    "/v1/services",
    "/v1/backends",
    "/v1/keepalives",
    "/v1/drops",
    "/v1/flows",
    "/v1/flow",
    "/v1/events",
    "/v1/order",
    "/v1/reload",
    "/v1/plan",
    "/v1/trace",
    "/v1/",
    "/v1/flows/../order",
    "//v1/summary",
    "*",
    "http://lb/v1/summary",
];

const PARAMETERS: [&str; 16] = [
    "service",
    "backend",
    "client",
    "client_port",
    "state",
    "limit",
    "offset",
    "sort",
    "after",
    "file",
    "idle",
    "reverse",
    "order",
    "rate",
    "",
    "%",
];

const VALUES: [&str; 17] = [
    "csta",
    "imp1",
    "10.0.0.1",
    "10.0.0.0/8",
    "18446744073709551615",
    "2001:db8::/32",
    "established",
    "0",
    "1",
    "-1",
    "18446744073709551616",
    "%00",
    "%zz",
    "%ff",
    "",
    "a=b",
    "idle_seconds",
];

const BODIES: [&str; 8] = [
    r#"{"service":"csta","backend":"imp1","order":{"drain":{"deadline":{"secs":60,"nanos":0}}}}"#,
    r#"{"service":"csta","backend":"imp1","order":"suspend"}"#,
    r#"{"service":"csta","backend":"imp1","order":{"weight":4294967296}}"#,
    r#"{"service":"csta","backend":"imp1","order":{"drain":{"deadline":{"secs":18446744073709551615,"nanos":4294967295}}}}"#,
    r#"{"client":"10.0.0.1","rate":0,"drops":true}"#,
    "interfaces = [\"eth0\"]",
    "null",
    "",
];

fn query() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        3 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => "[!-~]{0,40}",
    ];
    let pair = (prop::sample::select(&PARAMETERS[..]), word)
        .prop_map(|(key, value)| format!("{key}={value}"));
    prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (prop::sample::select(&BODIES[..]), edits()).prop_map(|(text, edits)| edited(text.into(), edits)),
        1 => prop::collection::vec(any::<u8>(), 0..400),
        // JSON in itself, deeper than any reader likes.
        1 => (1usize..20_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

type Edit = (Index, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let meaningful = prop::sample::select(vec![
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\0",
        " ",
        ":",
        "?",
        "\"",
        "{",
        "}",
        ",",
        "1e999",
        "-",
        "\\u0000",
        "HTTP/1.1",
        "transfer-encoding: chunked\r\n",
        "content-length: 0\r\n",
        "expect: 100-continue\r\n",
        "upgrade: h2c\r\nconnection: upgrade\r\n",
        "connection: keep-alive\r\n",
    ]);
    let put = prop_oneof![
        meaningful.prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec((any::<Index>(), 0usize..30, put), 0..4)
}

fn edited(text: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    edits.into_iter().fold(text, |mut bytes, (place, length, put)| {
        let from = place.index(bytes.len() + 1);
        let to = (from + length).min(bytes.len());
        bytes.splice(from..to, put);
        bytes
    })
}

/// What is answered to these bytes, after which nothing more comes: a status, unless the connection is
/// closed without one; in time.
fn answer(daemon: &Daemon, bytes: &[u8]) -> Result<Option<(u16, String)>, TestCaseError> {
    let start = Instant::now();
    let mut stream = connect(&daemon.socket());
    // The other side may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let text = read_to_end(&mut stream);
    prop_assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    Ok((!text.is_empty()).then(|| parts(&text)))
}

/// Packets are told of for a second, which is not what is looked at here.
fn asks_for_long(path: &str) -> bool {
    path == "/v1/trace"
}

fn short() -> Limits {
    let half = Duration::from_millis(500);
    Limits { request: half, answer: half, ..Limits::default() }
}

fn config(cases: u32) -> Config {
    Config { cases, ..Config::default() }
}

#[test]
fn every_request_has_an_answer() {
    let daemon = Daemon::with(short(), Behaviour { flows: 3, ..Behaviour::default() });
    let request =
        (prop::sample::select(&METHODS[..]), prop::sample::select(&PATHS[..]), query(), body());
    proptest!(config(1000), |((method, path, query, body) in request)| {
        prop_assume!(!(asks_for_long(path) && method == "POST" && body.starts_with(b"{")));
        let length = body.len();
        let head = format!("{method} {path}?{query} HTTP/1.0\r\nhost: lb\r\ncontent-length: {length}\r\n\r\n");
        let Some((status, text)) = answer(&daemon, &[head.as_bytes(), &body].concat())? else {
            return Err(TestCaseError::fail("no answer"));
        };
        prop_assert!(matches!(status, 200 | 400 | 404 | 405 | 409), "{status}: {text}");
        // Not where the path is none that hyper reads, nor to HEAD.
        if status != 200 && !text.is_empty() {
            let failure: Result<Failure, _> = serde_json::from_str(&text);
            prop_assert!(failure.is_ok_and(|failure| !failure.error.is_empty()), "{text}");
        }
    });
    answered_at_once(&daemon.socket());
}

#[test]
fn every_damaged_request_ends() {
    let daemon = Daemon::with(short(), Behaviour { flows: 3, ..Behaviour::default() });
    let request = (prop::sample::select(&PATHS[..]), prop::sample::select(&BODIES[..]), edits());
    proptest!(config(1000), |((path, body, edits) in request)| {
        prop_assume!(!asks_for_long(path));
        let length = body.len();
        let method = if body.is_empty() { "GET" } else { "POST" };
        let text = format!("{method} {path} HTTP/1.1\r\nhost: lb\r\ncontent-length: {length}\r\n\r\n{body}");
        if let Some((status, text)) = answer(&daemon, &edited(text.into_bytes(), edits))? {
            prop_assert!(status == 100 || status == 200 || (400..500).contains(&status), "{status}: {text}");
        }
    });
    answered_at_once(&daemon.socket());
}
