//! The results as a Markdown document.

use std::fmt::Write;

use super::{
    Report,
    prose::{explanation, title},
    ratios::{Goal, Ratio},
    row::Row,
    table::{matrix, table},
    words::{case, time_of, who},
};
use crate::settings::{Settings, Work};

/// The document.
pub(super) fn document(report: &Report, settings: &Settings, rows: &[Row], ratios: &[Ratio]) -> String {
    let mut text = String::from("# Results of the benchmark\n\n");
    preface(&mut text, report, settings);
    if !ratios.is_empty() {
        text.push_str("\n## Ratios\n\n");
        ratio_table(&mut text, ratios);
    }
    for work in Work::all() {
        let rows: Vec<_> = rows.iter().filter(|row| row.cell.work == work).collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n## {}\n\n{}\n\n", title(work), explanation(work, settings));
            if matches!(work, Work::Pairs) {
                matrix(&mut text, &rows);
            }
            table(&mut text, work, &rows);
        }
    }
    list(&mut text, "Left out", &report.left_out);
    list(&mut text, "What went wrong", &report.troubles);
    list(&mut text, "Failed requests", &failures(rows));
    text
}

/// The machine, the versions and the command.
fn preface(text: &mut String, report: &Report, settings: &Settings) {
    let machine = &report.machine;
    let mut lines = vec![
        format!(
            "{}, {} processors, {} MiB of memory, Linux {}.",
            machine.processor, machine.processors, machine.memory_mib, machine.kernel
        ),
        format!(
            "The servers' files are on {}, where a durable write of 4 KiB takes {} at the median.",
            machine.file_system,
            time_of(crate::number::float(machine.sync_us))
        ),
        format!("`{}`", report.command),
        format!(
            "Rounds: {}, each over all servers in turn, one of them running at a time. Each measurement counts for {} s \
             after {} s of warm-up. The numbers are the medians of the rounds.",
            settings.rounds,
            settings.window.as_secs_f64(),
            settings.warm_up.as_secs_f64()
        ),
    ];
    if !machine.is_durable() {
        lines.push("**This file system is in memory: nothing here was durable.**".into());
    }
    lines.extend(report.versions.iter().cloned());
    for line in lines {
        let _ = writeln!(text, "- {line}");
    }
}

/// The comparisons with their goals and results.
fn ratio_table(text: &mut String, ratios: &[Ratio]) {
    text.push_str("| what | measured | goal | |\n|---|---:|---:|---|\n");
    for ratio in ratios {
        let value = ratio.value.map(|value| format!("{value:.2}")).unwrap_or_default();
        let goal = match ratio.goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
        };
        let verdict = if ratio.is_met() { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {} | {value} | {goal} | {verdict} |", ratio.what);
    }
}

/// The failed requests of each row that has some.
fn failures(rows: &[Row]) -> Vec<String> {
    let failed = rows.iter().flat_map(|row| {
        let name = format!("{}, {}", who(row.stand, row.cell), case(row.stand, row.cell));
        row.failures.iter().map(move |(what, times)| format!("{name}: {times} × {what}"))
    });
    failed.collect()
}

/// A list under a heading, if there is anything to list.
fn list(text: &mut String, heading: &str, items: &[String]) {
    if !items.is_empty() {
        let _ = write!(text, "\n## {heading}\n\n");
        for item in items {
            let _ = writeln!(text, "- {item}");
        }
    }
}
