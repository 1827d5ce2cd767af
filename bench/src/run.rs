//! A whole run: the rounds over all stands, and the report.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, ensure};
use tokio::time::timeout;

use crate::{
    limits,
    load::{fill, measure},
    number::count,
    plan::{Cell, Load, plan},
    report::{Report, Sample, case, progress},
    settings::Settings,
    site::{Machine, Programs, Site},
};

/// The time limit of a measurement. Only a server that does not answer any more reaches it.
const LONGEST: Duration = Duration::from_mins(10);

/// Runs everything in the settings, prints the tables and writes the results.
#[expect(clippy::print_stdout, reason = "the tables are what the program is run for")]
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    // The folder is removed on drop. The servers are dropped before and have ended by then.
    let folder = tempfile::Builder::new().prefix("db-locks-bench-").tempdir_in(&settings.folder);
    let folder = folder.context("make a folder for the servers")?;
    let root = fs::canonicalize(folder.path()).context("find the folder for the servers")?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).context("let the servers' users in")?;

    let service = std::path::absolute(&settings.binary).context("find the service's binary")?;
    let programs =
        Arc::new(Programs::find(service, plan(settings).into_iter().map(|(stand, _)| stand.server)));
    let mut report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: Machine::look(&root)?,
        versions: programs.versions(),
        left_out: Vec::new(),
        troubles: Vec::new(),
        samples: Vec::new(),
    };
    let mut turns = turns(settings, &programs, &root, &mut report)?;
    announce(settings, &turns, &report);
    for round in 1..=settings.rounds {
        for turn in &mut turns {
            turn.take(round, settings, &mut report).await;
            // The results are written after each measurement, so an interrupted run loses none of them.
            report.write(settings)?;
        }
    }
    println!("{}", report.write(settings)?);
    eprintln!("written into {}", settings.out.display());
    Ok(())
}

/// A stand with its measurements.
struct Turn {
    site: Site,
    cells: Vec<Cell>,
}

/// The stands whose programs exist. The report names the others.
fn turns(
    settings: &Settings,
    programs: &Arc<Programs>,
    root: &Path,
    report: &mut Report,
) -> anyhow::Result<Vec<Turn>> {
    let mut turns = Vec::new();
    for (number, (stand, cells)) in plan(settings).into_iter().enumerate() {
        if let Some(reason) = programs.missing(stand.server) {
            for cell in &cells {
                let line = format!("{}: {reason}", cell.peer.title());
                if !report.left_out.contains(&line) {
                    report.left_out.push(line);
                }
            }
            continue;
        }
        let site = Site::new(stand, Arc::clone(programs), root.join(format!("stand-{number}")))?;
        turns.push(Turn { site, cells });
    }
    ensure!(!turns.is_empty(), "nothing to measure. {}", report.left_out.join("\n"));
    Ok(turns)
}

impl Turn {
    /// Starts the servers, measures, and ends them. Failures are recorded, and the run continues.
    async fn take(&mut self, round: usize, settings: &Settings, report: &mut Report) {
        let cells: Vec<_> = self.cells.iter().copied().filter(|cell| round == 1 || !cell.once).collect();
        let clean = !self.site.stand().filled;
        let mut is_fresh = false;
        for cell in cells {
            let name = format!("{}, {}", cell.peer.title(), case(self.site.stand(), cell));
            if !is_fresh || cell.clean {
                if let Err(error) = self.open(clean, cell, settings).await {
                    note(report, format!("round {round}, {name}: {error:#}"));
                    break;
                }
                is_fresh = true;
            }
            let measured = timeout(LONGEST, measure(&self.site, cell, settings)).await;
            match measured.unwrap_or_else(|_| Err(anyhow!("no end after {} s", LONGEST.as_secs()))) {
                Ok(findings) => {
                    eprintln!(
                        "[{round}/{}] {}",
                        settings.rounds,
                        progress(self.site.stand(), cell, &findings)
                    );
                    report.samples.push(Sample { stand: self.site.stand(), cell, round, findings });
                }
                Err(error) => {
                    note(report, format!("round {round}, {name}: {error:#}"));
                    // The next measurement starts new servers, whatever state this one left.
                    is_fresh = false;
                }
            }
        }
        self.site.close();
    }

    /// Starts the servers, and fills their table if necessary.
    async fn open(&mut self, clean: bool, cell: Cell, settings: &Settings) -> anyhow::Result<()> {
        let clean = clean || !self.site.is_full;
        self.site.open(clean).await?;
        if self.site.stand().filled && !self.site.is_full {
            eprintln!("filling {} rows for {}", settings.rows, cell.peer.title());
            fill(&self.site, cell.peer, settings.rows).await.context("fill the table")?;
            self.site.is_full = true;
            // After filling the servers start again, so that no process has the rows in memory.
            self.site.open(false).await?;
        }
        Ok(())
    }
}

/// Records a failure.
fn note(report: &mut Report, trouble: String) {
    eprintln!("trouble: {trouble}");
    report.troubles.push(trouble);
}

/// Prints the plan.
fn announce(settings: &Settings, turns: &[Turn], report: &Report) {
    let each = settings.warm_up + settings.window;
    let mut total = Duration::ZERO;
    for cell in turns.iter().flat_map(|turn| &turn.cells) {
        let rounds = if cell.once { 1 } else { u32::try_from(settings.rounds).unwrap_or(u32::MAX) };
        total += match cell.load {
            Load::Idle { .. } => settings.idle_wait + Duration::from_secs(40),
            Load::Order { rounds, .. } => Duration::from_secs(count(rounds)),
            _ => each * rounds,
        };
    }
    eprintln!("about {} minutes and the time to start the servers", total.as_secs().div_ceil(60));
    for line in &report.left_out {
        eprintln!("left out: {line}");
    }
    if !report.machine.is_durable() {
        eprintln!("note: {} is in memory, nothing is durable there", settings.folder.display());
    }
    if limits::open_files() < 16_384 {
        eprintln!("note: only {} open files are allowed, too few for many waiters", limits::open_files());
    }
}
