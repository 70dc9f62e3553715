//! Ending early in good order: a signal is noticed between two steps, and everything is taken
//! down on the way out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// How often a wait looks at what it waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whether somebody wants this process to end.
#[derive(Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first SIGINT, SIGTERM or SIGHUP is noticed here; the second ends the
    /// process at once.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag down.
            flag::register_conditional_default(signal, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("cannot listen to signals")?;
        }
        Ok(Self(asked))
    }

    /// # Errors
    /// Where somebody wants this process to end.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted; everything is taken down");
        }
        Ok(())
    }

    /// Waits until `holds` says so, and returns how long that took.
    ///
    /// # Errors
    /// When it does not within this time, when interrupted, and what `holds` returns.
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            self.check()?;
            if holds()? {
                return Ok(start.elapsed());
            }
            if start.elapsed() > within {
                bail!("waited {:.1} s in vain for {what}", within.as_secs_f64());
            }
            sleep(LOOK_AGAIN);
        }
    }
}
