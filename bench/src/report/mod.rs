//! The report of a run: medians, ratios, tables, a chart.

mod chart;
mod findings;
mod json;
mod markdown;
mod prose;
mod ratios;
mod row;
mod table;
mod words;

use std::{fs, path::Path};

use anyhow::Context;

pub(crate) use self::{
    findings::{Findings, Measure},
    row::Sample,
    words::{case, progress},
};
use self::{ratios::Ratio, row::Row};
use crate::{settings::Settings, site::Machine};

/// The results of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// The command that was run.
    pub(crate) command: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// The versions that the programs report.
    pub(crate) versions: Vec<String>,
    /// The stands that were not measured, and the reasons.
    pub(crate) left_out: Vec<String>,
    /// The failures of whole measurements. Failed requests are in the samples.
    pub(crate) troubles: Vec<String>,
    /// Each measurement of each round.
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    /// Writes the results into the folder of the settings, and returns the tables as text.
    pub(crate) fn write(&self, settings: &Settings) -> anyhow::Result<String> {
        let rows = Row::medians(&self.samples);
        let ratios = Ratio::all(&rows, settings);
        let text = markdown::document(self, settings, &rows, &ratios);
        let out = &settings.out;
        fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
        write(&out.join("results.json"), &json::document(self, settings, &rows, &ratios)?)?;
        write(&out.join("results.md"), &text)?;
        write(&out.join("results.svg"), &chart::document(&rows))?;
        Ok(text)
    }
}

/// Writes a file.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
