//! The choice of the server to write to: a pure function of the states that the servers report.

use super::super::server_status::{ServerStatus, Timeline};

/// Which server to use, as an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Use `server`. The `rivals` accept writes, too, and must not be used.
    Use { server: usize, rivals: Vec<usize> },
    /// These servers accept writes, and it is unknown which of them is the right one.
    Undecided(Vec<usize>),
    /// No server that answered accepts writes.
    NoneWrites,
    /// No server answered.
    Silence,
}

/// Chooses a server by all answers; `None` is a missing answer. `highest` is the highest timeline ever used.
pub(super) fn choose(answers: &[Option<&ServerStatus>], highest: Option<&Timeline>) -> Choice {
    let answered = || answers.iter().enumerate().filter_map(|(server, answer)| Some((server, (*answer)?)));
    let writable: Vec<_> = answered().filter(|(_, status)| status.read_only.is_none()).collect();
    let is_behind = |timeline: &Timeline| highest.is_some_and(|highest| timeline.is_behind(highest));
    let current = writable.iter().filter(|(_, status)| !status.timeline.as_ref().is_some_and(is_behind));
    let current: Vec<_> = current.copied().collect();
    let Some(best) = newest(&current) else {
        return if answered().next().is_some() { Choice::NoneWrites } else { Choice::Silence };
    };
    let is_other = |(_, status): &&(usize, &ServerStatus)| !are_one(best.1, status);
    let is_older = |(_, status): &(usize, &ServerStatus)| match (&status.timeline, &best.1.timeline) {
        (Some(timeline), Some(newest)) => timeline.is_behind(newest),
        _ => false,
    };
    let others: Vec<_> = current.iter().filter(is_other).collect();
    if others.iter().all(|other| is_older(other)) {
        let rivals = writable.iter().filter(is_other).map(|(server, _)| *server).collect();
        return Choice::Use { server: best.0, rivals };
    }
    Choice::Undecided(current.iter().map(|(server, _)| *server).collect())
}

/// The first of the servers with the highest timeline.
fn newest<'a>(statuses: &[(usize, &'a ServerStatus)]) -> Option<(usize, &'a ServerStatus)> {
    let number = |status: &ServerStatus| status.timeline.as_ref().map(|timeline| timeline.number);
    statuses.iter().copied().reduce(|best, next| if number(next.1) > number(best.1) { next } else { best })
}

/// Whether two answers came from one server, or from nodes of one Galera cluster, which certify each other's writes.
fn are_one(one: &ServerStatus, other: &ServerStatus) -> bool {
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    same(&one.server, &other.server) || same(&one.cluster, &other.cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable(server: &str) -> ServerStatus {
        ServerStatus { server: Some(server.to_owned()), ..ServerStatus::default() }
    }

    fn standby(server: &str) -> ServerStatus {
        ServerStatus { read_only: Some("in recovery"), ..writable(server) }
    }

    fn timeline(number: u32) -> Timeline {
        Timeline { system: "7".to_owned(), number }
    }

    fn primary(server: &str, number: u32) -> ServerStatus {
        ServerStatus { timeline: Some(timeline(number)), ..writable(server) }
    }

    fn node(server: &str, cluster: &str) -> ServerStatus {
        ServerStatus { cluster: Some(cluster.to_owned()), ..writable(server) }
    }

    fn chosen(statuses: &[ServerStatus], highest: Option<u32>) -> Choice {
        let answers: Vec<_> = statuses.iter().map(Some).collect();
        choose(&answers, highest.map(timeline).as_ref())
    }

    fn only(server: usize) -> Choice {
        Choice::Use { server, rivals: Vec::new() }
    }

    #[test]
    fn the_server_that_accepts_writes_is_used() {
        assert_eq!(chosen(&[standby("a"), writable("b"), standby("c")], None), only(1));
        assert_eq!(choose(&[None, Some(&writable("b"))], None), only(1));
        assert_eq!(chosen(&[standby("a"), standby("b")], None), Choice::NoneWrites);
        assert_eq!(choose(&[None, None], None), Choice::Silence);
    }

    /// Guards invariant 1: nobody else knows the grants of a former primary.
    #[test]
    fn a_former_primary_is_not_used_beside_the_promoted_standby_or_after_it() {
        assert_eq!(
            chosen(&[primary("a", 1), primary("b", 2)], None),
            Choice::Use { server: 1, rivals: vec![0] }
        );
        assert_eq!(
            chosen(&[primary("a", 1), primary("b", 2)], Some(2)),
            Choice::Use { server: 1, rivals: vec![0] }
        );
        assert_eq!(chosen(&[primary("a", 1), standby("b")], Some(2)), Choice::NoneWrites);
        assert_eq!(chosen(&[primary("a", 3), standby("b")], Some(2)), only(0));
    }

    #[test]
    fn two_standbys_that_were_both_promoted_are_not_told_apart() {
        assert_eq!(chosen(&[primary("a", 2), primary("b", 2)], None), Choice::Undecided(vec![0, 1]));
        assert_eq!(
            chosen(&[primary("a", 1), primary("b", 2), primary("c", 2)], None),
            Choice::Undecided(vec![0, 1, 2])
        );
        let foreign =
            ServerStatus { timeline: Some(Timeline { system: "8".to_owned(), number: 1 }), ..writable("b") };
        assert_eq!(chosen(&[primary("a", 2), foreign], None), Choice::Undecided(vec![0, 1]));
    }

    /// MariaDB and MySQL have no timelines.
    #[test]
    fn of_two_writable_servers_without_timelines_none_is_used() {
        assert_eq!(
            chosen(&[writable("a"), standby("b"), writable("c")], None),
            Choice::Undecided(vec![0, 2])
        );
        let silent = ServerStatus::default();
        assert_eq!(chosen(&[silent.clone(), silent], None), Choice::Undecided(vec![0, 1]));
    }

    #[test]
    fn two_names_of_one_server_are_one_server() {
        assert_eq!(chosen(&[writable("a"), writable("a")], None), only(0));
        assert_eq!(chosen(&[primary("a", 2), primary("a", 2)], Some(2)), only(0));
    }

    #[test]
    fn of_one_galera_cluster_the_first_node_that_is_listed_is_used() {
        assert_eq!(chosen(&[node("a", "g"), node("b", "g"), node("c", "g")], None), only(0));
        assert_eq!(chosen(&[standby("a"), node("b", "g"), node("c", "g")], None), only(1));
        assert_eq!(chosen(&[node("a", "g"), node("b", "h")], None), Choice::Undecided(vec![0, 1]));
        assert_eq!(chosen(&[node("a", "g"), writable("b")], None), Choice::Undecided(vec![0, 1]));
    }
}
