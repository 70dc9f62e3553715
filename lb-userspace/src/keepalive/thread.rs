//! The thread of all probes, and of nothing else: a probe that changes nothing wakes no other thread, and
//! nothing that the daemon is busy with delays one.

use std::{convert::Infallible, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A thread that runs tasks. Dropped, it ends, and they with it.
#[derive(Debug)]
pub struct ProbeThread {
    tasks: Handle,
    end: oneshot::Sender<Infallible>,
}

impl ProbeThread {
    /// # Errors
    /// Where there is no thread to be had, or no descriptors for its events.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let tasks = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("keepalives".to_owned()).spawn(move || {
            // It ends when the sender is dropped.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { tasks, end })
    }

    /// Where tasks begin.
    pub fn tasks(&self) -> &Handle {
        &self.tasks
    }

    /// Waits until it ends by itself, which it does where one of its tasks' runtime fails.
    pub async fn ended(&mut self) {
        self.end.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn tasks_run_on_it_and_end_with_it() {
        let thread = ProbeThread::start().expect("a thread");
        let (sender, receiver) = mpsc::channel();
        thread.tasks().spawn(async move {
            sender.send(thread::current().name().map(str::to_owned)).expect("it listens");
            std::future::pending::<()>().await;
            drop(sender);
        });
        let limit = Duration::from_secs(10);
        assert_eq!(receiver.recv_timeout(limit), Ok(Some("keepalives".to_owned())));
        drop(thread);
        assert_eq!(receiver.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
