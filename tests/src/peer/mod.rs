//! Real TCP peers over the kernel's stack: a server for a node, and clients that know which node
//! they talk to.
//!
//! The protocol is one line each way. `ask N` is answered by `NODE ADDRESS:PORT N`: the node's
//! name and the client's address as the node sees it, so a client can tell who serves it and
//! whether its address was kept.

mod answer;
mod held;
mod server;
mod short;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};

pub use held::{Break, BreakKind, HeldConnections, HeldPlan, HeldReport, Move};
pub use server::{Server, ServerReport};
pub use short::{ShortPlan, ShortReport, short_connections};

/// Runs `work` to its end on the calling thread alone, so that its sockets belong to the
/// namespace of this thread.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Connects from `source`, or from the address that the route suggests.
async fn connect(target: SocketAddrV4, source: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        // Without it bind alone would choose a port, and the ports of one address would be used
        // up by all targets together.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddrV4::new(source, 0).into())?;
    }
    let stream = socket.connect(target.into()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A short name for what went wrong, the same for every occurrence, so that it can be counted.
fn reason(doing: &str, error: &std::io::Error) -> String {
    format!("{doing}: {}", error.kind())
}

/// The source of connection number `i` where the sources are used in turn.
fn source(sources: &[Ipv4Addr], i: usize) -> Option<Ipv4Addr> {
    (!sources.is_empty()).then(|| sources[i % sources.len()])
}

/// How long a connection may take to open, or a question to be answered, unless a plan says else.
const PATIENCE: Duration = Duration::from_secs(5);
