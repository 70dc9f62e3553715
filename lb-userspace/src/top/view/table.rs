//! The table of services and backends.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::Style,
    text::{Line, Text},
    widgets::{self, Cell, HighlightSpacing, Table},
};

use super::{places::TITLES, theme::Theme};
use crate::{
    cli::units::duration,
    report::Rates,
    top::{
        app::App,
        figures::{count, curve, highest, latency, rate},
        rows::{Check, Of, Row, Subject},
    },
};

/// In front of the selected row.
const MARK: &str = ">";
const NAME: u16 = 12;

/// What a column shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Since,
    Flows,
    NewFlows,
    PacketsIn,
    PacketsOut,
    BitsIn,
    BitsOut,
    Check,
    Curve,
    Reason,
}

/// From left to right.
const COLUMNS: [Column; 12] = [
    Column::Name,
    Column::State,
    Column::Since,
    Column::Flows,
    Column::NewFlows,
    Column::PacketsIn,
    Column::PacketsOut,
    Column::BitsIn,
    Column::BitsOut,
    Column::Check,
    Column::Curve,
    Column::Reason,
];

/// Those that come first stay longest when the terminal becomes narrow.
const BY_IMPORTANCE: [&[Column]; 9] = [
    &[Column::State],
    &[Column::Flows],
    &[Column::NewFlows],
    &[Column::BitsIn, Column::BitsOut],
    &[Column::Since],
    &[Column::PacketsIn, Column::PacketsOut],
    &[Column::Check],
    &[Column::Curve],
    &[Column::Reason],
];

impl Column {
    /// In two lines.
    const fn titles(self) -> [&'static str; 2] {
        match self {
            Self::Name => ["", "SERVICE, BACKEND"],
            Self::State => ["", "STATE"],
            Self::Since => ["", "SINCE"],
            Self::Flows => ["", "FLOWS"],
            Self::NewFlows => ["", "NEW/S"],
            Self::PacketsIn => ["PKT/S", "IN"],
            Self::PacketsOut => ["PKT/S", "OUT"],
            Self::BitsIn => ["BIT/S", "IN"],
            Self::BitsOut => ["BIT/S", "OUT"],
            Self::Check => ["", "CHECK"],
            Self::Curve => ["", "BIT/S"],
            Self::Reason => ["", "REASON"],
        }
    }

    /// The least that is worth it.
    const fn width(self) -> u16 {
        match self {
            Self::Name => NAME,
            Self::State => 9,
            Self::Since => 6,
            Self::Curve | Self::Reason => 16,
            _ => 5,
        }
    }

    const fn alignment(self) -> Alignment {
        match self {
            Self::Name | Self::State | Self::Curve | Self::Reason => Alignment::Left,
            _ => Alignment::Right,
        }
    }
}

/// The columns that fit, each with its width.
fn columns(width: u16) -> Vec<(Column, u16)> {
    // The marker stands before the first column.
    let mut left = width.saturating_sub(NAME + 1);
    let mut chosen = vec![Column::Name];
    for group in BY_IMPORTANCE {
        let needed: u16 = group.iter().map(|column| column.width() + 1).sum();
        // At 80 columns names matter more than a curve of 16.
        let needed = needed + if group == [Column::Curve] { 9 } else { 0 };
        if needed > left {
            break;
        }
        left -= group.iter().map(|column| column.width() + 1).sum::<u16>();
        chosen.extend(group);
    }
    let mut widths: Vec<_> = COLUMNS
        .into_iter()
        .filter(|column| chosen.contains(column))
        .map(|column| (column, column.width()))
        .collect();
    // What is left is shared out in this order.
    for (column, most) in [
        (Column::Name, 8),
        (Column::Reason, 24),
        (Column::Curve, 8),
        (Column::Reason, u16::MAX),
        (Column::Name, u16::MAX),
    ] {
        if let Some((_, width)) = widths.iter_mut().find(|(its, _)| *its == column) {
            let more = left.min(most);
            *width += more;
            left -= more;
        }
    }
    widths
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme, area: Rect) {
    let page = usize::from(area.height.saturating_sub(TITLES));
    app.page = page;
    let mut state = app.table;
    let rows = app.rows();
    let offset = scrolled(state.offset(), state.selected(), page, rows.len());
    *state.offset_mut() = offset;
    let columns = columns(area.width);
    let highest_of_all = highest(rows.iter().flat_map(curve_of));

    let shown = format!(
        "{}-{} of {} by {}{}",
        (offset + 1).min(rows.len()),
        (offset + page).min(rows.len()),
        rows.len(),
        if app.reversed { "-" } else { "" },
        app.sort.as_str()
    );
    let titles = columns.iter().map(|(column, _)| {
        let [above, below] = column.titles();
        let above = if *column == Column::Name { shown.as_str() } else { above };
        let lines = [Line::raw(above.to_owned()), Line::styled(below, theme.title())];
        Cell::new(Text::from_iter(lines).alignment(column.alignment()))
    });
    let body = rows.iter().map(|row| {
        let is_service = matches!(row.subject, Subject::Service(_));
        let has_since = columns.iter().any(|(column, _)| *column == Column::Since);
        // A service's state tells how many backends take part, and has the room of two columns.
        let shown = columns.iter().filter(|(column, _)| !is_service || *column != Column::Since);
        let cells = shown.map(|(column, width)| {
            let (text, style) = cell(*column, row, theme, usize::from(*width), highest_of_all);
            let is_wide = is_service && has_since && *column == Column::State;
            let text = Text::styled(text, style).alignment(column.alignment());
            Cell::new(text).column_span(if is_wide { 2 } else { 1 })
        });
        widgets::Row::new(cells)
    });
    let table = Table::new(body, columns.iter().map(|(_, width)| Constraint::Length(*width)))
        .header(widgets::Row::new(titles).height(TITLES))
        .column_spacing(1)
        .row_highlight_style(theme.reversed())
        .highlight_symbol(MARK)
        .highlight_spacing(HighlightSpacing::Always);
    frame.render_stateful_widget(table, area, &mut state);
    app.table = state;
}

