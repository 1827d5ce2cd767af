//! Turns of connections that read or write much.

use super::{super::work::BYTES_OF_REQUEST, *};

impl Thread {
    /// A connection of a tenant whose client sends bytes now and then, that take as long as a request. Returns the most requests that
    /// were answered while it waited.
    async fn now_and_then(&self, tenant: u64) -> usize {
        let mut busy = Busy::new(self.turns.clone(), Work::default());
        busy.set_party([Party::for_test(tenant), Party::UNKNOWN]);
        let mut longest = 0;
        for _ in 0..20 {
            let before = self.now();
            let mut turn = poll_fn(|cx| busy.poll_turn(cx)).await;
            turn.admit(1);
            busy.end(turn, false);
            longest = longest.max(self.now() - before);
            while self.now() < before + 1_000 {
                yield_now().await;
            }
        }
        longest
    }

    /// A connection whose client always sends or reads bytes that take as long as this number of requests.
    fn flood_of_bytes(&self, tenant: u64, requests: usize) -> JoinHandle<usize> {
        let this = self.clone();
        tokio::spawn(async move {
            let work = Work::default();
            let mut busy = Busy::new(this.turns.clone(), work.clone());
            busy.set_party([Party::for_test(tenant), Party::UNKNOWN]);
            let mut turns = 0;
            while !this.is_over.load(Ordering::Relaxed) {
                let turn = poll_fn(|cx| busy.poll_turn(cx)).await;
                work.add(requests * BYTES_OF_REQUEST);
                this.answered.fetch_add(requests, Ordering::Relaxed);
                busy.end(turn, false);
                turns += 1;
                yield_now().await;
            }
            turns
        })
    }
}

#[tokio::test]
async fn another_task_does_not_wait_for_the_bytes_of_all_connections() {
    let thread = Thread::new();
    let clients = (0..CLIENTS).map(|_| thread.flood_of_bytes(0, MOST)).collect();
    let (longest, turns) = watch(thread, clients).await;
    assert!(longest <= 2 * SHORT, "bytes were moved that take as long as {longest} requests");
    assert_fair(&turns, 8);
}

/// Guards that a heartbeat waits for no round of another tenant's connections, nor its answer.
#[tokio::test]
async fn a_tenant_with_a_request_now_and_then_waits_for_a_few_turns_of_others_only() {
    const LARGE: usize = 32;
    let thread = Thread::new();
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| thread.flood_of_bytes(client as u64 % 2, LARGE)).collect();
    let longest = thread.now_and_then(2).await;
    thread.is_over.store(true, Ordering::Relaxed);
    join_all(clients).await;
    assert!(longest <= 2 * SHORT, "{longest} requests were answered meanwhile");
}

#[tokio::test]
async fn tenants_have_equal_shares_whatever_their_connections_and_requests() {
    let thread = Thread::new();
    let many = (0..CLIENTS).map(|_| thread.flood_of_bytes(1, 8));
    let few = (0..BUSY_CLIENTS).map(|_| thread.flood_of_bytes(2, 1));
    let (_, turns) = watch(thread.clone(), many.chain(few).collect()).await;
    let (many, few) = turns.split_at(CLIENTS);
    let [many, few] = [many, few].map(|turns| turns.iter().sum::<usize>());
    // What is answered before anybody has to wait counts for nobody.
    assert!(4 * few > many * 8, "{few} turns of one request, {many} of eight");
}

#[tokio::test]
async fn small_requests_count_one_each_and_large_ones_for_their_bytes() {
    for (bytes, counted) in [(0, 1), (2 * BYTES_OF_REQUEST - 1, 1), (4 * BYTES_OF_REQUEST, 4)] {
        let (turns, work) = (Turns::new(1), Work::default());
        let mut busy = Busy::new(turns.clone(), work.clone());
        let mut polls = 0;
        while turns.few.is_short() {
            let Poll::Ready(mut turn) = poll(&mut busy) else { panic!("it waits") };
            turn.admit(1);
            work.add(bytes);
            busy.end(turn, false);
            polls += 1;
        }
        assert_eq!(polls, SHORT / counted, "{bytes} bytes");
        // The thread has polled everything else then.
        poll_fn(|cx| busy.poll_turn(cx)).await;
    }
}

#[test]
fn a_turn_that_frames_have_ended_counts_as_the_most_requests() {
    let work = Work::default();
    work.add(2 * BYTES_OF_REQUEST);
    work.end_long_turn(&Context::from_waker(noop_waker_ref()));
    assert_eq!((work.requests(), work.has_more()), (MOST, true));
    work.clear();
    assert_eq!((work.requests(), work.has_more()), (0, false));
}

#[tokio::test]
async fn a_connection_with_more_bytes_than_a_turn_may_have_is_busy() {
    let thread = Thread::new();
    let _turn = thread.turns.busy.enter((Party::UNKNOWN, 0)).await;
    let work = Work::default();
    let mut busy = Busy::new(thread.turns.clone(), work.clone());
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut is_polled = |more: bool| {
        let mut is_polled = false;
        let poll = |cx: &mut Context<'_>| {
            is_polled = true;
            work.add(MOST_BYTES - usize::from(!more));
            work.poll_room(cx)
        };
        let _ = busy.poll_in_turn(&mut cx, || 0, poll);
        is_polled
    };
    assert_eq!([false, false, true, false].map(&mut is_polled), [true, true, true, false]);
}
