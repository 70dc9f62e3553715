//! What a key means.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::orders::Ask;

/// What is on the screen, as far as it changes what keys mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The table.
    Table,
    /// The help before it.
    Help,
    /// A question before it.
    Question,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Leave.
    Quit,
    /// Draw everything again.
    Redraw,
    /// Show the help.
    Help,
    /// Leave help or question.
    Close,
    /// Select another row.
    Move(Move),
    /// Order the rows by the next or previous sort.
    NextSort,
    /// Order the rows by the previous sort.
    PreviousSort,
    /// Turn the order round.
    Reverse,
    /// Ask whether the selected backend shall have this.
    Ask(Ask),
    /// The answer is yes.
    Confirm,
}

/// Which row is selected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// One up.
    Up,
    /// One down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// The first.
    First,
    /// The last.
    Last,
}

/// What a key means, if anything.
pub(super) fn command(key: KeyEvent, mode: Mode) -> Option<Command> {
    // Escape and a letter that arrive together are read as Alt and that letter: neither was meant.
    if key.kind == KeyEventKind::Release || key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match (control, key.code) {
        (true, KeyCode::Char('c')) => return Some(Command::Quit),
        (true, KeyCode::Char('l')) => return Some(Command::Redraw),
        (true, KeyCode::Char('f')) if mode == Mode::Table => {
            return Some(Command::Move(Move::PageDown));
        }
        (true, KeyCode::Char('b')) if mode == Mode::Table => {
            return Some(Command::Move(Move::PageUp));
        }
        (true, _) => return None,
        (false, _) => {}
    }
    match mode {
        Mode::Table => in_table(key.code),
        // Whoever reads it wants to go on with whatever he presses.
        Mode::Help => Some(Command::Close),
        // Nothing is ordered by a key that is pressed by habit, such as Enter.
        Mode::Question => match key.code {
            KeyCode::Char('y' | 'Y') => Some(Command::Confirm),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => Some(Command::Close),
            _ => None,
        },
    }
}

fn in_table(code: KeyCode) -> Option<Command> {
    Some(match code {
        KeyCode::Char('q') | KeyCode::Esc => Command::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Command::Help,
        KeyCode::Up | KeyCode::Char('k') => Command::Move(Move::Up),
        KeyCode::Down | KeyCode::Char('j') => Command::Move(Move::Down),
        KeyCode::PageUp => Command::Move(Move::PageUp),
        KeyCode::PageDown | KeyCode::Char(' ') => Command::Move(Move::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Command::Move(Move::First),
        KeyCode::End | KeyCode::Char('G') => Command::Move(Move::Last),
        KeyCode::Char('>' | 'o') => Command::NextSort,
        KeyCode::Char('<' | 'O') => Command::PreviousSort,
        KeyCode::Char('r') => Command::Reverse,
        KeyCode::Char('d') => Command::Ask(Ask::Drain),
        KeyCode::Char('a') => Command::Ask(Ask::Activate),
        KeyCode::Char('s') => Command::Ask(Ask::Suspend),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: KeyCode, mode: Mode) -> Option<Command> {
        command(KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    fn control(letter: char, mode: Mode) -> Option<Command> {
        command(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL), mode)
    }

    #[test]
    fn each_mode_is_left_by_escape_and_the_program_by_control_c() {
        assert_eq!(plain(KeyCode::Esc, Mode::Table), Some(Command::Quit));
        assert_eq!(plain(KeyCode::Char('q'), Mode::Table), Some(Command::Quit));
        for mode in [Mode::Help, Mode::Question] {
            assert_eq!(plain(KeyCode::Esc, mode), Some(Command::Close), "{mode:?}");
            assert_eq!(plain(KeyCode::Char('q'), mode), Some(Command::Close), "{mode:?}");
            assert_eq!(control('c', mode), Some(Command::Quit), "{mode:?}");
        }
    }

    #[test]
    fn a_question_is_answered_by_nothing_but_y_and_n() {
        assert_eq!(plain(KeyCode::Char('y'), Mode::Question), Some(Command::Confirm));
        assert_eq!(plain(KeyCode::Char('n'), Mode::Question), Some(Command::Close));
        for code in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Char('d'), KeyCode::Down] {
            assert_eq!(plain(code, Mode::Question), None, "{code:?}");
        }
        assert_eq!(control('y', Mode::Question), None);
        let alt = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::ALT);
        assert_eq!(command(alt, Mode::Question), None);
        for mode in [Mode::Table, Mode::Help] {
            assert_ne!(plain(KeyCode::Char('y'), mode), Some(Command::Confirm));
        }
    }

    #[test]
    fn orders_and_moves_have_their_keys() {
        for (code, expected) in [
            (KeyCode::Char('d'), Command::Ask(Ask::Drain)),
            (KeyCode::Char('a'), Command::Ask(Ask::Activate)),
            (KeyCode::Char('s'), Command::Ask(Ask::Suspend)),
            (KeyCode::Char('j'), Command::Move(Move::Down)),
            (KeyCode::Up, Command::Move(Move::Up)),
            (KeyCode::PageDown, Command::Move(Move::PageDown)),
            (KeyCode::Char('G'), Command::Move(Move::Last)),
            (KeyCode::Char('?'), Command::Help),
            (KeyCode::Char('>'), Command::NextSort),
        ] {
            assert_eq!(plain(code, Mode::Table), Some(expected), "{code:?}");
        }
        assert_eq!(control('d', Mode::Table), None, "control makes another key of it");
        assert_eq!(plain(KeyCode::Char('x'), Mode::Table), None);
    }

    #[test]
    fn a_key_that_is_let_go_means_nothing() {
        let code = KeyCode::Char('q');
        let key = KeyEvent::new_with_kind(code, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(command(key, Mode::Table), None);
    }
}
