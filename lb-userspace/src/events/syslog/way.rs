//! One connection to a receiver, of whichever kind.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, setsockopt, sockopt::TcpUserTimeout},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket, UnixDatagram},
    time::timeout,
};

use super::format::octet_counted;
use crate::config::SyslogTarget;

/// How long a connection may take to open, and a message to be handed to the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a receiver may leave data without acknowledgement, in milliseconds.
const UNACKNOWLEDGED: u32 = 10_000;

/// A connection.
#[derive(Debug)]
pub(super) enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Way {
    /// Opens one.
    pub(super) async fn open(target: &SyslogTarget) -> io::Result<Self> {
        in_time(async {
            match target {
                SyslogTarget::Udp(address) => {
                    let any = if address.is_ipv4() {
                        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
                    } else {
                        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
                    };
                    let socket = UdpSocket::bind(any).await?;
                    socket.connect(address).await?;
                    Ok(Self::Udp(socket))
                }
                SyslogTarget::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    setsockopt(&stream, TcpUserTimeout, &UNACKNOWLEDGED)?;
                    Ok(Self::Tcp(stream))
                }
                SyslogTarget::Unix(path) => {
                    let socket = UnixDatagram::unbound()?;
                    socket.connect(path)?;
                    Ok(Self::Unix(socket))
                }
            }
        })
        .await
    }

    /// Hands a message to the kernel.
    ///
    /// # Errors
    /// Where the way leads nowhere any more. Over UDP it is an earlier message that was not taken.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        in_time(async {
            match self {
                Self::Udp(socket) => socket.send(message).await.map(drop),
                Self::Unix(socket) => socket.send(message).await.map(drop),
                Self::Tcp(stream) => {
                    refuse_ended(stream)?;
                    stream.write_all(&octet_counted(message)).await
                }
            }
        })
        .await
    }
}

/// Refuses a connection that the receiver ended. It says nothing else: what can be read is its end, after which
/// the kernel would take one more message, and nobody that.
///
/// # Errors
/// Where it did.
fn refuse_ended(stream: &TcpStream) -> io::Result<()> {
    // The kernel itself is asked: what the runtime knows of a socket can be older than its end.
    match recv(stream.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    timeout(PATIENCE, step).await.map_err(late)?
}
