//! Draws what is known.

mod below;
mod dialog;
mod head;
mod places;
mod table;
#[cfg(test)]
mod tests;
mod theme;

use ratatui::Frame;

use super::app::App;
pub(super) use theme::Theme;

/// Draws everything anew.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme) {
    let area = frame.area();
    let rows = app.rows().len();
    let places = places::places(area, rows, below::drop_lines(&app.model, area.width));
    head::draw(frame, app, theme, &places);
    table::draw(frame, app, theme, places.table);
    below::draw(frame, app, theme, &places);
    if let Some(overlay) = &app.overlay {
        dialog::draw(frame, &app.model, overlay, theme);
    }
}
