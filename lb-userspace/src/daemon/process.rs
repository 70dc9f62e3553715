//! The process of the daemon: opens with the rights it was started with what takes more than those that
//! it keeps, gives them up, and only then has threads.

use std::path::Path;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime;

use super::balance;
use crate::{
    admin,
    config::Config,
    metrics, persist,
    privileges::{self, Writable},
};

/// Threads of the daemon: it waits for timers and sockets, and needs no more on a larger machine.
const THREADS: usize = 2;

/// The sockets by which the daemon is asked.
pub(super) struct Doors {
    pub(super) server: admin::Server,
    pub(super) figures: Option<metrics::Server>,
}

impl Doors {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let server = admin::Server::bind_for(&config.admin_socket, config.admin_group.as_ref())?;
        let figures = config.metrics_listen.map(metrics::Server::bind).transpose()?;
        Ok(Self { server, figures })
    }
}

/// Runs the balancer that the file describes, until SIGTERM or SIGINT. Where it is persistent, what it does to
/// packets goes on then, until another run takes it over; `force`: also from one that it would misread. The
/// process keeps few of its rights, see [`privileges`].
///
/// # Errors
/// Where it cannot start; what was done until then is undone, and what an earlier run has left goes on.
pub fn run(config_path: &Path, force: bool) -> anyhow::Result<()> {
    raise_open_files();
    let config = Config::load(config_path)?;
    privileges::check()?;
    let doors = Doors::open(&config)?;
    if let Some(pins) = &config.persist {
        // To mount a bpffs takes more rights as well.
        persist::create_directory(pins)?;
    }
    let _confined = privileges::give_up(config_path, &directories_written(&config))?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the daemon's threads")?;
    runtime.block_on(balance(config_path, config, doors, force))
}

/// Where the daemon makes and removes files as it runs, beside the kernel's own; they are there already.
fn directories_written(config: &Config) -> Vec<Writable<'_>> {
    // The socket is removed at the end, and a pin directory where nothing is to outlive the process.
    let socket = config.admin_socket.parent().map(|path| Writable { path, removable: false });
    let pins = config.persist.as_deref().map(|path| Writable { path, removable: true });
    socket.into_iter().chain(pins).collect()
}

/// Each keepalive takes a descriptor, and a second one while its connection ends, and so does each admin
/// client; the usual soft limit is 1,024.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        log::warn!("cannot raise the limit of open files: {errno}");
    }
}
