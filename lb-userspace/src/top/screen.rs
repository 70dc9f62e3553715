//! The terminal: taken, and given back however this ends.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, bail};
use ratatui::DefaultTerminal;

/// The terminal in raw mode, on its alternate screen. Dropped, it is as before; a panic gives it
/// back as well, before it says anything.
pub(super) struct Screen(pub(super) DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Where it refuses.
    pub(super) fn take() -> anyhow::Result<Self> {
        Ok(Self(ratatui::try_init().context("cannot take the terminal")?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Refuses where there is no terminal to draw on.
///
/// # Errors
/// Where stdout is none.
pub(super) fn ensure_terminal() -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        bail!(
            "stdout is no terminal: lb top draws on one; for programs there is `lb show ... --json`"
        );
    }
    Ok(())
}
