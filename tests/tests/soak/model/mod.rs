//! What must hold for each connection, by what was done to nodes and to the balancer meanwhile.
//!
//! It hears of every change twice: when it begins, from which moment on both the old and the new may be, and when
//! it is over. Connections are judged when all that happened up to their end has been told.

mod span;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use span::At;
use span::Spans;

use super::event::{NODES, name};

/// How long after a node is seen to be out the last of its clients may be told.
pub const TOLD: Duration = Duration::from_secs(3);
/// How long an answer may take while all is well: a SYN or an answer that a flood has pushed out is sent again
/// after a second, or two.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a refusal may take: a SYN that is lost on its way is sent again after a second.
const REFUSAL: Duration = Duration::from_millis(2500);
/// A SYN to a node that has just failed is sent again after a second, then after twice the time.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All was answered, and both sides have closed.
    Well,
    /// It could not be opened: RST.
    Refused,
    /// RST later.
    Reset,
    /// The other side has closed.
    Closed,
    /// The client has waited for too long.
    Hung,
    /// A node answered that is not the one that answered first.
    Moved(usize),
    /// What nobody has asked, or an error of another kind.
    Strange(String),
}

/// A connection with a question or some, as its client knows it.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub client: SocketAddr,
    pub begun: At,
    /// Who answered first, and when.
    pub answered: Option<(usize, At)>,
    /// The longest that one answer took, the first one from SYN on.
    pub slowest: Duration,
    pub ended: At,
    pub end: End,
}

/// How a held connection broke.
#[derive(Debug, Clone)]
pub struct Broken {
    pub node: usize,
    pub at: At,
    pub reset: bool,
}

/// What a connection may meet with its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// New connections surely may go there.
    Yes,
    /// None may.
    No,
    /// It changes.
    Unknown,
}

#[derive(Debug, Default)]
struct Node {
    takes: Option<Takes>,
    /// When it surely took no new connection.
    out: Spans,
    /// When its connections may have ended.
    ends: Spans,
}

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    nodes: [Node; NODES],
    /// When somebody surely took new connections.
    open: Spans,
    /// When surely nobody did.
    refusing: Spans,
}

impl Model {
    /// All nodes take new connections.
    pub fn new() -> Self {
        let mut model = Self::default();
        for node in 0..NODES {
            model.takes(node, Takes::Yes, At::ZERO);
        }
        model
    }

    /// From `at` on this is so.
    pub fn takes(&mut self, node: usize, takes: Takes, at: At) {
        self.nodes[node].takes = Some(takes);
        self.nodes[node].out.set(takes == Takes::No, at);
        let all = |wanted| self.nodes.iter().all(|node| node.takes == Some(wanted));
        let refusing = all(Takes::No);
        let open = self.nodes.iter().any(|node| node.takes == Some(Takes::Yes));
        self.refusing.set(refusing, at);
        self.open.set(open, at);
    }

    /// From `at` on, which may be to come, connections of the node may end, or have ended: `at` is then when that
    /// is known, or when it was called off.
    pub fn ends(&mut self, node: usize, ends: bool, at: At) {
        self.nodes[node].ends.set(ends, at);
    }

    /// Whether it was refused where it was not sure that anybody took new connections.
    pub fn found_nobody(&self, its: &Conversation) -> bool {
        its.end == End::Refused && !self.open.cover(its.begun, its.ended)
    }

    /// Whether no node failed, and none was taken out at once, while it lasted.
    pub fn is_well(&self, its: &Conversation) -> bool {
        self.nodes.iter().all(|node| node.ends.touching(its.begun, its.ended).next().is_none())
    }

    /// Judges a connection that has ended.
    ///
    /// # Errors
    /// What may not be.
    pub fn judge(&self, its: &Conversation) -> Result<(), String> {
        self.judge_node(its)?;
        match &its.end {
            End::Well => self.judge_success(its),
            End::Refused if self.refusing.cover(its.begun, its.ended) => self.judge_refusal(its),
            End::Refused | End::Reset | End::Closed => self.judge_failure(its),
            End::Hung => Err(format!("it hung: {its:?}")),
            End::Moved(other) => Err(format!("{} answered instead: {its:?}", name(*other))),
            End::Strange(what) => Err(format!("{what}: {its:?}")),
        }
    }

    /// Judges a held connection that broke.
    ///
    /// # Errors
    /// What may not be.
    pub fn judge_break(&self, its: &Broken) -> Result<(), String> {
        if !its.reset {
            return Err(format!("it was not ended by RST: {its:?}"));
        }
        if !self.may_end(its.node, its.at) {
            return Err(format!("it broke while {} was well: {its:?}", name(its.node)));
        }
        Ok(())
    }

    /// It was answered by who may take it.
    fn judge_node(&self, its: &Conversation) -> Result<(), String> {
        let Some((node, at)) = its.answered else { return Ok(()) };
        if self.nodes[node].out.cover(its.begun, at) {
            return Err(format!("{} was out and has answered: {its:?}", name(node)));
        }
        Ok(())
    }

    /// Answers come soon, while all is well and after a failure has been seen: a SYN is sent again after as long
    /// as it has been under way by then, at most.
    fn judge_success(&self, its: &Conversation) -> Result<(), String> {
        let spans = self.nodes.iter().flat_map(|node| node.ends.touching(its.begun, its.ended));
        let seen =
            spans.map(|span| span.until.unwrap_or(its.ended).saturating_sub(its.begun)).max();
        if its.slowest > 2 * seen.unwrap_or_default() + ANSWER {
            return Err(match seen {
                None => format!("an answer took {:?} while all was well: {its:?}", its.slowest),
                Some(_) => format!("an answer came long after a failure was seen: {its:?}"),
            });
        }
        Ok(())
    }

    /// While nobody takes new connections clients know soon.
    fn judge_refusal(&self, its: &Conversation) -> Result<(), String> {
        if its.ended - its.begun > REFUSAL {
            return Err(format!("it was refused late: {its:?}"));
        }
        Ok(())
    }

    /// Only who is with a node that fails may fail, and not after everybody had to know of it. And while nobody
    /// takes new connections, none is reset by anything else.
    fn judge_failure(&self, its: &Conversation) -> Result<(), String> {
        if let Some((node, _)) = its.answered {
            return if self.may_end(node, its.ended) {
                Ok(())
            } else {
                Err(format!("it failed while {} was well: {its:?}", name(node)))
            };
        }
        let doubt = !self.open.cover(its.begun, its.ended);
        let spans = self.nodes.iter().flat_map(|node| node.ends.touching(its.begun, its.ended));
        let told =
            |until: At| its.ended <= until + SYN_AGAIN.max(until.saturating_sub(its.begun)) + TOLD;
        let explained = spans.map(|span| span.until.is_none_or(told)).max();
        match explained {
            Some(true) => Ok(()),
            None if doubt && its.end == End::Refused => Ok(()),
            Some(false) => {
                Err(format!("it failed long after its node's failure was seen: {its:?}"))
            }
            None => Err(format!("it failed while all was well: {its:?}")),
        }
    }

    fn may_end(&self, node: usize, at: At) -> bool {
        self.nodes[node].ends.touching(at.saturating_sub(TOLD), at).next().is_some()
    }
}
