//! What a client that misbehaves can do to the daemon and to others: nothing.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use lb_userspace::admin::Limits;

use crate::{
    fake::{Behaviour, Daemon},
    http::{AT_ONCE, PATIENCE, answered_at_once, ask, connect, error, parts, read_to_end},
};

fn short() -> Limits {
    let half = Duration::from_millis(500);
    Limits { request: half, answer: half, ..Limits::default() }
}

#[test]
fn a_daemon_that_does_not_answer_is_reported() {
    let daemon = Daemon::with(short(), Behaviour { mute: true, ..Behaviour::default() });
    let (status, text) = error(ask(&daemon.socket(), "GET", "/v1/summary", ""));
    assert_eq!(status, 504, "{text}");
    assert!(text.contains("0.5 s"), "{text}");
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let daemon = Daemon::with(short(), Behaviour::default());
    let noise: Vec<u8> =
        (0..200_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for garbage in [&noise[..], &[0; 100_000], b"\r\n\r\n\r\n", b"GET", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = connect(&daemon.socket());
        // The other side may close before it has read all.
        let _written = stream.write_all(garbage);
        answered_at_once(&daemon.socket());
        let answer = read_to_end(&mut stream);
        assert!(answer.is_empty() || parts(&answer).0 >= 400, "{answer}");
    }
}

#[test]
fn packets_are_told_of_for_longer_than_other_answers_take() {
    let limits = Limits { connection: Duration::from_millis(300), ..short() };
    let daemon = Daemon::with(limits, Behaviour::default());
    let (status, text) = ask(&daemon.socket(), "POST", "/v1/trace", "{}");
    assert_eq!(status, 200, "{text}");
    assert_eq!(text.matches("left_out").count(), 10, "{text}");
    for wrong in ["", "{\"client\":\"nobody\"}", "{\"rate\":0}", "{\"unknown\":1}"] {
        assert_eq!(error(ask(&daemon.socket(), "POST", "/v1/trace", wrong)).0, 400, "{wrong}");
    }
}

#[test]
fn a_client_that_hangs_is_cut_off_and_others_are_answered_meanwhile() {
    let daemon = Daemon::with(short(), Behaviour::default());
    let mut silent = connect(&daemon.socket());
    let mut half = connect(&daemon.socket());
    half.write_all(b"POST /v1/order HTTP/1.1\r\nhost: lb\r\ncontent-length: 9\r\n\r\n").unwrap();
    answered_at_once(&daemon.socket());

    let start = Instant::now();
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(error(parts(&read_to_end(&mut half))).0, 408);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn slow_heads_are_cut_off() {
    let daemon = Daemon::with(short(), Behaviour::default());
    let mut stream = connect(&daemon.socket());
    let start = Instant::now();
    let head = "GET /v1/summary HTTP/1.1\r\nhost: lb\r\nx-slow: ".bytes().chain([b'a'; 1000]);
    for byte in head {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(read_to_end(&mut stream), "");
}

#[test]
fn large_heads_are_refused() {
    let daemon = Daemon::with(short(), Behaviour::default());
    let mut wide = connect(&daemon.socket());
    let line = format!("GET /v1/summary HTTP/1.1\r\nhost: lb\r\nx-wide: {}", "a".repeat(200_000));
    let _written = wide.write_all(line.as_bytes());
    let status = parts(&read_to_end(&mut wide)).0;
    assert!(matches!(status, 431), "{status}");

    let mut many = connect(&daemon.socket());
    let lines: String = (0..1000).map(|number| format!("x-{number}: a\r\n")).collect();
    let _written = many.write_all(format!("GET /v1/summary HTTP/1.1\r\n{lines}\r\n").as_bytes());
    assert_eq!(parts(&read_to_end(&mut many)).0, 431);

    let mut long = connect(&daemon.socket());
    let _written = long.write_all(format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)).as_bytes());
    assert!(matches!(parts(&read_to_end(&mut long)).0, 414 | 431));
    answered_at_once(&daemon.socket());
}

#[test]
fn one_large_body_is_taken_at_a_time_and_none_for_long() {
    let limits = Limits { request: Duration::from_secs(1), ..Limits::default() };
    let daemon = Daemon::with(limits, Behaviour::default());
    let head = |length: usize| {
        format!("POST /v1/plan?file=a HTTP/1.0\r\nhost: lb\r\ncontent-length: {length}\r\n\r\n")
    };
    let mut slow: Vec<UnixStream> = (0..20).map(|_| connect(&daemon.socket())).collect();
    for stream in &mut slow {
        stream.write_all(head(1 << 20).as_bytes()).unwrap();
        // All that the kernel keeps of it, where the daemon reads none.
        stream.set_nonblocking(true).unwrap();
        let _written = stream.write(&[b'#'; 500_000]);
        stream.set_nonblocking(false).unwrap();
    }
    let start = Instant::now();
    answered_at_once(&daemon.socket());
    for stream in &mut slow {
        assert_eq!(error(parts(&read_to_end(stream))).0, 408);
    }
    assert!(start.elapsed() < AT_ONCE, "all wait together: {:?}", start.elapsed());
    let body = "#".repeat(1 << 20);
    assert_eq!(ask(&daemon.socket(), "POST", "/v1/plan?file=a", &body).0, 200);

    let mut huge = connect(&daemon.socket());
    let _written = huge.write_all(head(9 << 20).as_bytes());
    let (status, text) = error(parts(&read_to_end(&mut huge)));
    assert_eq!((status, text.as_str()), (413, "the body is larger than 8192 KiB"));
}

#[test]
fn of_a_thousand_that_wait_for_an_answer_the_next_is_told_so() {
    let limits = Limits { answer: PATIENCE, connection: PATIENCE, ..Limits::default() };
    let most = limits.connections;
    let daemon = Daemon::with(limits, Behaviour { mute: true, ..Behaviour::default() });
    let clients: Vec<UnixStream> = (0..1000)
        .map(|_| {
            let mut stream = connect(&daemon.socket());
            // One that is refused at once may be closed already.
            let _written = stream.write_all(b"GET /v1/summary HTTP/1.1\r\nhost: lb\r\n\r\n");
            stream
        })
        .collect();
    // One that has not been read yet gives its place to the next.
    let mut waiting: Vec<_> = clients.iter().collect();
    let start = Instant::now();
    while waiting.len() > most {
        assert!(start.elapsed() < AT_ONCE, "{} are not told", waiting.len() - most);
        waiting.retain(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut answer = [0; 12];
            match (&mut &**stream).read(&mut answer) {
                Ok(read) => assert_eq!(&answer[..read], b"HTTP/1.1 503"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            answer == [0; 12]
        });
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(waiting.len(), most);
    let (status, text) = error(ask(&daemon.socket(), "GET", "/v1/summary", ""));
    assert_eq!(
        (status, text.as_str()),
        (503, "too many requests at a time: try again in a moment")
    );
}

#[test]
fn two_hundred_hanging_clients_keep_nobody_out() {
    // The usual limits: nothing may depend on the hanging ones being cut off soon.
    let daemon = Daemon::start();
    let hanging: Vec<UnixStream> = (0..200).map(|_| connect(&daemon.socket())).collect();
    for _ in 0..20 {
        answered_at_once(&daemon.socket());
    }
    drop(hanging);
    answered_at_once(&daemon.socket());
}

#[test]
fn where_all_are_busy_the_next_is_refused_at_once() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let daemon = Daemon::with(limits, Behaviour { mute: true, ..Behaviour::default() });
    let mut busy = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&daemon.socket());
        stream.write_all(b"GET /v1/summary HTTP/1.1\r\nhost: lb\r\n\r\n").unwrap();
        busy.push(stream);
    }
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    let mut refused = connect(&daemon.socket());
    let (status, text) = error(parts(&read_to_end(&mut refused)));
    assert_eq!(status, 503, "{text}");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_leaves_its_place() {
    let limits = Limits { flow_lists: 1, connection: Duration::from_secs(2), ..Limits::default() };
    let daemon = Daemon::with(limits, Behaviour { flows: 100_000, ..Behaviour::default() });
    let mut deaf = connect(&daemon.socket());
    deaf.write_all(b"GET /v1/flows HTTP/1.0\r\n\r\n").unwrap();
    // Its first bytes are there: the list is being written.
    let mut first = [0];
    deaf.read_exact(&mut first).unwrap();
    answered_at_once(&daemon.socket());
    let (status, text) = error(ask(&daemon.socket(), "GET", "/v1/flows", ""));
    assert_eq!(status, 503, "{text}");

    let start = Instant::now();
    while ask(&daemon.socket(), "GET", "/v1/flows", "").0 != 200 {
        assert!(start.elapsed() < PATIENCE, "its place is never free again");
        thread::sleep(Duration::from_millis(100));
    }
    let rest = read_to_end(&mut deaf);
    let body = rest.split_once("\r\n\r\n").unwrap().1;
    assert!(body.starts_with("[\n{") && !body.ends_with("]\n"), "it has got all of the list");
}

#[test]
fn large_bodies_are_refused() {
    let daemon = Daemon::start();
    let mut announced = connect(&daemon.socket());
    announced.write_all(b"POST /v1/order HTTP/1.0\r\ncontent-length: 65537\r\n\r\n").unwrap();
    let _written = announced.write_all(&[b' '; 65_537]);
    assert_eq!(error(parts(&read_to_end(&mut announced))).0, 413);

    let mut chunked = connect(&daemon.socket());
    chunked
        .write_all(b"POST /v1/order HTTP/1.1\r\nhost: lb\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..65 {
        let _written = chunked.write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes());
    }
    assert_eq!(error(parts(&read_to_end(&mut chunked))).0, 413);
}

#[test]
fn a_client_that_closes_its_side_after_the_request_is_answered() {
    // The answer comes when the other side has long seen the end of the request's stream.
    let delay = Duration::from_millis(300);
    let daemon = Daemon::with(Limits::default(), Behaviour { delay, ..Behaviour::default() });
    let mut stream = connect(&daemon.socket());
    stream.write_all(b"GET /v1/summary HTTP/1.0\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(parts(&read_to_end(&mut stream)).0, 200);
}

#[test]
fn the_end_does_not_wait_for_clients_that_hang() {
    let mut daemon = Daemon::start();
    let mut hanging = connect(&daemon.socket());
    answered_at_once(&daemon.socket());
    let start = Instant::now();
    daemon.stop();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(!daemon.socket().exists());
    assert_eq!(read_to_end(&mut hanging), "");
}
