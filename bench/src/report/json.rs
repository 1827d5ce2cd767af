//! The results for other programs: every sample of every round, the medians, and the ratios.

use anyhow::Context;
use serde_json::json;

use super::{Report, ratios::Ratio, row::Row};
use crate::settings::Settings;

/// The document.
pub(super) fn document(
    report: &Report,
    settings: &Settings,
    rows: &[Row],
    ratios: &[Ratio],
) -> anyhow::Result<String> {
    let samples: Vec<_> = report
        .samples
        .iter()
        .map(|sample| {
            json!({
                "stand": sample.stand,
                "cell": sample.cell,
                "round": sample.round,
                "measures": sample.findings.measures,
                "failures": sample.findings.failures.clone().into_map(),
            })
        })
        .collect();
    let document = json!({
        "command": report.command,
        "machine": report.machine,
        "versions": report.versions,
        "window_seconds": settings.window.as_secs_f64(),
        "warm_up_seconds": settings.warm_up.as_secs_f64(),
        "rounds": settings.rounds,
        "rate": settings.rate,
        "left_out": report.left_out,
        "troubles": report.troubles,
        "ratios": ratios,
        "rows": rows,
        "samples": samples,
    });
    serde_json::to_string_pretty(&document).context("write the results as JSON")
}
