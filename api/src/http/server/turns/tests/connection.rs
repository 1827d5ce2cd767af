//! The turns of one connection: whether it needs them, and before and behind which others it goes.

use super::*;

#[tokio::test]
async fn a_connection_with_few_requests_at_once_waits_for_nobody() {
    let thread = Thread::new();
    let _turn = thread.turns.busy.enter((Party::UNKNOWN, 0)).await;
    let mut busy = Busy::new(thread.turns.clone(), Work::default());
    for _ in 0..100 {
        let Poll::Ready(mut turn) = poll(&mut busy) else { panic!("it waits") };
        assert_eq!((turn.admit(FEW), turn.admit(1)), (FEW, 0), "more wait for a turn");
        busy.end(turn, false);
    }
}

#[tokio::test]
async fn a_connection_is_busy_until_it_had_few_requests_for_a_while() {
    let mut busy = Busy::new(Thread::new().turns, Work::default());
    let Poll::Ready(mut turn) = poll(&mut busy) else { panic!("it waits") };
    assert_eq!(turn.admit(FEW + 1), 0);
    busy.end(turn, true);
    let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
    assert_eq!((turn.admit(FEW), turn.admit(MOST), turn.admit(1)), (FEW, MOST - FEW, 0));
    busy.end(turn, false);
    for _ in 0..BUSY_FOR {
        let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
        turn.admit(1);
        busy.end(turn, false);
    }
    let _turn = busy.turns.busy.enter((Party::UNKNOWN, 0)).await;
    assert!(poll(&mut busy).is_ready());
}

#[tokio::test]
async fn a_connection_that_ends_gives_its_turn_to_the_next_one() {
    let thread = Thread::new();
    let turn = thread.turns.busy.enter((Party::UNKNOWN, 0)).await;
    let [mut first, mut second] =
        [(); 2].map(|()| Busy { left: 1, ..Busy::new(thread.turns.clone(), Work::default()) });
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(turn);
    assert!(poll(&mut second).is_pending(), "the first one has it");
    drop(first);
    poll_fn(|cx| second.poll_turn(cx)).await;
}

/// A long body takes turn after turn.
#[tokio::test]
async fn a_connection_goes_behind_others_after_a_turn_without_a_request() {
    let thread = Thread::new();
    let [mut first, mut second, mut other] =
        [(); 3].map(|()| Busy { left: BUSY_FOR, ..Busy::new(thread.turns.clone(), Work::default()) });
    let Poll::Ready(mut turn) = poll(&mut other) else { panic!("it waits") };
    turn.admit(1);
    other.end(turn, false);
    let Poll::Ready(turn) = poll(&mut first) else { panic!("it waits") };
    assert!(poll(&mut second).is_pending() && poll(&mut other).is_pending());
    first.end(turn, false);
    assert!(poll(&mut first).is_pending());
    let Poll::Ready(turn) = poll(&mut second) else { panic!("it waits") };
    second.end(turn, false);
    assert!(poll(&mut first).is_pending() && poll(&mut other).is_ready());
}

#[tokio::test]
async fn a_connection_that_answers_many_requests_in_a_poll_waits_for_its_turn() {
    let thread = Thread::new();
    let mut turn = Some(thread.turns.busy.enter((Party::UNKNOWN, 0)).await);
    let mut busy = Busy::new(thread.turns.clone(), Work::default());
    let requests = AtomicUsize::new(0);
    let mut poll = |more| {
        let mut cx = Context::from_waker(noop_waker_ref());
        let count = || requests.load(Ordering::Relaxed);
        let _: Poll<()> = busy.poll_in_turn(&mut cx, count, |_| {
            requests.fetch_add(more, Ordering::Relaxed);
            Poll::Pending
        });
        count()
    };
    // One after another.
    assert_eq!([0, 1, 0, 1].map(&mut poll), [0, 1, 1, 2]);
    assert_eq!(poll(16), 18);
    assert_eq!(poll(16), 18, "another connection has the turn");
    turn.take();
    assert_eq!(poll(16), 34);
}

#[tokio::test]
async fn a_connection_without_a_request_for_long_goes_before_others() {
    let thread = Thread::new();
    let line = &thread.turns.few;
    let turn = line.enter((Party::UNKNOWN, 0)).await;
    let mut cx = Context::from_waker(noop_waker_ref());
    let [mut often, mut rarely, mut gone] =
        [9, 3, 1].map(|last| Box::pin(line.enter((Party::UNKNOWN, last))));
    for waiting in [&mut often, &mut rarely, &mut gone] {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
    }
    drop(turn);
    // It has the turn now.
    drop(gone);
    assert!(often.as_mut().poll(&mut cx).is_pending());
    let Poll::Ready(turn) = rarely.as_mut().poll(&mut cx) else { panic!("it waits") };
    assert!(often.as_mut().poll(&mut cx).is_pending() && !line.is_short());
    drop(turn);
    assert!(often.as_mut().poll(&mut cx).is_ready() && line.is_short());
}

/// Guards holders against clients that connect again and again with a thousand streams that h2 refuses: none of these is a request.
#[tokio::test]
async fn new_connections_of_http2_do_not_wait_in_the_line_of_the_others() {
    let turns = Turns::new(1);
    let mut connection = Busy::until_known(turns.clone(), Work::default());
    let mut holder = Busy::new(turns.clone(), Work::default());
    let mut polls_while_busy = 0;
    loop {
        let mut turn = poll_fn(|cx| connection.poll_turn(cx)).await;
        if !turn.is_busy {
            break;
        }
        let mut cx = Context::from_waker(noop_waker_ref());
        let Poll::Ready(own) = holder.poll_turn(&mut cx) else { panic!("the holder waits for it") };
        holder.end(own, false);
        polls_while_busy += turn.admit(1);
        connection.end(turn, false);
    }
    assert_eq!(polls_while_busy, BUSY_FOR as usize, "one that sends few requests is soon one of the others");
}

/// A client that sends frames, or a head byte by byte, must not delay those that have just connected for as long as it likes.
#[tokio::test]
async fn a_connection_is_a_newcomer_for_a_few_turns_only() {
    let thread = Thread::new();
    let mut busy = Busy::until_known(thread.turns.clone(), Work::default());
    let newcomers = Party::newcomers_for_test();
    for turns in 0..=MOST_AS_NEWCOMER {
        busy.set_party([newcomers, Party::UNKNOWN]);
        assert_eq!(busy.party == newcomers, turns < MOST_AS_NEWCOMER, "after {turns}");
        let turn = poll_fn(|cx| busy.poll_turn(cx)).await;
        busy.end(turn, false);
    }
    busy.set_party([Party::for_test(1), Party::UNKNOWN]);
    assert_eq!(busy.party, Party::for_test(1));
}
