//! What lies before the table: the help, and questions.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::Line,
    widgets::{Block, Clear, Paragraph, Wrap},
};

use super::theme::Theme;
use crate::top::{app::Overlay, model::Model, orders::Question};

/// A question is as wide as its sentences can be read in.
const QUESTION: u16 = 64;

const HELP: &str = "\
↑ ↓ j k       select a row              PgUp PgDn  a screen up or down
g G Home End  first, last               ^L         draw everything again
< >           sort: file order, name, state, flows, new, packets, bits
r             the other way round
d a s         drain, activate, suspend the selected backend; asks first
q Esc ^C      leave

SINCE         how long it has been in its state
FLOWS         proven connections        NEW/S      new ones a second
PKT/S, BIT/S  packets and bits of IP a second, IN: to the backend
CHECK         how long the last keepalive took
NOT FORWARDED packets by reason; some are passed to the kernel
k M G         thousands, millions, thousands of millions
-             not known";

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, overlay: &Overlay, theme: Theme) {
    match overlay {
        Overlay::Help => {
            let lines = HELP.lines();
            let width = lines.clone().map(|line| line.chars().count()).max().unwrap_or(0);
            let (width, height) = (width as u16 + 4, lines.count() as u16 + 2);
            let block = Block::bordered().title(" lb top ").title_bottom(" any key: back ");
            show(frame, block, HELP.lines().map(Line::raw).collect(), (width, height));
        }
        Overlay::Question(question) => ask(frame, model, question, theme),
    }
}

fn ask(frame: &mut Frame<'_>, model: &Model, Question { ask, name }: &Question, theme: Theme) {
    let question = Question { ask: *ask, name: name.clone() };
    let sentences = question.consequences(model).unwrap_or_default();
    let width = QUESTION.min(frame.area().width);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    // Words are not split: a line may lack one.
    let lines =
        sentences.iter().map(|it| it.chars().count().div_ceil(inner.saturating_sub(8).max(1)));
    let height = u16::try_from(lines.sum::<usize>()).unwrap_or(u16::MAX).saturating_add(2);
    let verb = ask.as_str();
    let block = Block::bordered()
        .title(Line::styled(format!(" {verb} {name}? "), theme.title()))
        .title_bottom(Line::styled(
            format!(" y: {verb} it   n: leave it as it is "),
            theme.title(),
        ));
    show(frame, block, sentences.into_iter().map(Line::raw).collect(), (width, height));
}

/// In the middle of the screen, as large as there is room.
fn show(
    frame: &mut Frame<'_>,
    block: Block<'_>,
    lines: Vec<Line<'_>>,
    (width, height): (u16, u16),
) {
    let area: Rect = frame.area().centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, area);
    let block = block.padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}
