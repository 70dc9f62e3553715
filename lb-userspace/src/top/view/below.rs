//! What is below the table: the selected row, what was not forwarded, what happened, the keys.

use std::time::SystemTime;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{places::Places, theme::Theme};
use crate::{
    cli::units::duration,
    events::EventRow,
    report::DropRow,
    top::{
        app::App,
        figures::{count, latency, rate},
        model::{Model, name},
        rows::Of,
    },
};

/// The least width of one of several columns of drops.
const DROP: u16 = 38;
/// From this width on an event is told with its time and the word for its severity.
const WIDE: u16 = 100;

const KEYS: &str = "q quit  ? help  ↑↓ select  <> sort  d drain  a activate  s suspend";

pub(super) fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme, places: &Places) {
    frame.render_widget(Paragraph::new(detail(app)), places.detail);
    draw_drops(frame, &app.model, theme, places.drops);
    draw_events(frame, app, theme, places.events);
    let footer = match &app.note {
        Some(note) if note.bad => Line::styled(note.text.as_str(), theme.bad()),
        Some(note) => Line::styled(note.text.as_str(), theme.title()),
        None => Line::raw(KEYS),
    };
    frame.render_widget(Paragraph::new(footer), places.footer);
}

/// How many lines the drops would fill at this width.
pub(super) fn drop_lines(model: &Model, width: u16) -> usize {
    model.snapshot().drops.len().div_ceil(usize::from((width / DROP).max(1)))
}

fn detail(app: &App) -> Vec<Line<'_>> {
    let rows = app.rows();
    let Some(row) = app.table.selected().and_then(|line| rows.get(line)) else {
        return vec![Line::raw("no services")];
    };
    match &row.of {
        Of::Service(its) => vec![
            Line::raw(format!(
                "{}  {}:{} {} {}",
                its.service, its.vip, its.port, its.protocol, its.forwarding
            )),
            Line::raw(format!(
                "{} of {} backends take new connections, {} connections so far",
                its.backends_available,
                its.backends,
                count(its.new_flows)
            )),
        ],
        Of::Backend { row, .. } => {
            let backup = if row.backup { ", backup" } else { "" };
            vec![
                Line::raw(format!(
                    "{}/{}  {}:{}  weight {}{backup}, share {:.1}%  {}",
                    row.service,
                    row.backend,
                    row.address,
                    row.port,
                    row.weight,
                    row.share_percent,
                    keepalive(&app.model, row)
                )),
                Line::raw(format!(
                    "{} for {}: {}",
                    row.state,
                    duration(row.since_seconds),
                    row.reason
                )),
            ]
        }
    }
}

fn keepalive(model: &Model, row: &crate::report::BackendRow) -> String {
    model.keepalive(&name(row)).map_or_else(
        || "not checked".to_owned(),
        |its| {
            let took = latency(its.latency_ms);
            let (failures, checks) = (count(its.failures), count(its.checks));
            format!("{} {took}, {failures} of {checks} failed", its.r#type)
        },
    )
}

fn draw_drops(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let summary = &model.snapshot().summary;
    let title = Line::from(vec![
        Span::styled("NOT FORWARDED", theme.title()),
        Span::raw(format!(
            "  dropped {}, refused {}, reset flows {}",
            count(summary.dropped),
            count(summary.refused_flows),
            count(summary.reset_flows)
        )),
    ]);
    let mut lines = area.rows();
    let Some(first) = lines.next() else { return };
    frame.render_widget(Paragraph::new(title), first);
    let across = (area.width / DROP).max(1);
    let mut rows = drops(model).into_iter();
    for line in lines {
        for place in Layout::horizontal(vec![Constraint::Fill(1); across.into()]).split(line).iter()
        {
            let Some(row) = rows.next() else { return };
            let text = drop_text(model, row, usize::from(place.width));
            frame.render_widget(Paragraph::new(text), *place);
        }
    }
}

/// What is dropped comes first, and of that what is dropped most.
fn drops(model: &Model) -> Vec<&DropRow> {
    let mut rows: Vec<_> = model.snapshot().drops.iter().collect();
    rows.sort_by(|a, b| {
        let key = |row: &DropRow| (row.action == "dropped", model.drop_rate(row).unwrap_or(0.0));
        let ((a_dropped, a_rate), (b_dropped, b_rate)) = (key(a), key(b));
        let order = b_dropped.cmp(&a_dropped).then(b_rate.total_cmp(&a_rate));
        order.then(b.packets.cmp(&a.packets))
    });
    rows
}

fn drop_text(model: &Model, row: &DropRow, width: usize) -> String {
    let mut what = match &row.service {
        Some(service) => format!("{service} {}", row.reason),
        None => row.reason.clone(),
    };
    if row.action != "dropped" {
        what = format!("{what} ({})", row.action);
    }
    let label = width.saturating_sub(16);
    let rate = rate(model.drop_rate(row));
    format!("{what:<label$.label$} {rate:>5}/s {:>5}", count(row.packets))
}

fn draw_events(frame: &mut Frame<'_>, app: &App, theme: Theme, area: Rect) {
    let wide = area.width >= WIDE;
    let legend = if wide { "" } else { "  ! warning, !! error" };
    let title = [Span::styled("EVENTS", theme.title()), Span::raw(legend)];
    let mut lines = vec![Line::from_iter(title)];
    let room = usize::from(area.height.saturating_sub(1));
    let skipped = app.model.events().len().saturating_sub(room);
    lines.extend(app.model.events().skip(skipped).map(|event| {
        let age = age(event, app.wall);
        let text = match event.time.split_once('.') {
            Some((time, _)) if wide => {
                format!("{time}Z {age:>6} ago  {:7}  {}", event.severity, event.text)
            }
            _ => format!("{age:>6} {:2} {}", mark(&event.severity), event.text),
        };
        Line::styled(text, theme.severity(&event.severity))
    }));
    if lines.len() == 1 {
        lines.push(Line::raw("none so far"));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn mark(severity: &str) -> &'static str {
    match severity {
        "error" => "!!",
        "warning" => "!",
        _ => "",
    }
}

/// `3m12s`.
fn age(event: &EventRow, now: SystemTime) -> String {
    humantime::parse_rfc3339(&event.time).map_or_else(
        |_| "-".to_owned(),
        // The clock may have been set back.
        |time| duration(now.duration_since(time).unwrap_or_default().as_secs()),
    )
}
