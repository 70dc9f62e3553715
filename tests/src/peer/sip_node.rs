//! A node that speaks SIP, as far as keepalives ask.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{apart, server::listen};
use crate::netns::Netns;

/// Not a status of SIP: it says nothing.
const MUTE: u16 = 0;

/// What a node has seen of who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// From where.
    pub clients: BTreeSet<IpAddr>,
    /// Connections that they closed by FIN.
    pub closed: u64,
    /// Connections that they reset.
    pub reset: u64,
}

/// Answers every request with one status, or takes connections and says nothing. Dropped, it ends.
#[derive(Debug)]
pub struct SipNode {
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Seen>>,
    end: Sender<()>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl SipNode {
    /// Starts one that answers 200, and listens when this returns.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(netns: &Netns, address: impl Into<IpAddr>, port: u16) -> Result<Self> {
        let address = SocketAddr::new(address.into(), port);
        let status = Arc::new(AtomicU16::new(200));
        let seen = Arc::default();
        let (listens, listening) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = apart::spawn(netns, "sip node", {
            let (status, seen) = (Arc::clone(&status), Arc::clone(&seen));
            move || async move {
                let listener = listen(address, false)?;
                listens.send(()).ok();
                serve(listener, ended, status, seen).await;
                Ok(())
            }
        })?;
        let thread = apart::listening(thread, &listening)
            .with_context(|| format!("cannot serve {address}"))?;
        Ok(Self { status, seen, end, thread: Some(thread) })
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Answers with this status from now on.
    pub fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Says nothing from now on.
    pub fn falls_mute(&self) {
        self.says(MUTE);
    }
}

impl Drop for SipNode {
    fn drop(&mut self) {
        // One that has ended by itself needs no order.
        let _ = self.end.send(());
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    listener: TcpListener,
    ended: Receiver<()>,
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Seen>>,
) {
    let mut connections = JoinSet::new();
    let end = apart::next_order(&ended);
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = &mut end => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    lock(&seen).clients.insert(client.ip());
                    let (status, seen) = (Arc::clone(&status), Arc::clone(&seen));
                    connections.spawn(async move {
                        match answer(stream, status).await {
                            Ok(()) => lock(&seen).closed += 1,
                            Err(_) => lock(&seen).reset += 1,
                        }
                    });
                }
                Err(_) => tokio::task::yield_now().await,
            },
        }
    }
}

/// One connection, until the other side ends it.
async fn answer(mut stream: TcpStream, status: Arc<AtomicU16>) -> std::io::Result<()> {
    let (mut heard, mut buffer) = (String::new(), [0; 2048]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        heard += &String::from_utf8_lossy(&buffer[..read]);
        while let Some(end) = heard.find("\r\n\r\n") {
            let request: String = heard.drain(..end + 4).collect();
            let status = status.load(Ordering::Relaxed);
            if status != MUTE {
                stream.write_all(reply(&request, status).as_bytes()).await?;
            }
        }
    }
}

/// What a user agent answers to a request without a body (RFC 3261, section 8.2.6).
fn reply(request: &str, status: u16) -> String {
    const COPIED: [&str; 5] = ["Via", "From", "To", "Call-ID", "CSeq"];
    let copied = request
        .split("\r\n")
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| COPIED.contains(&name)));
    let copied: String = copied.flat_map(|line| [line, "\r\n"]).collect();
    format!("SIP/2.0 {status} As ordered\r\n{copied}Content-Length: 0\r\n\r\n")
}
