//! Many bytes each way at once over one connection, every one of them judged.
//!
//! After the question `bulk SEED UP DOWN` the client sends UP bytes and the server DOWN bytes at
//! the same time, each of a stream that follows from the seed. The receiver compares them as they
//! come. The server then says what it got: `NODE RECEIVED WRONG`, where WRONG is the place of the
//! first wrong byte, or `-`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::{Judge, Stream};
use super::{block_on, buffered, connect};
use crate::netns::Netns;

/// Bytes that are sent or received at once.
const CHUNK: usize = 64 * 1024;

/// How many bytes are through, for who waits for the end in vain.
#[derive(Debug, Default)]
struct Progress(AtomicU64);

impl Progress {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What to transfer.
#[derive(Debug, Clone)]
pub struct BulkPlan {
    /// The server to connect to.
    pub target: SocketAddr,
    /// Bytes from the client.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// What the bytes follow from.
    pub seed: u64,
    /// The client's address; none: the kernel chooses.
    pub source: Option<IpAddr>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// What arrived of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// Bytes that arrived: all of them.
    pub bytes: u64,
    /// The place of the first that was another than the one sent, from 0.
    pub first_wrong: Option<u64>,
}

/// What became of a transfer.
#[derive(Debug, Clone)]
pub struct BulkReport {
    /// The node that served it.
    pub node: String,
    /// From the client to the node, as the node judged it.
    pub up: Transferred,
    /// From the node to the client, as the client judged it.
    pub down: Transferred,
    /// From SYN to the node's last word.
    pub elapsed: Duration,
}

impl BulkPlan {
    /// So many bytes each way within a minute, from the kernel's source address.
    pub fn new(target: impl Into<SocketAddr>, bytes: u64) -> Self {
        Self {
            target: target.into(),
            up: bytes,
            down: bytes,
            seed: 0x1b,
            source: None,
            timeout: Duration::from_secs(60),
        }
    }

    /// Transfers from `netns`.
    ///
    /// # Errors
    /// When the connection cannot be opened or breaks, and when the transfer is not done in time;
    /// the error says how much was.
    pub fn run(&self, netns: &Netns) -> Result<BulkReport> {
        netns.run(|| block_on(self.transfer()))
    }

    async fn transfer(&self) -> Result<BulkReport> {
        let start = Instant::now();
        let (sent, received) = (Progress::default(), Progress::default());
        let so_far = || {
            let (sent, received) = (sent.get(), received.get());
            format!(
                "{sent} of {} bytes were given to the socket, {received} of {} received",
                self.up, self.down
            )
        };
        match timeout(self.timeout, self.talk(&sent, &received)).await {
            Ok(done) => {
                let (node, up, down) = done.with_context(so_far)?;
                Ok(BulkReport { node, up, down, elapsed: start.elapsed() })
            }
            Err(_) => bail!("no end of it after {:?}: {}", self.timeout, so_far()),
        }
    }

    async fn talk(
        &self,
        sent: &Progress,
        received: &Progress,
    ) -> Result<(String, Transferred, Transferred)> {
        let source = self.source.map(|source| SocketAddr::new(source, 0));
        let mut stream = buffered(connect(self.target, source).await.context("cannot connect")?);
        let question = format!("bulk {} {} {}\n", self.seed, self.up, self.down);
        stream.write_all(question.as_bytes()).await?;
        stream.flush().await?;
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let (down, ()) = tokio::try_join!(
            receive(&mut reader, down_seed(self.seed), self.down, received),
            send(&mut writer, self.seed, self.up, sent),
        )?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let (node, up) = parse(&line).with_context(|| format!("the server ended with {line:?}"))?;
        Ok((node, up, down))
    }
}

impl BulkReport {
    /// Whether every byte arrived as it was sent.
    pub fn intact(&self) -> bool {
        self.up.first_wrong.is_none() && self.down.first_wrong.is_none()
    }
}

impl fmt::Display for BulkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, up, down, elapsed } = self;
        write!(f, "with {node}: up {up:?}, down {down:?}, in {elapsed:?}")
    }
}

/// The server's part, after the word `take`: so many bytes that nobody judges, and its name when
/// they are there.
pub(super) async fn take(
    stream: &mut BufStream<TcpStream>,
    node: &str,
    bytes: &str,
) -> io::Result<()> {
    let bytes: u64 = bytes.parse().map_err(|_| io::ErrorKind::InvalidData)?;
    let mut chunk = vec![0; CHUNK];
    let mut missing = bytes;
    while missing > 0 {
        let most = missing.min(CHUNK as u64) as usize;
        match stream.read(&mut chunk[..most]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => missing -= length as u64,
        }
    }
    stream.write_all(format!("{node} {bytes}\n").as_bytes()).await?;
    stream.flush().await
}

/// The server's part, after the word `bulk`.
pub(super) async fn serve(
    stream: &mut BufStream<TcpStream>,
    node: &str,
    words: &str,
) -> io::Result<()> {
    let numbers: Vec<u64> = words.split(' ').map_while(|word| word.parse().ok()).collect();
    let &[seed, up, down] = &numbers[..] else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (mut reader, mut writer) = tokio::io::split(&mut *stream);
    let (sent, received) = (Progress::default(), Progress::default());
    let (up, ()) = tokio::try_join!(
        receive(&mut reader, seed, up, &received),
        send(&mut writer, down_seed(seed), down, &sent),
    )?;
    let wrong = up.first_wrong.map_or_else(|| "-".to_owned(), |at| at.to_string());
    stream.write_all(format!("{node} {} {wrong}\n", up.bytes).as_bytes()).await?;
    stream.flush().await
}

fn parse(line: &str) -> Option<(String, Transferred)> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let node = words.next()?.to_owned();
    let bytes = words.next()?.parse().ok()?;
    let first_wrong = match words.next()? {
        "-" => None,
        at => Some(at.parse().ok()?),
    };
    Some((node, Transferred { bytes, first_wrong }))
}

/// Both directions must differ, or an echo would pass for a transfer.
fn down_seed(seed: u64) -> u64 {
    !seed
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    bytes: u64,
    sent: &Progress,
) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let mut chunk = vec![0; CHUNK];
    while sent.get() < bytes {
        let length = (bytes - sent.get()).min(CHUNK as u64) as usize;
        stream.fill(&mut chunk[..length]);
        to.write_all(&chunk[..length]).await?;
        sent.add(length);
    }
    to.flush().await
}

async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    seed: u64,
    bytes: u64,
    received: &Progress,
) -> io::Result<Transferred> {
    let mut judge = Judge::new(seed);
    let mut chunk = vec![0; CHUNK];
    while received.get() < bytes {
        let most = (bytes - received.get()).min(CHUNK as u64) as usize;
        let length = from.read(&mut chunk[..most]).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        judge.take(&chunk[..length]);
        received.add(length);
    }
    Ok(Transferred { bytes, first_wrong: judge.first_wrong })
}
