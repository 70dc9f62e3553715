//! What has changed since an earlier run.

use lb_tests::bench::{Figure, Findings, number, tables};

use super::report::Report;

/// Each figure of both runs, and by how much it has changed.
pub fn changes(earlier: &Report, now: &Report) -> String {
    let mut changes = Findings::default();
    let mut only_now = 0;
    for Figure { table, row, column, value, unit, .. } in &now.findings.figures {
        let Some(before) = earlier.findings.value([table, row, column]) else {
            only_now += 1;
            continue;
        };
        let name = if column.is_empty() { row.clone() } else { format!("{row}: {column}") };
        let table = format!("Change since the earlier run: {table}");
        changes.add([&table, &name, "before"], before, unit);
        changes.add([&table, &name, "now"], *value, unit);
        changes.add([&table, &name, "change"], (value / before - 1.0) * 100.0, "%");
    }
    if changes.figures.is_empty() {
        changes.note("The earlier run has none of these figures.");
    } else if only_now > 0 {
        changes.note(format!("{} figures are not in the earlier run.", number(only_now.into())));
    }
    if earlier.machine.cpu != now.machine.cpu || earlier.machine.kernel != now.machine.kernel {
        changes.note("The earlier run was on another machine: only ratios can be compared.");
    }
    format!("\nEarlier: {}\n{}", earlier.machine, tables(&changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu: &str, figures: &[(&str, f64)]) -> Report {
        let mut report = Report::default();
        report.machine.cpu = cpu.to_owned();
        for (row, value) in figures {
            report.findings.add(["Cost", row, "lb"], *value, "ns");
        }
        report
    }

    #[test]
    fn a_change_is_in_percent_of_the_earlier_figure() {
        let text = changes(&report("a", &[("one", 80.0)]), &report("a", &[("one", 60.0)]));
        let line = text.lines().find(|line| line.contains("one: lb")).unwrap();
        assert!(
            line.contains("80 ns") && line.contains("60 ns") && line.contains("-25 %"),
            "{line}"
        );
        assert!(!text.contains("another machine") && !text.contains("not in"), "{text}");
    }

    #[test]
    fn what_only_one_run_has_is_said() {
        let text =
            changes(&report("a", &[("one", 80.0)]), &report("b", &[("one", 80.0), ("two", 1.0)]));
        assert!(text.contains("1 figures are not in the earlier run"), "{text}");
        assert!(text.contains("another machine"), "{text}");
        let text = changes(&report("a", &[]), &report("a", &[("one", 80.0)]));
        assert!(text.contains("none of these figures"), "{text}");
    }
}
