//! What can happen in a soak.

use std::fmt;
use std::time::Duration;

/// Nodes of the lab, by their place: the first one is `node1`.
pub const NODES: usize = 4;

/// The name of a node in the lab and in the config.
pub fn name(node: usize) -> String {
    format!("node{}", node + 1)
}

/// The place of a node of this name.
pub fn place(name: &str) -> Option<usize> {
    (0..NODES).find(|&node| self::name(node) == name)
}

/// How a node fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process: its connections are reset, its port refuses.
    Killed,
    /// Its network: nothing comes through, and when it does again, its sockets are still there.
    Silent,
    /// Its host: nothing comes through, and its process is a new one afterwards.
    PowerLoss,
}

/// How the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By SIGKILL.
    Crash,
    /// By SIGTERM.
    Stop,
}

/// What a flood consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forged {
    Syns,
    Acks,
    Resets,
}

/// How the service chooses a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Hash,
    /// By the client's address alone.
    Address,
    Least,
}

/// One event. Weights are 1 or more: a node that is not out takes its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Connections that are held from now on.
    Open {
        count: usize,
        busy: bool,
    },
    /// The held ones that were opened first are closed.
    Close,
    Fail {
        node: usize,
        fault: Fault,
    },
    Mend {
        node: usize,
    },
    Suspend {
        node: usize,
    },
    Drain {
        node: usize,
        deadline: Option<Duration>,
    },
    Activate {
        node: usize,
    },
    Weigh {
        node: usize,
        weight: u32,
    },
    /// A reload of a file with one backend more, which has this weight in it.
    Add {
        node: usize,
        weight: u32,
    },
    /// A reload of a file with one backend less.
    Remove {
        node: usize,
    },
    /// A reload of a file with another weight.
    Reweigh {
        node: usize,
        weight: u32,
    },
    /// A reload of a file with another way to choose.
    Choose(Choice),
    /// A reload of a file with another way to translate.
    Translate {
        full_nat: bool,
    },
    /// A reload that is refused.
    WrongFile,
    /// The daemon is away for so long; a node may fail meanwhile.
    Restart {
        ending: Ending,
        away: Duration,
        fails: Option<(usize, Fault)>,
    },
    Flood {
        forged: Forged,
        frames: u32,
    },
    /// Everything that can be shown is.
    Look,
    Pause(Duration),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { count, busy } => {
                write!(f, "open {count} {} connections", if *busy { "busy" } else { "idle" })
            }
            Self::Close => f.write_str("close the oldest held connections"),
            Self::Fail { node, fault } => write!(f, "{} fails: {fault:?}", name(*node)),
            Self::Mend { node } => write!(f, "{} is mended", name(*node)),
            Self::Suspend { node } => write!(f, "suspend {}", name(*node)),
            Self::Drain { node, deadline: None } => write!(f, "drain {}", name(*node)),
            Self::Drain { node, deadline: Some(deadline) } => {
                write!(f, "drain {} with a deadline of {deadline:?}", name(*node))
            }
            Self::Activate { node } => write!(f, "activate {}", name(*node)),
            Self::Weigh { node, weight } => write!(f, "weight {} {weight}", name(*node)),
            Self::Add { node, weight } => {
                write!(f, "reload: {} is there again with weight {weight}", name(*node))
            }
            Self::Remove { node } => write!(f, "reload: {} has left", name(*node)),
            Self::Reweigh { node, weight } => {
                write!(f, "reload: {} has weight {weight}", name(*node))
            }
            Self::Choose(choice) => write!(f, "reload: by {choice:?}"),
            Self::Translate { full_nat } => {
                write!(f, "reload: {}", if *full_nat { "full-nat" } else { "nat" })
            }
            Self::WrongFile => f.write_str("reload: a wrong file"),
            Self::Restart { ending, away, fails } => {
                write!(f, "the daemon ends ({ending:?}) and is away for {away:?}")?;
                match fails {
                    Some((node, fault)) => write!(f, "; {} fails: {fault:?}", name(*node)),
                    None => Ok(()),
                }
            }
            Self::Flood { forged, frames } => write!(f, "a flood of {frames} {forged:?}"),
            Self::Look => f.write_str("look at everything"),
            Self::Pause(time) => write!(f, "nothing for {time:?}"),
        }
    }
}
