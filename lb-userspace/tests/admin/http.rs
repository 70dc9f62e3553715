//! A client that can do everything wrong.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use lb_userspace::admin::Failure;

/// What "at once" means on a busy machine.
pub const AT_ONCE: Duration = Duration::from_secs(3);
/// How long a test waits before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the end of the connection, however it ends; panics where it does not.
pub fn read_to_end(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection stays open")
            }
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

/// One request on a connection of its own; the status and the body of the answer.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = connect(socket);
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.0\r\nhost: lb\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    parts(&read_to_end(&mut stream))
}

/// Status and body of an answer of HTTP/1.0, which has no chunks.
pub fn parts(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{head:?}")), body.to_owned())
}

/// Status and sentence of an answer that is a refusal.
pub fn error((status, body): (u16, String)) -> (u16, String) {
    match serde_json::from_str(&body) {
        Ok(Failure { error }) => (status, error),
        Err(error) => panic!("{error}: {status} {body:?}"),
    }
}

pub fn answered_at_once(socket: &Path) {
    let start = Instant::now();
    let (status, body) = ask(socket, "GET", "/v1/summary", "");
    assert_eq!(status, 200, "{body}");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}
