//! Clients that connect again as soon as their connection breaks, as SIP entities do, and know for how long
//! they had no service.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::ask;
use super::{block_on, buffered, connect};
use crate::netns::Netns;

/// The time between two questions, and from a connection that broke or was refused to the next.
const PAUSE: Duration = Duration::from_millis(20);
/// A transaction's patience (timer F of RFC 3261, section 17.1.2.2): longer than any test.
const PATIENCE: Duration = Duration::from_secs(32);

/// Clients with a connection each. Dropped, they end.
#[derive(Debug)]
pub struct ReturningClients {
    stop: watch::Sender<bool>,
    clients: Arc<Mutex<Vec<Client>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What one of them knows.
#[derive(Debug, Clone)]
struct Client {
    /// When it last had an answer.
    last: Instant,
    /// The longest time between two answers.
    longest: Duration,
    /// Connections that it could not open.
    refused: usize,
}

impl ReturningClients {
    /// Begins with `count` of them, and waits for the first answer of each.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or one has no answer in a few seconds.
    pub fn start(netns: &Netns, target: SocketAddr, count: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let clients = Arc::<Mutex<Vec<Client>>>::default();
        let thread = netns.spawn("returning clients", {
            let clients = Arc::clone(&clients);
            move || block_on(run(target, count, clients, stopped))
        })?;
        let returning = Self { stop, clients, thread: Some(thread) };
        crate::wait::wait_until("all clients' first answers", super::PATIENCE, || {
            lock(&returning.clients).len() == count
        })?;
        Ok(returning)
    }

    /// Forgets what was before.
    pub fn begin(&self) {
        for client in &mut *lock(&self.clients) {
            (client.longest, client.refused) = (Duration::ZERO, 0);
        }
    }

    /// The longest time that each was without an answer, until now; the longest first.
    pub fn outages(&self) -> Vec<Duration> {
        let clients = lock(&self.clients);
        let mut outages: Vec<_> =
            clients.iter().map(|client| client.longest.max(client.last.elapsed())).collect();
        outages.sort_unstable_by_key(|outage| std::cmp::Reverse(*outage));
        outages
    }

    /// Connections that could not be opened.
    pub fn refused(&self) -> usize {
        lock(&self.clients).iter().map(|client| client.refused).sum()
    }
}

impl Drop for ReturningClients {
    fn drop(&mut self) {
        self.stop.send(true).ok();
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

fn lock(clients: &Mutex<Vec<Client>>) -> MutexGuard<'_, Vec<Client>> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(
    target: SocketAddr,
    count: usize,
    clients: Arc<Mutex<Vec<Client>>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut running = JoinSet::new();
    for _ in 0..count {
        running.spawn(one(target, Arc::clone(&clients)));
    }
    // A dropped sender stops them as well.
    let _ = stopped.wait_for(|stop| *stop).await;
    Ok(())
}

async fn one(target: SocketAddr, clients: Arc<Mutex<Vec<Client>>>) {
    let mut me = None;
    loop {
        match timeout(PATIENCE, connect(target, None)).await {
            Ok(Ok(stream)) => {
                let mut stream = buffered(stream);
                for number in 0.. {
                    let answer = timeout(PATIENCE, ask(&mut stream, number)).await;
                    if !matches!(answer, Ok(Ok(_))) {
                        break;
                    }
                    answered(&mut me, &clients);
                    sleep(PAUSE).await;
                }
            }
            Ok(Err(_)) | Err(_) => {
                if let Some(me) = me {
                    let client: &mut Client = &mut lock(&clients)[me];
                    client.refused += 1;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

fn answered(me: &mut Option<usize>, clients: &Mutex<Vec<Client>>) {
    let mut clients = lock(clients);
    let now = Instant::now();
    let me = *me.get_or_insert_with(|| {
        clients.push(Client { last: now, longest: Duration::ZERO, refused: 0 });
        clients.len() - 1
    });
    let client = &mut clients[me];
    client.longest = client.longest.max(now - client.last);
    client.last = now;
}