/// The first row to be shown, so that the selected one is.
fn scrolled(offset: usize, selected: Option<usize>, page: usize, rows: usize) -> usize {
    let offset = offset.min(rows.saturating_sub(page));
    match selected {
        Some(line) if line < offset => line,
        Some(line) if line >= offset + page => line + 1 - page.min(line + 1),
        _ => offset,
    }
}

/// The newest values of a row's curve, as many as any column is wide.
fn curve_of<'a>(row: &Row<'a>) -> impl Iterator<Item = Option<f64>> + use<'a> {
    let figures = row.figures.into_iter();
    // The curve of a service would make those of its backends low.
    let is_backend = matches!(row.subject, Subject::Backend(_));
    figures.filter(move |_| is_backend).flat_map(|figures| figures.bits.newest(24))
}

fn cell(column: Column, row: &Row<'_>, theme: Theme, width: usize, max: f64) -> (String, Style) {
    let of_rates = |of: fn(&Rates) -> f64| (rate(row.rates().as_ref().map(of)), Style::new());
    let plain = |text| (text, Style::new());
    match column {
        Column::Name => match &row.subject {
            Subject::Service(service) => (service.clone(), theme.title()),
            Subject::Backend(name) => plain(format!("  {}", name.backend)),
        },
        Column::State => match &row.of {
            Of::Service(its) => {
                let text = format!("{} {}/{}", row.state, its.backends_available, its.backends);
                (text, theme.state(row.state))
            }
            Of::Backend { .. } => (row.state.to_owned(), theme.state(row.state)),
        },
        Column::Since => match &row.of {
            Of::Service(_) => plain(String::new()),
            Of::Backend { row, .. } => plain(duration(row.since_seconds)),
        },
        Column::Flows => plain(count(row.flows)),
        Column::NewFlows => of_rates(|rates| rates.new_flows_per_second),
        Column::PacketsIn => of_rates(|rates| rates.packets_in_per_second),
        Column::PacketsOut => of_rates(|rates| rates.packets_out_per_second),
        Column::BitsIn => of_rates(|rates| rates.bits_in_per_second),
        Column::BitsOut => of_rates(|rates| rates.bits_out_per_second),
        Column::Check => match &row.of {
            Of::Service(_) => plain(String::new()),
            Of::Backend { check: Check::Good(took), .. } => plain(latency(*took)),
            Of::Backend { check: Check::Failed, .. } => ("fail".to_owned(), theme.bad()),
            Of::Backend { check: Check::Unknown, .. } => plain(latency(None)),
        },
        Column::Curve => {
            let newest = row.figures.into_iter().flat_map(|figures| figures.bits.newest(width));
            let max = match row.of {
                Of::Service(_) => highest(newest.clone()),
                Of::Backend { .. } => max,
            };
            (format!("{:>width$}", curve(newest, max)), theme.curve())
        }
        Column::Reason => match &row.of {
            Of::Service(_) => plain(String::new()),
            Of::Backend { row, .. } => plain(row.reason.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_width_and_the_important_ones_stay() {
        for width in 0..300 {
            let columns = columns(width);
            let used: u16 = 1 + columns.iter().map(|(_, width)| width + 1).sum::<u16>() - 1;
            assert!(used <= width.max(NAME + 1), "{width}: {columns:?}");
            if width > NAME {
                assert_eq!(used, width, "{columns:?}");
            }
        }
        let of = |width| columns(width).into_iter().map(|(column, _)| column).collect::<Vec<_>>();
        assert_eq!(of(80), COLUMNS[..10]);
        assert_eq!(of(100), COLUMNS[..11]);
        assert_eq!(of(120), COLUMNS);
        assert_eq!(of(20), COLUMNS[..1]);
        assert_eq!(of(30), [Column::Name, Column::State, Column::Flows]);
        assert_eq!(columns(80)[0], (Column::Name, 20));
    }

    #[test]
    fn the_selected_row_is_on_the_screen_and_no_line_is_wasted() {
        for (offset, selected, page, rows, expected) in [
            (0, Some(0), 10, 50, 0),
            (0, Some(9), 10, 50, 0),
            (0, Some(10), 10, 50, 1),
            (20, Some(5), 10, 50, 5),
            (45, Some(49), 10, 50, 40),
            (30, None, 10, 5, 0),
            (0, Some(3), 0, 5, 4),
        ] {
            assert_eq!(scrolled(offset, selected, page, rows), expected, "{offset} {selected:?}");
        }
    }
}
