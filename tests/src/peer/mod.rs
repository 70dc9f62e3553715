//! Real TCP peers over the kernel's stack: a server for a node, and clients that know which node
//! they talk to.
//!
//! The protocol is one line each way. `ask N` is answered by `NODE ADDRESS:PORT N`: the node's
//! name and the client's address as the node sees it, so a client can tell who serves it and
//! whether its address was kept. `bulk SEED UP DOWN` begins a transfer of so many bytes each way,
//! `take N` one of bytes that nobody looks at, as fast as can be.

mod answer;
mod apart;
mod bulk;
mod held;
pub mod kamailio;
mod open_many;
mod returning;
mod server;
mod short;
mod sip_node;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::io::BufStream;
use tokio::net::{TcpSocket, TcpStream};

pub use bulk::{BulkPlan, BulkReport, Transferred};
pub use held::{Break, BreakKind, HeldConnections, HeldPlan, HeldReport, Move};
pub use kamailio::Kamailio;
pub use open_many::{OpenMany, OpenManyPlan, OpenManyReport, sources};
pub use returning::ReturningClients;
pub use server::{Server, ServerReport};
pub use short::{ShortPlan, ShortReport, short_connections};
pub use sip_node::{Seen, SipNode};

/// Runs `work` to its end on the calling thread alone, so that its sockets belong to the
/// namespace of this thread.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A socket of the family of `address`.
fn socket_for(address: SocketAddr) -> std::io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// Connects from `source`, port 0 standing for any, or from what the route suggests.
async fn connect(target: SocketAddr, source: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = socket_for(target)?;
    if let Some(source) = source {
        if source.port() == 0 {
            // Without it bind alone would choose a port, and the ports of one address would be
            // used up by all targets together.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
        } else {
            // The port may just have been used towards another target.
            socket.set_reuseaddr(true)?;
        }
        socket.bind(source)?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Buffers a line each way, and no more: there are tens of thousands of connections.
fn buffered(stream: TcpStream) -> BufStream<TcpStream> {
    const LINE: usize = 128;
    BufStream::with_capacity(LINE, LINE, stream)
}

/// A short name for what went wrong, the same for every occurrence, so that it can be counted.
fn reason(doing: &str, error: &std::io::Error) -> String {
    match error.raw_os_error() {
        // Rust has no kind for these.
        Some(code @ (libc::EMFILE | libc::ENFILE)) => {
            format!("{doing}: {}", std::io::Error::from_raw_os_error(code))
        }
        _ => format!("{doing}: {}", error.kind()),
    }
}

/// The source of connection number `i` where the sources are used in turn.
fn source(sources: &[IpAddr], i: usize) -> Option<SocketAddr> {
    (!sources.is_empty()).then(|| SocketAddr::new(sources[i % sources.len()], 0))
}

/// How long a connection may take to open, or a question to be answered, unless a plan says else.
const PATIENCE: Duration = Duration::from_secs(5);
