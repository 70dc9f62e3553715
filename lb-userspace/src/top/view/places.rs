//! Which part of the screen is where.

use ratatui::layout::Rect;

/// The lines of the table's titles.
pub(super) const TITLES: u16 = 2;

/// The parts from top to bottom; those that there is no room for have no height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// Who is looked at.
    pub(super) title: Rect,
    /// Sums.
    pub(super) totals: Rect,
    /// The last minutes of the sums.
    pub(super) curves: Rect,
    /// The table with its titles.
    pub(super) table: Rect,
    /// More about the selected row.
    pub(super) detail: Rect,
    /// Drops with their title.
    pub(super) drops: Rect,
    /// Events with their title.
    pub(super) events: Rect,
    /// Messages and keys.
    pub(super) footer: Rect,
}

/// Divides the screen; `rows` and `drops` are the lines that table and drops could fill.
pub(super) fn places(area: Rect, rows: usize, drops: usize) -> Places {
    // The height from which a part is worth its lines: the table has four rows at least before
    // anything else is told.
    let from = |height: u16, lines: u16| if area.height >= height { lines } else { 0 };
    let (title, footer) = (from(4, 1), from(3, 1));
    let (totals, detail, curves) = (from(9, 1), from(11, 2), from(24, 2));
    let drops = u16::try_from(drops).unwrap_or(u16::MAX);
    let (mut events, mut drops_height) = (from(16, 4), from(20, 1 + drops.min(2)));
    let others = title + footer + totals + detail + curves + events + drops_height;
    let wanted = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(TITLES);
    let mut spare = area.height.saturating_sub(others).saturating_sub(wanted);
    if drops_height > 0 {
        let more = drops.saturating_sub(2).min(spare / 2);
        drops_height += more;
        spare -= more;
    }
    if events > 0 {
        events += spare;
        spare = 0;
    }
    let others = title + footer + totals + detail + curves + events + drops_height + spare;
    let table = area.height.saturating_sub(others) + spare;
    let mut y = area.y;
    let mut next = |height: u16| {
        let place = Rect { y, height, ..area };
        y += height;
        place
    };
    Places {
        title: next(title),
        totals: next(totals),
        curves: next(curves),
        table: next(table),
        detail: next(detail),
        drops: next(drops_height),
        events: next(events),
        footer: next(footer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heights(height: u16, rows: usize, drops: usize) -> [u16; 8] {
        let area = Rect::new(0, 0, 80, height);
        let places = places(area, rows, drops);
        let parts = [
            places.title,
            places.totals,
            places.curves,
            places.table,
            places.detail,
            places.drops,
            places.events,
            places.footer,
        ];
        let mut y = 0;
        for part in parts {
            assert_eq!((part.y, part.width), (y, 80));
            y += part.height;
        }
        assert_eq!(y, height, "the parts fill the screen");
        parts.map(|part| part.height)
    }

    #[test]
    fn the_usual_terminal_shows_everything() {
        assert_eq!(heights(24, 50, 2), [1, 1, 2, 10, 2, 3, 4, 1]);
        // What few rows leave free tells more of what happened.
        assert_eq!(heights(24, 3, 2), [1, 1, 2, 5, 2, 3, 9, 1]);
        assert_eq!(heights(24, 3, 0), [1, 1, 2, 5, 2, 1, 11, 1]);
    }

    #[test]
    fn a_large_terminal_gives_to_who_needs_it() {
        assert_eq!(heights(40, 20, 8), [1, 1, 2, 22, 2, 5, 6, 1]);
        assert_eq!(heights(40, 100, 8), [1, 1, 2, 26, 2, 3, 4, 1]);
    }

    #[test]
    fn a_small_terminal_shows_the_table() {
        assert_eq!(heights(15, 50, 9), [1, 1, 0, 10, 2, 0, 0, 1]);
        assert_eq!(heights(5, 50, 9), [1, 0, 0, 3, 0, 0, 0, 1]);
        for height in 0..60 {
            for rows in [0, 1, 10, 1000] {
                let [.., footer] = heights(height, rows, rows);
                assert_eq!(footer > 0, height >= 3);
            }
        }
    }
}
