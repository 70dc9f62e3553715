//! The server of a node.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::block_on;
use crate::netns::Netns;

/// What a server has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerReport {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Questions answered.
    pub answered: u64,
    /// Connections that the client closed by FIN.
    pub closed: u64,
    /// Connections that ended by RST or another error.
    pub reset: u64,
    /// The addresses that clients came from.
    pub clients: BTreeSet<IpAddr>,
}

/// How a server ends its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// A TCP line server on a thread in a node's namespace. Dropped, it closes its connections by
/// FIN and ends.
#[derive(Debug)]
pub struct Server {
    end: watch::Sender<Option<End>>,
    report: Arc<Mutex<ServerReport>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts a server named `name` at `address`, which listens when this returns.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(netns: &Netns, name: &str, address: Ipv4Addr, port: u16) -> Result<Self> {
        let (end, ended) = watch::channel(None);
        let report = Arc::default();
        let (listens, listening) = mpsc::channel();
        let thread = netns.spawn(&format!("server {name}"), {
            let (name, report) = (name.to_owned(), Arc::clone(&report));
            move || {
                block_on(async move {
                    let listener = listen(SocketAddrV4::new(address, port))?;
                    listens.send(()).ok();
                    serve(listener, &name, ended, report).await;
                    Ok(())
                })
            }
        })?;
        if listening.recv().is_err() {
            let error = match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => anyhow!("the server's thread ended"),
            };
            return Err(error.context(format!("cannot serve {name} at {address}:{port}")));
        }
        Ok(Self { end, report, thread: Some(thread) })
    }

    /// What it has seen so far.
    pub fn report(&self) -> ServerReport {
        lock(&self.report).clone()
    }

    /// Ends as a process does that is killed with data unread: the port refuses from now on,
    /// every connection is reset.
    pub fn kill(mut self) -> ServerReport {
        self.finish(End::Reset)
    }

    /// Closes every connection by FIN and ends.
    pub fn stop(mut self) -> ServerReport {
        self.finish(End::Close)
    }

    fn finish(&mut self, how: End) -> ServerReport {
        self.end.send_replace(Some(how));
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; the counts are right up to it.
            let _ = thread.join();
        }
        self.report()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.finish(End::Close);
    }
}

fn lock(report: &Mutex<ServerReport>) -> MutexGuard<'_, ServerReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddrV4) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // A server that comes back must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address.into()).context("cannot bind")?;
    socket.listen(65535).context("cannot listen")
}

async fn serve(
    listener: TcpListener,
    name: &str,
    mut ended: watch::Receiver<Option<End>>,
    report: Arc<Mutex<ServerReport>>,
) {
    let mut connections = JoinSet::new();
    let ended_for_all = ended.clone();
    loop {
        tokio::select! {
            _ = ended.wait_for(Option::is_some) => break,
            // Ended connections are taken off the set, or it would grow with each.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, SocketAddr::V4(client))) => {
                    let mut report_now = lock(&report);
                    report_now.accepted += 1;
                    report_now.open += 1;
                    report_now.clients.insert(IpAddr::V4(*client.ip()));
                    let (name, ended) = (name.to_owned(), ended_for_all.clone());
                    connections.spawn(converse(stream, client, name, ended, Arc::clone(&report)));
                }
                // The client gave up before it was accepted, or descriptors ran out for a moment.
                Ok((_, SocketAddr::V6(_))) | Err(_) => tokio::task::yield_now().await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection from accept to end.
async fn converse(
    stream: TcpStream,
    client: SocketAddrV4,
    name: String,
    mut ended: watch::Receiver<Option<End>>,
    report: Arc<Mutex<ServerReport>>,
) {
    let mut stream = BufStream::new(stream);
    let how = tokio::select! {
        how = answer_all(&mut stream, client, &name, &report) => how,
        end = ended.wait_for(Option::is_some) => {
            let reset = end.is_ok_and(|end| *end == Some(End::Reset));
            if reset && let Err(error) = stream.get_ref().set_zero_linger() {
                eprintln!("server {name}: cannot reset the connection of {client}: {error}");
            }
            lock(&report).open -= 1;
            return;
        }
    };
    let mut report = lock(&report);
    report.open -= 1;
    match how {
        Ok(()) => report.closed += 1,
        Err(_) => report.reset += 1,
    }
}

async fn answer_all(
    stream: &mut BufStream<TcpStream>,
    client: SocketAddrV4,
    name: &str,
    report: &Mutex<ServerReport>,
) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? != 0 {
        let answer = match line.trim_end().strip_prefix("ask ") {
            Some(number) => format!("{name} {client} {number}\n"),
            None => format!("not a question: {line:?}\n"),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        lock(report).answered += 1;
        line.clear();
    }
    Ok(())
}
