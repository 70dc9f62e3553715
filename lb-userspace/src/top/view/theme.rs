//! How things look. Whatever a colour says a word says as well.

use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::top) struct Theme {
    colour: bool,
}

impl Theme {
    /// The theme where `NO_COLOR` has this value: set and not empty, there are none
    /// (<https://no-color.org>).
    pub(in crate::top) fn new(no_color: Option<&std::ffi::OsStr>) -> Self {
        Self { colour: no_color.is_none_or(std::ffi::OsStr::is_empty) }
    }

    fn coloured(self, style: Style, colour: Color) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    /// Of a backend or a service in this state.
    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "up" => self.coloured(Style::new(), Color::Green),
            "down" => self.bad(),
            _ => self.coloured(Style::new(), Color::Yellow),
        }
    }

    /// Of an event.
    pub(super) fn severity(self, severity: &str) -> Style {
        match severity {
            "error" => self.bad(),
            "warning" => self.coloured(Style::new(), Color::Yellow),
            _ => Style::new(),
        }
    }

    /// Of what somebody should see.
    pub(super) fn bad(self) -> Style {
        self.coloured(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    /// Of a curve.
    pub(super) fn curve(self) -> Style {
        self.coloured(Style::new(), Color::Cyan)
    }

    /// Of titles.
    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of the selected row, and of an alarm.
    pub(super) fn reversed(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn no_color_is_obeyed_where_it_says_something() {
        for (value, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
            let theme = Theme::new(value.map(OsStr::new));
            let styles = [
                theme.state("up"),
                theme.state("down"),
                theme.state("draining"),
                theme.severity("warning"),
                theme.bad(),
                theme.curve(),
            ];
            for style in styles {
                assert_eq!(style.fg.is_some(), coloured, "{value:?}");
            }
        }
    }
}
