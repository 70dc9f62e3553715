//! Waiting for something to become true, with an end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often [`wait_until`] looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `holds` is true and returns how long that took.
///
/// # Errors
/// When it still does not hold after `within`; the error says what was waited for.
pub fn wait_until(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if holds() {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= within {
            bail!("waited {:.1} s in vain for: {what}", within.as_secs_f64());
        }
        sleep(LOOK_AGAIN);
    }
}
