//! One line of the results: the same measurement over all rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Findings, Measure};
use crate::{
    client::Failures,
    plan::{Cell, Server, Stand},
};

/// One measurement of one round.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The servers.
    pub(crate) stand: Stand,
    /// The measurement.
    pub(crate) cell: Cell,
    /// The round, from 1.
    pub(crate) round: usize,
    /// The results.
    pub(crate) findings: Findings,
}

/// The medians of a measurement over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The servers.
    pub(super) stand: Stand,
    /// The measurement.
    #[serde(flatten)]
    pub(super) cell: Cell,
    /// The number of rounds.
    pub(super) rounds: usize,
    /// The median of each number.
    pub(super) medians: BTreeMap<Measure, f64>,
    /// The failed requests of all rounds, by kind.
    pub(super) failures: BTreeMap<String, u64>,
}

impl Row {
    /// Groups the rounds of each measurement by peer, in the order in which the measurements were first done.
    pub(super) fn medians(samples: &[Sample]) -> Vec<Self> {
        let mut groups: Vec<Vec<&Sample>> = Vec::new();
        for sample in samples {
            let same =
                |group: &&mut Vec<&Sample>| group[0].stand == sample.stand && group[0].cell == sample.cell;
            match groups.iter_mut().find(same) {
                Some(group) => group.push(sample),
                None => groups.push(vec![sample]),
            }
        }
        groups.sort_by_key(|group| (group[0].cell.work, group[0].cell.peer));
        groups.iter().map(|group| Self::of(group)).collect()
    }

    /// The medians of a group, which is never empty.
    fn of(group: &[&Sample]) -> Self {
        let mut values: BTreeMap<Measure, Vec<f64>> = BTreeMap::new();
        let mut failures = Failures::default();
        for sample in group {
            for (&measure, &value) in &sample.findings.measures {
                values.entry(measure).or_default().push(value);
            }
            failures.merge(sample.findings.failures.clone());
        }
        Self {
            stand: group[0].stand,
            cell: group[0].cell,
            rounds: group.len(),
            medians: values.into_iter().map(|(measure, values)| (measure, median(values))).collect(),
            failures: failures.into_map(),
        }
    }

    /// A number, if it was measured.
    pub(super) fn get(&self, measure: Measure) -> Option<f64> {
        self.medians.get(&measure).copied()
    }

    /// The number of processes of the service.
    pub(super) fn replicas(&self) -> usize {
        if let Server::Service { replicas, .. } = self.stand.server { replicas } else { 1 }
    }
}

/// The median: the middle value, or the mean of the two in the middle. There is at least one value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
