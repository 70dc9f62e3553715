//! One TCP keepalive: connect to the backend, and close as an orderly peer does.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::judge::Failure;
use crate::config::{Close, Keepalive};

/// How long a closed connection waits for the node's own FIN; but no longer than half an interval, so that
/// connections do not pile up.
const FAREWELL_TIME: Duration = Duration::from_millis(500);
/// How much a node may have said meanwhile.
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Connects to `address`; the time that it took, or why there was no connection in time.
pub async fn probe(address: SocketAddr, settings: &Keepalive) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let stream = connect(address, settings, begun + settings.timeout).await?;
    let latency = begun.elapsed();
    close(stream, settings);
    Ok(latency)
}

/// A connection to `address`.
pub(super) async fn connect(
    address: SocketAddr,
    settings: &Keepalive,
    deadline: Instant,
) -> Result<TcpStream, Failure> {
    let socket = socket(address, settings.source_address)?;
    match timeout_at(deadline, socket.connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(Failure::Backend("tcp connect timed out".into())),
    }
}

/// A socket to connect to `address` from; what is wanting here is not the node's fault.
fn socket(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpSocket, Failure> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| match failure(&error) {
        local @ Failure::Local(_) => local,
        Failure::Backend(_) | Failure::Refused(_) => {
            Failure::Local(format!("no socket: {error}").into())
        }
    })?;
    if let Some(source) = source {
        // Else bind would take a port from the checks of all nodes, and not only of this one.
        setsockopt(&socket, IpBindAddressNoPort, &true)
            .map_err(std::io::Error::from)
            .and_then(|()| socket.bind(SocketAddr::new(source, 0)))
            .map_err(|error| Failure::Local(format!("cannot ask from {source}: {error}").into()))?;
    }
    Ok(socket)
}

/// Closes a connection in the background.
pub(super) fn close(stream: TcpStream, settings: &Keepalive) {
    match settings.close {
        Close::Fin => {
            let wait = FAREWELL_TIME.min(settings.interval / 2);
            drop(tokio::spawn(part(stream, wait)));
        }
        // Dropped then, it sends RST; where the kernel does not take the option, FIN.
        Close::Rst => drop(stream.set_zero_linger()),
    }
}

/// Sends FIN, and reads what the node has said until its own: the kernel answers a close with RST where
/// bytes are unread or arrive later. Meanwhile nothing of the connection wakes the thread.
async fn part(stream: TcpStream, wait: Duration) {
    // The probe's outcome stands, whatever the node says after it: nothing is left to report.
    let Ok(stream) = stream.into_std() else { return };
    if stream.shutdown(Shutdown::Write).is_ok() {
        sleep(wait).await;
        // Its socket does not block: this takes what is there and waits for nothing.
        let _ = io::copy(&mut stream.take(FAREWELL_BYTES), &mut io::sink());
    }
}

