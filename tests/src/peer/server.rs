//! The server of a node.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{apart, buffered, bulk, socket_for};
use crate::netns::Netns;

/// What a server has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerReport {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Questions answered, transfers among them.
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
    /// It has no new ones.
    Refuse,
    Close,
    Reset,
}

/// A TCP line server on threads in a node's namespace. Dropped, it closes its connections by FIN
/// and ends.
#[derive(Debug)]
pub struct Server {
    report: Arc<Mutex<ServerReport>>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    end: mpsc::Sender<End>,
    thread: JoinHandle<Result<()>>,
}

impl Server {
    /// Starts a server named `name` at `address`, which listens when this returns. It can have
    /// nearly as many connections as the limit on open files says, whatever else is open.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(netns: &Netns, name: &str, address: impl Into<IpAddr>, port: u16) -> Result<Self> {
        Self::start_wide(netns, name, address, port, 1)
    }

    /// As [`Server::start`], with so many workers, among which the kernel divides the connections,
    /// each with the whole limit on open files for itself.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start_wide(
        netns: &Netns,
        name: &str,
        address: impl Into<IpAddr>,
        port: u16,
        workers: usize,
    ) -> Result<Self> {
        let address = SocketAddr::new(address.into(), port);
        let mut server = Self { report: Arc::default(), workers: Vec::new() };
        for _ in 0..workers.max(1) {
            server
                .add_worker(netns, name, address, workers > 1)
                .with_context(|| format!("cannot serve {name} at {address}"))?;
        }
        Ok(server)
    }

    fn add_worker(
        &mut self,
        netns: &Netns,
        name: &str,
        address: SocketAddr,
        shared: bool,
    ) -> Result<()> {
        let (listens, listening) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = apart::spawn(netns, &format!("server {name}"), {
            let (name, report) = (name.to_owned(), Arc::clone(&self.report));
            move || async move {
                let listener = listen(address, shared)?;
                listens.send(()).ok();
                serve(listener, &name, ended, report).await;
                Ok(())
            }
        })?;
        let thread = apart::listening(thread, &listening)?;
        self.workers.push(Worker { end, thread });
        Ok(())
    }

    /// What it has seen so far.
    pub fn report(&self) -> ServerReport {
        lock(&self.report).clone()
    }

    /// Its port refuses from now on; the connections that it has go on.
    pub fn refuse(&self) {
        for worker in &self.workers {
            // As in `finish`.
            let _ = worker.end.send(End::Refuse);
        }
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
        for worker in &self.workers {
            // One that has ended by itself needs no order.
            let _ = worker.end.send(how);
        }
        for worker in self.workers.drain(..) {
            // A panic there has already been printed; the counts are right up to it.
            let _ = worker.thread.join();
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

/// A listening socket, which others at the same address may share.
pub(super) fn listen(address: SocketAddr, shared: bool) -> Result<TcpListener> {
    let socket = socket_for(address)?;
    // A server that comes back must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address).context("cannot bind")?;
    socket.listen(65535).context("cannot listen")
}

async fn serve(
    listener: TcpListener,
    name: &str,
    orders: mpsc::Receiver<End>,
    report: Arc<Mutex<ServerReport>>,
) {
    let mut connections = JoinSet::new();
    let (end, ended) = watch::channel(None);
    let order = apart::next_order(&orders);
    tokio::pin!(order);
    let how = loop {
        tokio::select! {
            how = &mut order => break how,
            // Ended connections are taken off the set, or it would grow with each.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    let mut report_now = lock(&report);
                    report_now.accepted += 1;
                    report_now.open += 1;
                    report_now.clients.insert(client.ip());
                    let (name, ended) = (name.to_owned(), ended.clone());
                    connections.spawn(converse(stream, client, name, ended, Arc::clone(&report)));
                }
                // The client gave up before it was accepted, or descriptors ran out for a moment.
                Err(_) => tokio::task::yield_now().await,
            },
        }
    };
    drop(listener);
    let how = if how == Some(End::Refuse) { apart::next_order(&orders).await } else { how };
    end.send_replace(how.or(Some(End::Close)));
    while connections.join_next().await.is_some() {}
}

/// One connection from accept to end.
async fn converse(
    stream: TcpStream,
    client: SocketAddr,
    name: String,
    mut ended: watch::Receiver<Option<End>>,
    report: Arc<Mutex<ServerReport>>,
) {
    let mut stream = buffered(stream);
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
    client: SocketAddr,
    name: &str,
    report: &Mutex<ServerReport>,
) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? != 0 {
        let question = line.trim_end();
        if let Some(words) = question.strip_prefix("bulk ") {
            bulk::serve(stream, name, words).await?;
        } else if let Some(bytes) = question.strip_prefix("take ") {
            bulk::take(stream, name, bytes).await?;
        } else {
            let answer = match question.strip_prefix("ask ") {
                Some(number) => format!("{name} {client} {number}\n"),
                None => format!("not a question: {line:?}\n"),
            };
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
        lock(report).answered += 1;
        line.clear();
    }
    Ok(())
}
