//! Sends events to a syslog receiver. Nothing waits for that: what finds no room in a queue is lost, and
//! counted.

mod format;
mod sender;
mod way;

use std::{
    fs, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Event, Kind, Severity, Stamped};
use crate::config::Syslog;
use format::Format;

/// Messages that may wait for their receiver.
const QUEUE: usize = 1024;
/// How long the last messages may take.
const LAST_MESSAGES: Duration = Duration::from_secs(2);
/// After something was told of the receiver, nothing is for so long: what is told is sent there as well.
const QUIET: Duration = Duration::from_secs(30);

/// The way to a receiver.
#[derive(Debug)]
pub struct Outlet {
    name: String,
    format: Format,
    queue: mpsc::Sender<Vec<u8>>,
    course: Arc<Course>,
    task: JoinHandle<()>,
    told: Told,
}

/// What became of the messages so far.
#[derive(Debug, Default)]
struct Course {
    sent: AtomicU64,
    lost: AtomicU64,
    /// Why nothing gets there, while that is so.
    trouble: Mutex<Option<String>>,
}

impl Course {
    fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Messages since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the kernel.
    pub sent: u64,
    /// Never sent for want of room, or known not to have been taken.
    pub lost: u64,
}

impl Outlet {
    /// Begins to send. Where the receiver is not there, it is tried again and again.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(config: &Syslog) -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (queue, messages) = mpsc::channel(QUEUE);
        let course = Arc::<Course>::default();
        let task = tokio::spawn(sender::run(config.target.clone(), messages, course.clone()));
        Self {
            name: config.target.to_string(),
            format: Format::new(config.facility, hostname.trim(), process::id()),
            queue,
            course,
            task,
            told: Told::default(),
        }
    }

    /// Sends an event, soon. Never waits.
    pub fn send(&self, event: &Stamped) {
        if self.queue.try_send(self.format.message(event)).is_err() {
            self.course.lost();
        }
    }

    /// What became of the messages so far.
    pub fn counts(&self) -> Counts {
        Counts {
            sent: self.course.sent.load(Ordering::Relaxed),
            lost: self.course.lost.load(Ordering::Relaxed),
        }
    }

    /// What there is to tell of the receiver since the last time.
    pub fn news(&mut self, now: Instant) -> Option<Event> {
        let (trouble, lost) = (self.course.trouble(), self.counts().lost);
        let (severity, text) = self.told.news(trouble, lost, now)?;
        Some(Event::new(Kind::Syslog, severity, format!("syslog {}: {text}", self.name)))
    }

    /// Sends what is queued, for a moment, and ends.
    pub async fn close(self) {
        let Self { queue, mut task, .. } = self;
        drop(queue);
        if timeout(LAST_MESSAGES, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// What has been told of a receiver.
#[derive(Debug, Default)]
struct Told {
    trouble: bool,
    lost: u64,
    quiet_until: Option<Instant>,
}

impl Told {
    fn news(
        &mut self,
        trouble: Option<String>,
        lost: u64,
        now: Instant,
    ) -> Option<(Severity, String)> {
        if self.quiet_until.is_some_and(|end| now < end) {
            return None;
        }
        let news = match trouble {
            // How many are lost is known when it is over.
            Some(_) if self.trouble => return None,
            Some(trouble) => {
                self.trouble = true;
                (Severity::Warning, format!("{trouble}; trying again"))
            }
            None => {
                let was_trouble = std::mem::take(&mut self.trouble);
                match (lost - std::mem::replace(&mut self.lost, lost), was_trouble) {
                    (0, false) => return None,
                    (0, true) => (Severity::Info, "messages are taken again".to_owned()),
                    (lost, _) => (Severity::Warning, format!("{lost} messages were lost")),
                }
            }
        };
        self.quiet_until = Some(now + QUIET);
        Some(news)
    }
}

#[cfg(test)]
mod tests;