fn failure(error: &io::Error) -> Failure {
    let backend = |text: &'static str| Failure::Backend(text.into());
    let local = |text: &'static str| Failure::Local(text.into());
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Failure::Refused("tcp connection refused".into()),
        Some(libc::ECONNRESET) => backend("tcp connection reset"),
        Some(libc::ETIMEDOUT) => backend("tcp connect timed out"),
        Some(libc::EHOSTUNREACH) => backend("no route to host"),
        Some(libc::ENETUNREACH) => backend("network unreachable"),
        Some(libc::EACCES | libc::EPERM) => backend("tcp connect forbidden by a local rule"),
        Some(libc::EMFILE | libc::ENFILE) => local("too many open files"),
        Some(libc::ENOBUFS | libc::ENOMEM) => local("out of memory"),
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::EAGAIN) => local("no free port"),
        _ => Failure::Backend(Cow::Owned(format!("tcp connect failed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn within(timeout: Duration) -> Keepalive {
        Keepalive { timeout, ..Keepalive::default() }
    }

    const BOTH: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

    async fn listener(local: IpAddr) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((local, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Bound but not listening: nobody else can take the port meanwhile.
    fn bound(local: IpAddr) -> (TcpSocket, SocketAddr) {
        let socket = if local.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.unwrap();
        socket.bind((local, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn an_accepting_node_answers() {
        for local in BOTH {
            let (_listener, address) = listener(local).await;
            assert!(probe(address, &within(LIMIT)).await.unwrap() < LIMIT, "{address}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        for local in BOTH {
            let (_socket, address) = bound(local);
            assert_eq!(
                probe(address, &within(LIMIT)).await,
                Err(Failure::Refused("tcp connection refused".into()))
            );
        }
    }

    #[tokio::test]
    async fn a_silent_node_times_out() {
        for local in BOTH {
            times_out(local).await;
        }
    }

    async fn times_out(local: IpAddr) {
        // A full backlog: the kernel drops each further SYN.
        let (socket, address) = bound(local);
        let _listener = socket.listen(0).unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            held.push(stream);
            assert!(held.len() < 16, "the backlog of {address} does not fill");
        }

        let begun = Instant::now();
        let limit = Duration::from_millis(200);
        assert_eq!(
            probe(address, &within(limit)).await,
            Err(Failure::Backend("tcp connect timed out".into()))
        );
        assert!(begun.elapsed() >= limit);
    }

    #[tokio::test]
    async fn the_node_sees_a_fin_even_if_it_has_spoken() {
        for local in BOTH {
            sees_a_fin(local).await;
        }
    }

    async fn sees_a_fin(local: IpAddr) {
        let (listener, address) = listener(local).await;
        let node = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&[b'x'; 4096]).await.unwrap();
            let mut heard = Vec::new();
            // A reset would be an error here.
            stream.read_to_end(&mut heard).await.unwrap();
            // And one after our own words would be an error here.
            stream.write_all(b"goodbye").await.unwrap();
            stream.shutdown().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let error = stream.take_error().unwrap();
            (heard.len(), error.map(|error| error.to_string()))
        });
        probe(address, &within(LIMIT)).await.unwrap();
        assert_eq!(timeout(LIMIT, node).await.unwrap().unwrap(), (0, None));
    }

    #[tokio::test]
    async fn where_that_is_wanted_the_node_sees_a_reset_and_the_address_that_asks() {
        let (listener, address) = listener(BOTH[0]).await;
        let source = IpAddr::from([127, 0, 0, 9]);
        let settings =
            Keepalive { close: Close::Rst, source_address: Some(source), ..within(LIMIT) };
        let (asked, accepted) = tokio::join!(probe(address, &settings), listener.accept());
        asked.unwrap();
        let (mut stream, from) = accepted.unwrap();
        assert_eq!(from.ip(), source);
        let heard = timeout(LIMIT, stream.read(&mut [0; 8])).await.unwrap();
        assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn an_address_that_this_machine_does_not_have_is_not_the_nodes_fault() {
        let (_listener, address) = listener(BOTH[0]).await;
        let source_address = Some(IpAddr::from([192, 0, 2, 77]));
        let failure = probe(address, &Keepalive { source_address, ..within(LIMIT) }).await;
        let Err(Failure::Local(why)) = failure else { panic!("{failure:?}") };
        assert!(why.starts_with("cannot ask from 192.0.2.77: "), "{why}");
    }

    #[test]
    fn want_of_this_machine_is_not_the_nodes_fault() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::EADDRNOTAVAIL] {
            let failure = failure(&io::Error::from_raw_os_error(errno));
            assert!(matches!(failure, Failure::Local(_)), "{failure:?}");
        }
        for errno in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ETIMEDOUT, libc::EIO] {
            let failure = failure(&io::Error::from_raw_os_error(errno));
            assert!(matches!(failure, Failure::Backend(_)), "{failure:?}");
        }
    }
}
