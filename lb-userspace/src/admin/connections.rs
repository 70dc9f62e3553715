//! The open connections, bounded in number.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

const UNDECIDED: u8 = 0;
const ASKED: u8 = 1;
const PARTED: u8 = 2;

/// Whether a connection's request is complete. Until then its place can be taken away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// What came first: [`ASKED`] or [`PARTED`].
    fate: AtomicU8,
    lasting: AtomicBool,
    parting: Notify,
}

impl Asked {
    /// Its request is complete: it keeps its place, unless that is given to another already.
    pub(crate) fn set(&self) -> bool {
        self.meets(ASKED)
    }

    fn is_set(&self) -> bool {
        self.0.fate.load(Ordering::Relaxed) == ASKED
    }

    /// Gives its place to another, unless its request is complete.
    fn part(&self) -> bool {
        let parts = self.meets(PARTED);
        if parts {
            self.0.parting.notify_one();
        }
        parts
    }

    /// Whether this fate came first.
    fn meets(&self, fate: u8) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fate.compare_exchange(UNDECIDED, fate, success, failure).is_ok()
    }

    /// Complete when its place is given to another; its task has to end then, at once.
    pub(crate) async fn parted(&self) {
        self.0.parting.notified().await;
    }

    /// Its answer goes on for as long as the client wants.
    pub(crate) fn set_lasting(&self) {
        self.0.lasting.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lasting(&self) -> bool {
        self.0.lasting.load(Ordering::Relaxed)
    }
}

/// The open connections, oldest first.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: VecDeque<(Asked, JoinHandle<()>)>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, open: VecDeque::with_capacity(most) }
    }

    /// Makes room for one more connection: where there is none, the oldest whose request is not
    /// complete is told that it parts. So clients that connect and say nothing never keep out one that
    /// asks.
    /// `false` where every connection is being answered.
    pub(crate) fn make_room(&mut self) -> bool {
        self.open.retain(|(_, task)| !task.is_finished());
        if self.open.len() < self.most {
            return true;
        }
        let silent = self.open.iter().position(|(asked, _)| asked.part());
        silent.and_then(|oldest| self.open.remove(oldest)).is_some()
    }

    pub(crate) fn add(&mut self, asked: Asked, task: JoinHandle<()>) {
        self.open.push_back((asked, task));
    }

    /// Closes all: at once where the request is not complete, the others when they are answered or
    /// `grace` is over.
    pub(crate) async fn close(self, grace: Duration) {
        let end = Instant::now() + grace;
        for (asked, mut task) in self.open {
            if !asked.is_set() || timeout_at(end, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn hanging(connections: &mut Connections) -> Asked {
        let asked = Asked::default();
        connections.add(asked.clone(), tokio::spawn(pending()));
        asked
    }

    #[tokio::test]
    async fn the_oldest_silent_one_goes_first() {
        let mut connections = Connections::new(3);
        let first = hanging(&mut connections);
        let second = hanging(&mut connections);
        let third = hanging(&mut connections);
        assert!(first.set());

        assert!(connections.make_room());
        second.parted().await;
        assert!(!second.set(), "it is too late");
        assert!(timeout_at(Instant::now(), third.parted()).await.is_err());
        assert_eq!(connections.open.len(), 2);
        assert!(Arc::ptr_eq(&connections.open[0].0.0, &first.0), "the one that is answered stays");
        assert!(!connections.open.iter().any(|(asked, _)| Arc::ptr_eq(&asked.0, &second.0)));
    }

    #[tokio::test]
    async fn no_room_where_all_are_answered() {
        let mut connections = Connections::new(2);
        assert!(hanging(&mut connections).set());
        assert!(hanging(&mut connections).set());
        assert!(!connections.make_room());
        assert_eq!(connections.open.len(), 2);
    }

    #[tokio::test]
    async fn what_has_ended_leaves_room() {
        let mut connections = Connections::new(1);
        let asked = Asked::default();
        assert!(asked.set());
        let task = tokio::spawn(async {});
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        connections.add(asked, task);
        assert!(connections.make_room());
        assert!(connections.open.is_empty());
    }

    #[tokio::test]
    async fn closing_ends_within_the_grace() {
        let mut connections = Connections::new(2);
        assert!(hanging(&mut connections).set());
        hanging(&mut connections);
        let tasks: Vec<_> = connections.open.iter().map(|(_, task)| task.abort_handle()).collect();
        connections.close(Duration::from_millis(20)).await;
        tokio::task::yield_now().await;
        assert!(tasks.iter().all(tokio::task::AbortHandle::is_finished));
    }
}
