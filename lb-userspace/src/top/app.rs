//! What is on the screen, and how keys, samples and answers change it.

use std::time::{Duration, Instant, SystemTime};

use ratatui::widgets::TableState;

use super::{
    keys::{Command, Mode, Move},
    model::{Link, Model, Sample, name},
    orders::{Ask, Question},
    rows::{Row, Sort, Subject, rows},
};
use crate::control::{BackendName, Order};

/// How long a message stays.
const NOTE: Duration = Duration::from_secs(10);

/// Something to be done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Leave.
    Quit,
    /// Draw everything again.
    Redraw,
    /// Give this order.
    Order(BackendName, Order),
}

/// What lies before the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlay {
    /// The keys.
    Help,
    /// A question to be answered first.
    Question(Question),
}

/// A message that stays for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// What it says.
    pub(super) text: String,
    /// Whether something was refused.
    pub(super) bad: bool,
    until: Instant,
}

/// Everything that is shown, and where the operator is in it.
#[derive(Debug)]
pub(super) struct App {
    /// What is known of the daemon.
    pub(super) model: Model,
    /// By what rows are ordered.
    pub(super) sort: Sort,
    /// And whether the other way round.
    pub(super) reversed: bool,
    /// What lies before the table.
    pub(super) overlay: Option<Overlay>,
    /// The last message.
    pub(super) note: Option<Note>,
    /// How far the table is scrolled, and the line that is selected.
    pub(super) table: TableState,
    /// How many rows the table showed when it was drawn last.
    pub(super) page: usize,
    /// The time at which everything is shown.
    pub(super) now: Instant,
    /// The same on the wall, which events tell.
    pub(super) wall: SystemTime,
    selected: Option<Subject>,
}

impl App {
    /// Shows this model; the first backend is selected.
    pub(super) fn new(model: Model, now: Instant, wall: SystemTime) -> Self {
        let first = model.snapshot().backends.first().map(|row| Subject::Backend(name(row)));
        let mut app = Self {
            model,
            sort: Sort::default(),
            reversed: false,
            overlay: None,
            note: None,
            table: TableState::default(),
            page: 1,
            now,
            wall,
            selected: first,
        };
        app.find_selected();
        app
    }

    /// The rows in their order.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        rows(&self.model, self.sort, self.reversed)
    }

    /// What keys mean.
    pub(super) fn mode(&self) -> Mode {
        match self.overlay {
            None => Mode::Table,
            Some(Overlay::Help) => Mode::Help,
            Some(Overlay::Question(_)) => Mode::Question,
        }
    }

    /// The selected backend; nothing where a service is selected.
    pub(super) fn backend(&self) -> Option<&BackendName> {
        match &self.selected {
            Some(Subject::Backend(name)) => Some(name),
            Some(Subject::Service(_)) | None => None,
        }
    }

    /// Takes what the daemon has said, or why it has not.
    pub(super) fn sampled(&mut self, sample: Result<Sample, String>) {
        match sample {
            Ok(sample) => self.model.take(sample, self.now),
            Err(why) => self.model.lose(why, self.now),
        }
        if let Some(Overlay::Question(question)) = &self.overlay
            && question.consequences(&self.model).is_none()
        {
            let text = format!("{} is gone", question.name);
            self.overlay = None;
            self.say(text, true);
        }
        self.find_selected();
    }

    /// Takes the answer to an order.
    pub(super) fn ordered(&mut self, answer: Result<String, String>) {
        let bad = answer.is_err();
        self.say(answer.unwrap_or_else(|why| why), bad);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, now: Instant, wall: SystemTime) {
        self.now = now;
        self.wall = wall;
        if self.note.as_ref().is_some_and(|note| note.until <= now) {
            self.note = None;
        }
    }

    /// Carries out a command as far as it concerns the screen alone.
    pub(super) fn obey(&mut self, command: Command) -> Option<Effect> {
        match command {
            Command::Quit => return Some(Effect::Quit),
            Command::Redraw => return Some(Effect::Redraw),
            Command::Help => self.overlay = Some(Overlay::Help),
            Command::Close => self.overlay = None,
            Command::Move(step) => self.go(step),
            Command::NextSort => self.sort = self.sort.next(),
            Command::PreviousSort => self.sort = self.sort.previous(),
            Command::Reverse => self.reversed = !self.reversed,
            Command::Ask(ask) => self.ask(ask),
            Command::Confirm => return self.confirm(),
        }
        self.find_selected();
        None
    }

    fn ask(&mut self, ask: Ask) {
        let Some(name) = self.backend().cloned() else {
            return self.say(format!("select a backend to {} it", ask.as_str()), true);
        };
        if let Link::Lost { .. } = self.model.link {
            return self.say("lb does not answer: nothing can be ordered".to_owned(), true);
        }
        let question = Question { ask, name };
        match self.model.row(&question.name).map(|row| question.is_idle(row)) {
            Some(Some(why)) => self.say(why, true),
            Some(None) => self.overlay = Some(Overlay::Question(question)),
            None => {}
        }
    }

    fn confirm(&mut self) -> Option<Effect> {
        match self.overlay.take()? {
            Overlay::Question(Question { ask, name }) => Some(Effect::Order(name, ask.order())),
            Overlay::Help => None,
        }
    }

    fn say(&mut self, text: String, bad: bool) {
        self.note = Some(Note { text, bad, until: self.now + NOTE });
    }

    fn go(&mut self, step: Move) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = self.table.selected().unwrap_or(0);
        let page = self.page.max(1);
        let next = match step {
            Move::Up => at.saturating_sub(1),
            Move::Down => at + 1,
            Move::PageUp => at.saturating_sub(page),
            Move::PageDown => at + page,
            Move::First => 0,
            Move::Last => last,
        };
        let selected = rows.get(next.min(last)).map(|row| row.subject.clone());
        self.selected = selected;
    }

    /// The selection stays on what was selected, wherever that is; where it is gone, on the line.
    fn find_selected(&mut self) {
        let rows = self.rows();
        let found = rows.iter().position(|row| Some(&row.subject) == self.selected.as_ref());
        let last = rows.len().checked_sub(1);
        let line = found.or_else(|| Some(self.table.selected().unwrap_or(0).min(last?)));
        let selected = line.and_then(|line| rows.get(line)).map(|row| row.subject.clone());
        self.selected = selected;
        self.table.select(line);
    }
}

#[cfg(test)]
mod tests;
