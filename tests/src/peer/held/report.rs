//! What became of held connections.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How a held connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakKind {
    /// The peer, or somebody in its name, sent RST.
    Reset,
    /// The peer sent FIN.
    Closed,
    /// No answer in time.
    NoAnswer,
    /// An answer to another question, or none at all.
    Garbled,
    /// The socket reported something else.
    Other,
}

impl BreakKind {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::InvalidData => Self::Garbled,
            io::ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Other,
        }
    }
}

/// One connection that broke; it is not opened again.
#[derive(Debug, Clone)]
pub struct Break {
    /// The client's own address and port.
    pub local: SocketAddr,
    /// The node that served it.
    pub node: String,
    /// How.
    pub kind: BreakKind,
    /// When the client learned of it.
    pub at: Instant,
    /// How long the last question had been waiting then.
    pub waited: Duration,
}

/// One answer that came from another node than the connection's first.
#[derive(Debug, Clone)]
pub struct Move {
    /// The client's own address and port.
    pub local: SocketAddr,
    /// The node that served it.
    pub from: String,
    /// The node that answered instead.
    pub to: String,
}

/// What became of the connections up to now.
#[derive(Debug, Clone, Default)]
pub struct HeldReport {
    /// Connections opened, by the node that answered first.
    pub per_node: BTreeMap<String, usize>,
    /// Answers received.
    pub answers: u64,
    /// Connections that broke.
    pub breaks: Vec<Break>,
    /// Connections that changed their node: never right.
    pub moves: Vec<Move>,
    /// Connections whose address or port the node saw as another than the client's own.
    pub translated: usize,
    /// The longest wait for an answer that came.
    pub worst_answer: Duration,
}

impl HeldReport {
    /// Connections opened.
    pub fn opened(&self) -> usize {
        self.per_node.values().sum()
    }

    /// Connections that broke, by the node that had served them.
    pub fn breaks_of(&self, node: &str) -> usize {
        self.breaks.iter().filter(|broken| broken.node == node).count()
    }
}

impl fmt::Display for HeldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = BTreeMap::<String, usize>::new();
        for broken in &self.breaks {
            *kinds.entry(format!("{} {:?}", broken.node, broken.kind)).or_default() += 1;
        }
        write!(
            f,
            "{} connections {:?}, {} answers, worst {:?}, {} broke {kinds:?}, {} moved",
            self.opened(),
            self.per_node,
            self.answers,
            self.worst_answer,
            self.breaks.len(),
            self.moves.len()
        )
    }
}
