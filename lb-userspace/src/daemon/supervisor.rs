//! Tells who has started the daemon how it is (sd_notify(3)): systemd, and whoever speaks as it does. Where
//! nobody asks for it, nothing is said.

use log::warn;
use sd_notify::NotifyState;

/// It balances.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its config file; [`ready`] is to follow, whatever comes of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("cannot read the clock: {error}"),
    }
}

/// It ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It is alive: said once a second, which is often enough for every time that somebody would wait for it.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without `NOTIFY_SOCKET` it does nothing.
    if let Err(error) = sd_notify::notify(state) {
        warn!("cannot tell the supervisor: {error}");
    }
}
