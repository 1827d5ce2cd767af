use std::rc::Rc;

use super::*;

/// A list that is known by its name. While it waits, its line has a reference to the name.
type List = Rc<str>;

/// Stands for the administrators of all tenants.
const ALL: &str = "*";

fn name(tenant: &str) -> Name {
    (tenant != ALL).then(|| Tenant::trusted(tenant))
}

/// Adds a list whose tenant is the first letter of its name.
fn join(lines: &mut Lines<List>, list: &str) -> u64 {
    lines.join(&name(&list[..1]), list.into())
}

fn lines(slots: usize, lists: &[&str]) -> Lines<List> {
    let mut lines = Lines::new(slots);
    for list in lists {
        join(&mut lines, list);
    }
    lines
}

/// Wakes as many lists as may run.
fn wake(lines: &mut Lines<List>) -> Vec<List> {
    std::iter::from_fn(|| lines.next()).collect()
}

/// Runs one list after the other to its end.
fn run_all(lines: &mut Lines<List>) -> Vec<List> {
    let run = |lines: &mut Lines<List>| {
        let list = lines.next()?;
        lines.end(&name(&list[..1]));
        Some(list)
    };
    std::iter::from_fn(|| run(lines)).collect()
}

fn texts(lists: &[List]) -> Vec<&str> {
    lists.iter().map(|list| &**list).collect()
}

#[test]
fn tenants_take_turns_and_the_lists_of_one_keep_their_order() {
    let mut lines = lines(1, &["a1", "a2", "a3", "b1", "c1", "c2"]);
    assert_eq!(texts(&run_all(&mut lines)), ["a1", "b1", "c1", "a2", "c2", "a3"]);
    assert!(lines.by_name.is_empty() && lines.ready.is_empty(), "empty lines are forgotten: {lines:?}");
}

#[test]
fn administrators_of_all_tenants_have_a_line_of_their_own() {
    let mut lines = lines(1, &["a1", "a2", "a3"]);
    join(&mut lines, ALL);
    assert_eq!(texts(&run_all(&mut lines)), ["a1", ALL, "a2", "a3"]);
}

#[test]
fn a_tenant_runs_at_most_half_of_the_lists() {
    for (slots, most) in [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3)] {
        let mut lines = lines(slots, &["a1", "a2", "a3", "a4", "a5", "a6"]);
        assert_eq!(wake(&mut lines).len(), most, "of {slots}");
        join(&mut lines, "b1");
        assert_eq!(wake(&mut lines).len(), usize::from(slots > 1), "of {slots}");
        lines.end(&name("a"));
        assert_eq!(wake(&mut lines).len(), 1, "of {slots}");
        assert!(lines.running <= slots);
    }
}

#[test]
fn the_longest_line_loses_its_newest_list_when_too_many_wait() {
    let mut lines = Lines::new(1);
    let first: List = "a-first".into();
    let newest: List = "a-newest".into();
    lines.join(&name("a"), first.clone());
    for _ in 0..MOST_WAITING - 2 {
        join(&mut lines, "a");
    }
    lines.join(&name("a"), newest.clone());
    assert_eq!(Rc::strong_count(&newest), 2, "as many as may wait");
    let other: List = "b".into();
    lines.join(&name("b"), other.clone());
    assert_eq!([&first, &newest, &other].map(Rc::strong_count), [2, 1, 2]);
    let own: List = "a-own".into();
    lines.join(&name("a"), own.clone());
    assert_eq!((Rc::strong_count(&own), lines.waiting), (1, MOST_WAITING));
}

#[test]
fn a_newcomer_is_refused_if_all_lines_are_equally_long() {
    let mut lines: Lines<List> = Lines::new(MOST_WAITING + 1);
    for number in 0..MOST_WAITING {
        lines.join(&name(&number.to_string()), "one".into());
    }
    let late: List = "late".into();
    let id = lines.join(&name("late"), late.clone());
    assert_eq!(Rc::strong_count(&late), 1);
    assert!(!lines.leave(&name("late"), id));
    assert_eq!(wake(&mut lines).len(), MOST_WAITING);
}

#[test]
fn a_list_that_leaves_costs_nobody_a_turn() {
    let mut lines = Lines::new(1);
    let left = join(&mut lines, "a1");
    join(&mut lines, "b1");
    let also_left = join(&mut lines, "b2");
    assert!(lines.leave(&name("a"), left) && lines.leave(&name("b"), also_left));
    assert!(!lines.leave(&name("a"), left));
    assert_eq!(texts(&run_all(&mut lines)), ["b1"]);
    assert!(lines.by_name.is_empty() && lines.waiting == 0);
}

#[test]
fn a_list_is_interrupted_for_other_tenants_only_and_goes_on_before_later_ones() {
    let mut lines = lines(1, &["a1", "a2"]);
    assert_eq!(texts(&wake(&mut lines)), ["a1"]);
    assert_eq!(lines.pause(&name("a"), "a1".into()), None, "only its own tenant waits");
    join(&mut lines, "b1");
    assert!(lines.pause(&name("a"), "a1".into()).is_some());
    assert_eq!(texts(&run_all(&mut lines)), ["b1", "a1", "a2"]);
    assert_eq!((lines.paused, lines.waiting), (0, 0));
}

/// Guards the memory: an interrupted list keeps a part of its page.
#[test]
fn few_lists_are_interrupted_at_a_time() {
    let tenants: Vec<_> = (0..MOST_PAUSED + 2).map(|number| name(&number.to_string())).collect();
    let mut lines: Lines<List> = Lines::new(1);
    for tenant in &tenants {
        lines.join(tenant, "list".into());
    }
    let paused = tenants.iter().map(|tenant| {
        assert!(lines.next().is_some());
        lines.pause(tenant, "list".into())
    });
    assert_eq!(paused.take_while(Option::is_some).count(), MOST_PAUSED);
}

/// Guards the memory against callers that are slow to take their pages.
#[test]
fn finished_pages_that_are_not_taken_delay_only_their_own_tenant() {
    let mut lines = lines(1, &["a"; 10]);
    for _ in 0..MOST_PAGES_OF_A_LINE {
        assert_eq!(wake(&mut lines).len(), 1);
        lines.finish(&name("a"));
    }
    assert!(wake(&mut lines).is_empty(), "too many pages are not taken");
    join(&mut lines, "b");
    assert_eq!(texts(&wake(&mut lines)), ["b"]);
    lines.finish(&name("b"));
    lines.taken(&name("a"));
    assert_eq!(texts(&wake(&mut lines)), ["a"]);
}

#[test]
fn finished_pages_of_all_tenants_have_a_limit() {
    let mut lines: Lines<List> = Lines::new(1);
    let tenants: Vec<_> = (0..=MOST_PAGES).map(|number| name(&number.to_string())).collect();
    for tenant in &tenants {
        lines.join(tenant, "list".into());
    }
    let finished = tenants.iter().take_while(|tenant| {
        let woken = lines.next();
        if woken.is_some() {
            lines.finish(tenant);
        }
        woken.is_some()
    });
    assert_eq!(finished.count(), MOST_PAGES);
    lines.taken(&tenants[0]);
    assert!(lines.next().is_some());
}
