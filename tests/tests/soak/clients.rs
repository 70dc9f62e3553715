//! Clients that connect, ask a question or some, and close, again and again.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::lab::Lab;
use lb_tests::wait::wait_until;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::event::place;
use super::model::{Conversation, End};

/// Clients at a time.
const CLIENTS: usize = 96;
/// What one of them does between two connections, at most.
const PAUSE: Duration = Duration::from_millis(250);
/// Of so many connections one has several questions, with pauses.
const LONGER: usize = 4;
const QUESTIONS: usize = 4;
const THOUGHT: Duration = Duration::from_millis(1500);
/// Who has waited for so long would wait for ever. What is long depends on what happens meanwhile, and is the
/// model's to judge.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Go,
    Pause,
    Stop,
}

/// The running clients. Dropped, they end after the connections that they have.
#[derive(Debug)]
pub struct Clients {
    gate: watch::Sender<Gate>,
    ended: mpsc::Receiver<Conversation>,
    busy: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What all of them know.
#[derive(Debug, Clone)]
struct Shared {
    start: Instant,
    target: SocketAddr,
    /// As whom nodes see clients, beside their own addresses.
    snat: [IpAddr; 2],
    gate: watch::Receiver<Gate>,
    ended: mpsc::Sender<Conversation>,
    busy: Arc<AtomicUsize>,
}

impl Clients {
    /// Starts them in the clients' host with these addresses of it. Times are counted from `start`, and pauses follow from `seed`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(lab: &Lab, sources: &[IpAddr], start: Instant, seed: u64) -> Result<Self> {
        let (gate, gate_of_clients) = watch::channel(Gate::Go);
        let (sender, ended) = mpsc::channel();
        let busy = Arc::new(AtomicUsize::new(0));
        let shared = Shared {
            start,
            target: lab.target(),
            snat: [1, 2].map(|i| lab.plan().snat_address(i)),
            gate: gate_of_clients,
            ended: sender,
            busy: Arc::clone(&busy),
        };
        let sources = sources.to_vec();
        let thread = lab.client.spawn("clients", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for i in 0..CLIENTS {
                    let rng = fastrand::Rng::with_seed(seed.wrapping_add(i as u64));
                    clients.spawn(client(shared.clone(), sources[i % sources.len()], rng));
                }
                drop(shared);
                while clients.join_next().await.is_some() {}
            });
            Ok(())
        })?;
        Ok(Self { gate, ended, busy, thread: Some(thread) })
    }

    /// The connections that have ended since the last call.
    pub fn ended(&self) -> Vec<Conversation> {
        self.ended.try_iter().collect()
    }

    /// Lets nobody connect, and waits until all have closed.
    ///
    /// # Errors
    /// When somebody has not long after his patience was at its end.
    pub fn pause(&self) -> Result<()> {
        self.gate.send_replace(Gate::Pause);
        // To connect, to ask, to close.
        wait_until("all clients to have closed", 3 * PATIENCE, || {
            self.busy.load(Ordering::SeqCst) == 0
        })
        .map(drop)
    }

    /// Ends [`Clients::pause`].
    pub fn go_on(&self) {
        self.gate.send_replace(Gate::Go);
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.gate.send_replace(Gate::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

async fn client(mut shared: Shared, source: IpAddr, mut rng: fastrand::Rng) {
    loop {
        sleep(PAUSE.mul_f64(rng.f64())).await;
        // Whoever pauses the clients sees this one, or this one sees that.
        shared.busy.fetch_add(1, Ordering::SeqCst);
        let gate = *shared.gate.borrow();
        if gate == Gate::Go {
            let conversation = converse(&shared, source, &mut rng).await;
            // Who listens no more wants to hear no more.
            let _ = shared.ended.send(conversation);
        }
        shared.busy.fetch_sub(1, Ordering::SeqCst);
        match gate {
            Gate::Go => {}
            Gate::Pause => drop(shared.gate.changed().await),
            Gate::Stop => return,
        }
    }
}

async fn converse(shared: &Shared, source: IpAddr, rng: &mut fastrand::Rng) -> Conversation {
    let begun = shared.start.elapsed();
    let mut its = Conversation {
        client: SocketAddr::new(source, 0),
        begun,
        answered: None,
        slowest: Duration::ZERO,
        ended: begun,
        end: End::Well,
    };
    let questions = if rng.usize(..LONGER) == 0 { rng.usize(2..=QUESTIONS) } else { 1 };
    if let Err(end) = talk(shared, &mut its, questions, rng).await {
        its.end = end;
    }
    its.ended = shared.start.elapsed();
    its
}

async fn talk(
    shared: &Shared,
    its: &mut Conversation,
    questions: usize,
    rng: &mut fastrand::Rng,
) -> Result<(), End> {
    let mut asked = its.begun;
    let mut stream = within(connect(shared.target, its.client)).await?;
    if let Ok(client) = stream.get_ref().local_addr() {
        its.client = client;
    }
    for number in 0..questions {
        if number > 0 {
            let mut gate = shared.gate.clone();
            let stopped = gate.wait_for(|gate| *gate != Gate::Go);
            if timeout(THOUGHT.mul_f64(rng.f64()), stopped).await.is_ok() {
                break;
            }
            asked = shared.start.elapsed();
        }
        let node = within(ask(&mut stream, number, its.client, &shared.snat)).await?;
        let at = shared.start.elapsed();
        its.slowest = its.slowest.max(at - asked);
        match its.answered {
            None => its.answered = Some((node, at)),
            Some((first, _)) if first != node => return Err(End::Moved(node)),
            Some(_) => {}
        }
    }
    within(close(stream)).await
}

async fn within<T>(work: impl Future<Output = Result<T, End>>) -> Result<T, End> {
    timeout(PATIENCE, work).await.unwrap_or(Err(End::Hung))
}

async fn connect(target: SocketAddr, source: SocketAddr) -> Result<BufStream<TcpStream>, End> {
    let socket = TcpSocket::new_v4().map_err(|error| end_by(&error))?;
    // Else each source would have a port for all targets and all time before it is closed.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)
        .map_err(|error| end_by(&error.into()))?;
    socket.bind(source).map_err(|error| end_by(&error))?;
    let stream = socket.connect(target).await.map_err(|error| end_by(&error))?;
    stream.set_nodelay(true).map_err(|error| end_by(&error))?;
    Ok(BufStream::with_capacity(128, 128, stream))
}

/// Asks who is there; the answer has to be one to this question of this client.
async fn ask(
    stream: &mut BufStream<TcpStream>,
    number: usize,
    client: SocketAddr,
    snat: &[IpAddr],
) -> Result<usize, End> {
    let exchange = async {
        stream.write_all(format!("ask {number}\n").as_bytes()).await?;
        stream.flush().await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok(line)
    };
    let line = exchange.await.map_err(|error| end_by(&error))?;
    if line.is_empty() {
        return Err(End::Closed);
    }
    parse(&line, number, client, snat)
        .ok_or_else(|| End::Strange(format!("{line:?} is no answer to question {number}")))
}

/// Which node it is that says so; it has seen the client itself, or an SNAT address.
fn parse(line: &str, number: usize, client: SocketAddr, snat: &[IpAddr]) -> Option<usize> {
    let line = line.strip_suffix(&format!(" {number}\n"))?;
    let (node, seen) = line.split_once(' ')?;
    let seen: SocketAddr = seen.parse().ok()?;
    place(node).filter(|_| seen == client || snat.contains(&seen.ip()))
}

async fn close(mut stream: BufStream<TcpStream>) -> Result<(), End> {
    stream.shutdown().await.map_err(|error| end_by(&error))?;
    match stream.read_u8().await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(end_by(&error)),
        Ok(_) => Err(End::Strange("data after the last answer".to_owned())),
    }
}

fn end_by(error: &Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionRefused => End::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
        ErrorKind::TimedOut => End::Hung,
        _ => End::Strange(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_to_this_question_of_this_client() {
        let client = ([10, 1, 0, 2], 4711).into();
        let snat = [[10, 2, 0, 200].into()];
        let node = |line| parse(line, 9, client, &snat);
        assert_eq!(node("node2 10.1.0.2:4711 9\n"), Some(1));
        assert_eq!(node("node2 10.2.0.200:5 9\n"), Some(1));
        for other in
            ["node2 10.1.0.2:4711 8\n", "node2 10.1.0.2:4712 9\n", "node9 10.1.0.2:4711 9\n", ""]
        {
            assert_eq!(node(other), None, "{other:?}");
        }
    }
}
