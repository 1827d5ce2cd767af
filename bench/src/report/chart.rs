//! A bar chart of the pairs a second, as an SVG file that is readable on a light and on a dark page.

use std::fmt::Write;

use super::{Measure, row::Row, words::grouped};
use crate::{
    plan::Load,
    settings::{Peer, Work},
};

/// The width of the whole chart.
const WIDTH: f64 = 760.0;
/// The position where the bars begin; the names are to its left.
const LEFT: f64 = 200.0;
/// The length of the longest bar; its number is to its right.
const LONGEST: f64 = 470.0;
/// The height of a bar with the gap below it.
const STEP: f64 = 22.0;
/// The height of a bar.
const THICK: f64 = 16.0;
/// The height of a panel's heading.
const HEADING: f64 = 38.0;

/// The colours, for both kinds of pages.
const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .panel { font-weight: 600; }
  .note { fill: #57606a; font-size: 12px; }
  .own { fill: #0969da; }
  .ceiling { fill: none; stroke: #8c959f; stroke-dasharray: 4 3; }
  .peer { fill: #8c959f; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .own { fill: #4493f8; }
    .ceiling { stroke: #6e7681; }
    .peer { fill: #6e7681; }
  }
";

/// The chart: a panel for each number of connections, in it the peers by their speed.
pub(super) fn document(rows: &[Row]) -> String {
    let panels = panels(rows);
    let mut body = String::new();
    let mut top = 60.0;
    for (connections, bars) in &panels {
        panel(&mut body, top, *connections, bars);
        top += HEADING + bars.iter().map(|_| STEP).sum::<f64>();
    }
    let height = top + 16.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>Pairs of acquire and release a second</title>
<style>{STYLE}</style>
<text class="title" x="16" y="28">Pairs of acquire and release a second</text>
<text class="note" x="16" y="48">Longer is better; each panel has its own scale. Dashed: the ceiling of HTTP here. All durable but the advisory locks.</text>
{body}</svg>
"#
    )
}

/// The peers with their rates for each number of connections, the fastest first.
fn panels(rows: &[Row]) -> Vec<(usize, Vec<(Peer, f64)>)> {
    let mut panels: Vec<(usize, Vec<(Peer, f64)>)> = Vec::new();
    for row in rows.iter().filter(|row| row.cell.work == Work::Pairs) {
        let (Load::Pairs { connections, .. }, Some(rate)) = (row.cell.load, row.get(Measure::PerSecond))
        else {
            continue;
        };
        let bar = (row.cell.peer, rate);
        match panels.iter_mut().find(|(count, _)| *count == connections) {
            Some((_, bars)) => bars.push(bar),
            None => panels.push((connections, vec![bar])),
        }
    }
    panels.sort_by_key(|(connections, _)| *connections);
    for (_, bars) in &mut panels {
        bars.sort_by(|one, other| other.1.total_cmp(&one.1));
    }
    panels
}

/// Draws one panel.
fn panel(body: &mut String, top: f64, connections: usize, bars: &[(Peer, f64)]) {
    let longest = bars.iter().map(|&(_, rate)| rate).fold(f64::MIN_POSITIVE, f64::max);
    let unit = if connections == 1 { "connection" } else { "connections" };
    let _ = writeln!(body, r#"<text class="panel" x="16" y="{:.0}">{connections} {unit}</text>"#, top + 24.0);
    let mut y = top + HEADING - 4.0;
    for &(peer, rate) in bars {
        let length = (rate / longest * LONGEST).max(1.0);
        let class = match peer {
            Peer::Health => "ceiling",
            peer if peer.is_service() => "own",
            _ => "peer",
        };
        let (end, line, names) = (LEFT + length + 6.0, y + 12.5, LEFT - 8.0);
        let _ = writeln!(
            body,
            r#"<text x="{names:.0}" y="{line:.1}" text-anchor="end">{}</text><rect class="{class}" x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{THICK}" rx="2"/><text x="{end:.1}" y="{line:.1}">{}</text>"#,
            peer.title(),
            grouped(rate)
        );
        y += STEP;
    }
}
