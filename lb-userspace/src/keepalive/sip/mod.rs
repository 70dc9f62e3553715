//! One SIP keepalive: an OPTIONS request over TCP (RFC 3261, section 11), and what its answer says.

mod stream;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{judge::Failure, tcp};
use crate::config::Keepalive;
use stream::{Stream, Unusable};

/// Asks the node at `address` for its options: the time until its final answer; why there was none, or
/// that it was one of the settings' statuses for a node that is down.
pub async fn probe(address: SocketAddr, settings: &Keepalive) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let deadline = begun + settings.timeout;
    let mut connection = tcp::connect(address, settings, deadline).await?;
    let late = || Failure::Backend("sip options not answered in time".into());
    let status = timeout_at(deadline, ask(&mut connection, address)).await.map_err(|_| late());
    let latency = begun.elapsed();
    tcp::close(connection, settings);
    let status = status??;
    if settings.down_statuses.contains(&status) {
        return Err(Failure::Backend(format!("sip options answered by {status}").into()));
    }
    Ok(latency)
}

/// The status of the final answer.
async fn ask(connection: &mut TcpStream, address: SocketAddr) -> Result<u16, Failure> {
    let lost = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE) => {
            Failure::Backend("tcp connection reset before an answer".into())
        }
        _ => Failure::Backend(format!("sip options not answered: {error}").into()),
    };
    let local = connection.local_addr().map_err(lost)?;
    let request = Request::new(address, local);
    connection.write_all(request.to_string().as_bytes()).await.map_err(lost)?;
    let (mut stream, mut buffer) = (Stream::new(&request.call_id), [0; 2048]);
    loop {
        let read = connection.read(&mut buffer).await.map_err(lost)?;
        if read == 0 {
            return Err(Failure::Backend("tcp connection closed before an answer".into()));
        }
        match stream.take(&buffer[..read]) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(Unusable::NotSip) => return Err(Failure::Backend("the answer is no SIP".into())),
            Err(Unusable::TooLong) => {
                return Err(Failure::Backend("too much said, and no answer to sip options".into()));
            }
        }
    }
}

/// The method and number of the one request of a connection.
const CSEQ: &str = "1 OPTIONS";

/// An OPTIONS request; displayed, it is the text that is sent.
struct Request {
    node: SocketAddr,
    local: SocketAddr,
    branch: u64,
    tag: u64,
    call_id: String,
}

impl Request {
    /// With a branch, a tag and a Call-ID that no other one has.
    fn new(node: SocketAddr, local: SocketAddr) -> Self {
        // Of the operating system's randomness.
        let random = |what: &str| RandomState::new().hash_one(what);
        let call_id = format!("{:016x}@{}", random("call"), host(local));
        Self { node, local, branch: random("branch"), tag: random("tag"), call_id }
    }
}

/// The address as a SIP URI has it.
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, local, branch, tag, call_id } = self;
        let (from, to) = (host(*local), host(*node));
        let (node_port, local_port) = (node.port(), local.port());
        write!(
            f,
            "OPTIONS sip:{to}:{node_port};transport=tcp SIP/2.0\r\n\
             Via: SIP/2.0/TCP {from}:{local_port};branch=z9hG4bK{branch:016x}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:lb@{from}>;tag={tag:016x}\r\n\
             To: <sip:{to}:{node_port}>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {CSEQ}\r\n\
             Contact: <sip:lb@{from}:{local_port};transport=tcp>\r\n\
             Accept: application/csta+xml\r\n\
             Content-Length: 0\r\n\
             \r\n"
        )
    }
}

#[cfg(test)]
mod tests;
