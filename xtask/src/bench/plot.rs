//! The cost of a packet against the number of flows, as a drawing.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use lb_tests::bench::{Figure, Findings, number};

/// The beginning of the heading of the table that is drawn.
const TABLE: &str = "Cost of a packet above the floor by number of flows, quiet";

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 236.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 52.0;
/// Colours that people who see few of them can tell apart, too.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// One line of the drawing.
struct Series<'f> {
    name: &'f str,
    /// Flows, and what a packet costs.
    points: Vec<(f64, f64)>,
}

/// Draws what was found.
pub fn svg(findings: &Findings) -> Result<String> {
    let series = series(&findings.figures);
    ensure!(!series.is_empty(), "there is nothing to draw: measure the part `program`");
    let all = || series.iter().flat_map(|its| its.points.iter().copied());
    let most_flows = all().map(|(flows, _)| flows).fold(10.0, f64::max).log10().ceil();
    let step = step(all().map(|(_, cost)| cost).fold(1.0, f64::max));
    let most = (all().map(|(_, cost)| cost).fold(1.0, f64::max) / step).ceil() * step;
    let x = |flows: f64| LEFT + flows.log10() / most_flows * (WIDTH - LEFT - RIGHT);
    let y = |cost: f64| HEIGHT - BOTTOM - cost.max(0.0) / most * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for i in 0..=(most / step).round() as u32 {
        let cost = f64::from(i) * step;
        line(&mut svg, (LEFT, y(cost)), (WIDTH - RIGHT, y(cost)), "#ddd", 1.0);
        text(&mut svg, (LEFT - 8.0, y(cost) + 4.0), "end", "#333", &number(cost));
    }
    for power in 0..=most_flows as i32 {
        let flows = 10f64.powi(power);
        line(&mut svg, (x(flows), TOP), (x(flows), HEIGHT - BOTTOM), "#ddd", 1.0);
        text(&mut svg, (x(flows), HEIGHT - BOTTOM + 18.0), "middle", "#333", &number(flows));
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    text(&mut svg, (middle, HEIGHT - 12.0), "middle", "#333", "flows, every packet another one");
    text(&mut svg, (8.0, TOP - 16.0), "start", "#333", "ns a packet above the floor");
    for (i, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let place = |&(flows, cost): &(f64, f64)| (x(flows), y(cost));
        let points: Vec<_> = series.points.iter().map(place).collect();
        for pair in points.windows(2) {
            line(&mut svg, pair[0], pair[1], colour, 2.0);
        }
        for (x, y) in points {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        let at = TOP + 14.0 + 22.0 * i as f64;
        let left = WIDTH - RIGHT + 12.0;
        line(&mut svg, (left, at), (left + 20.0, at), colour, 3.0);
        text(&mut svg, (left + 26.0, at + 4.0), "start", "#333", series.name);
    }
    svg += "</svg>\n";
    Ok(svg)
}

/// The columns of the table.
fn series(figures: &[Figure]) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for Figure { row, column, value, .. } in figures.iter().filter(|its| its.table == TABLE) {
        let Ok(flows) = row.replace(',', "").parse() else { continue };
        match all.iter_mut().find(|series| series.name == column) {
            Some(series) => series.points.push((flows, *value)),
            None => all.push(Series { name: column, points: vec![(flows, *value)] }),
        }
    }
    all
}

/// The distance of four to eight lines up to `most`: a 1, 2 or 5 with zeros.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 8.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps.into_iter().find(|step| most / step <= 8.0).unwrap_or(steps[3])
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-width=\"{width}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>",
        at.0, at.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_a_line_with_its_points() {
        let mut findings = Findings::default();
        for (row, cost) in [("1", 50.0), ("1,000", 60.0), ("1,000,000", 120.0)] {
            findings.add([TABLE, row, "lb"], cost, "ns");
            findings.add([TABLE, row, "a < b"], cost * 2.0, "ns");
        }
        findings.add(["Another table", "1", "lb"], 9.0, "ns");
        let svg = svg(&findings).unwrap();
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains(">lb</text>") && svg.contains(">a &lt; b</text>"), "{svg}");
        assert!(svg.contains(">1,000,000</text>") && svg.ends_with("</svg>\n"), "{svg}");
    }

    #[test]
    fn nothing_is_not_drawn() {
        assert!(svg(&Findings::default()).is_err());
    }

    #[test]
    fn lines_are_at_round_numbers() {
        for (most, distance) in [(1.0, 0.2), (35.0, 5.0), (433.0, 100.0), (801.0, 200.0)] {
            assert!((step(most) - distance).abs() < 1e-9, "{most}: {}", step(most));
        }
    }
}
