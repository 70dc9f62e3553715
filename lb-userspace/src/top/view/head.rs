//! The head of the screen: who is looked at, sums, and their last minutes.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{places::Places, theme::Theme};
use crate::{
    cli::units::duration,
    report::Summary,
    top::{
        app::App,
        figures::{count, curve, highest, rate},
        history::History,
        model::Link,
    },
};

/// In front of a curve, and behind it.
const LABEL: u16 = 7;
const HIGHEST: u16 = 10;

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme, places: &Places) {
    frame.render_widget(title(app, theme, places.title.width), places.title);
    frame.render_widget(totals(app), places.totals);
    let figures = app.model.total();
    let curves = [("new/s", &figures.new_flows), ("bits/s", &figures.bits)];
    for ((label, history), line) in curves.into_iter().zip(places.curves.rows()) {
        draw_curve(frame, theme, label, history, line);
    }
}

fn title<'a>(app: &'a App, theme: Theme, width: u16) -> Paragraph<'a> {
    if let Link::Lost { since, why } = &app.model.link {
        let waited = duration(app.now.saturating_duration_since(*since).as_secs());
        let text = format!("NO ANSWER for {waited}, trying again: {why}");
        return Paragraph::new(text).style(theme.bad().patch(theme.reversed()));
    }
    let summary = &app.model.snapshot().summary;
    let left = format!(
        "lb {}  up {}  {}",
        summary.version,
        duration(summary.uptime_seconds),
        interfaces(summary)
    );
    let columns = u64::from(width.saturating_sub(LABEL + HIGHEST));
    let right = format!("curves: {}", duration(columns * app.model.span().as_secs()));
    let gap = usize::from(width).saturating_sub(left.chars().count() + right.len());
    let mut line = vec![Span::styled(left, theme.title())];
    if gap >= 2 {
        line.push(Span::raw(format!("{:gap$}{right}", "")));
    }
    Paragraph::new(Line::from(line))
}

/// "eth0, eth1: native", or each with its own mode.
fn interfaces(summary: &Summary) -> String {
    let rows = &summary.interfaces;
    match rows.first() {
        Some(first) if rows.iter().all(|row| row.xdp_mode == first.xdp_mode) => {
            let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
            format!("{}: {}", names.join(", "), first.xdp_mode)
        }
        _ => {
            let each = rows.iter().map(|row| format!("{}: {}", row.name, row.xdp_mode));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn totals(app: &App) -> Paragraph<'_> {
    let summary = &app.model.snapshot().summary;
    let rates = app.model.total().rates;
    let used = 100.0 * summary.active_flows as f64 / f64::from(summary.flow_capacity.max(1));
    Paragraph::new(format!(
        "flows {}/{} {used:.1}%  new {}/s  in {}p/s {}b/s  out {}p/s {}b/s",
        count(summary.active_flows),
        count(u64::from(summary.flow_capacity)),
        rate(rates.map(|it| it.new_flows_per_second)),
        rate(rates.map(|it| it.packets_in_per_second)),
        rate(rates.map(|it| it.bits_in_per_second)),
        rate(rates.map(|it| it.packets_out_per_second)),
        rate(rates.map(|it| it.bits_out_per_second)),
    ))
}

fn draw_curve(frame: &mut Frame<'_>, theme: Theme, label: &str, history: &History, line: Rect) {
    let columns = line.width.saturating_sub(LABEL + HIGHEST);
    let values = || history.newest(usize::from(columns));
    let highest = highest(values());
    let (label_width, width) = (usize::from(LABEL), usize::from(columns));
    let line_of_text = Line::from(vec![
        Span::raw(format!("{label:label_width$}")),
        // The newest is at the right end.
        Span::styled(format!("{:>width$}", curve(values(), highest)), theme.curve()),
        Span::raw(format!(" max {}", rate(Some(highest)))),
    ]);
    frame.render_widget(Paragraph::new(line_of_text), line);
}
