//! Threads with very many sockets.
//!
//! The limit on open files is one on the numbers in a table of descriptors, and not even root may
//! raise it everywhere. But on Linux a thread may have a table of its own, and with it the whole
//! limit for itself.

use std::fs;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;

use crate::limits;
use crate::netns::Netns;

/// Descriptors of a table that are not for connections: the runtime's, listeners, a reserve.
const OTHERS: usize = 500;
/// How often a thread looks for orders.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How many connections a thread of [`spawn`] can have.
///
/// # Errors
/// When the limit on open files cannot be read or raised.
pub(super) fn room() -> Result<usize> {
    limits::raise_open_files()?;
    Ok(limits::open_files()?.saturating_sub(OTHERS).max(1))
}

/// Starts a thread in the namespace that does such work with a table of descriptors of its own.
///
/// What `work` takes and returns must not own or borrow a descriptor: the same number is another
/// file in another table. So it can take no orders by a channel of tokio, whose sender wakes the
/// other runtime by a descriptor of that; see [`next_order`].
///
/// # Errors
/// As [`Netns::spawn`]; when the thread cannot have its own table it ends with that error.
pub(super) fn spawn<W: Future<Output = Result<()>>>(
    netns: &Netns,
    thread_name: &str,
    work: impl FnOnce() -> W + Send + 'static,
) -> Result<JoinHandle<Result<()>>> {
    limits::raise_open_files()?;
    // Tokio keeps a pair of sockets for signals, made with its first runtime, in whose table it
    // must be; other runtimes duplicate one of them.
    super::block_on(async { Ok(()) })?;
    netns.spawn(thread_name, move || {
        // A handler would write to a number that is another socket here.
        SigSet::all().thread_block()?;
        unshare(CloneFlags::CLONE_FILES).context("cannot have a table of descriptors")?;
        let inherited = open_now()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for descriptor in inherited {
            // Or the other end of a pipe or socket would wait for us to close it, too.
            // SAFETY: nothing in this thread owns it, and others have it in their own table.
            unsafe { libc::close(descriptor) };
        }
        runtime.block_on(work())
    })
}

/// The thread of a server that says when it listens, once it does.
///
/// # Errors
/// Where it has ended before, its own.
pub(super) fn listening(
    thread: JoinHandle<Result<()>>,
    listens: &Receiver<()>,
) -> Result<JoinHandle<Result<()>>> {
    if listens.recv().is_ok() {
        return Ok(thread);
    }
    match thread.join() {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => bail!("the server's thread ended"),
    }
}

/// Waits for an order from a thread with another table; none when there will be no more.
pub(super) async fn next_order<T>(orders: &Receiver<T>) -> Option<T> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// The descriptors of this thread's table but for standard input, output and error.
fn open_now() -> Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/thread-self/fd").context("cannot list descriptors")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut open: Vec<RawFd> = numbers.filter(|&descriptor| descriptor > 2).collect();
    // The listing's own is closed by now.
    // SAFETY: a question about a number.
    open.retain(|&descriptor| unsafe { libc::fcntl(descriptor, libc::F_GETFD) } != -1);
    Ok(open)
}
