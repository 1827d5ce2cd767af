//! What is done by one at a time, while others wait in lines.
//!
//! The turn is passed on from one to the next, so whoever waits for it must be polled at once: in a task, not in the future of a
//! request.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{turns::Turns, unavailable::Unavailable};

/// The lines in which parties wait, such as tenants.
pub trait Lines: Debug + Send + 'static {
    /// Who waits.
    type Party;

    /// Adds one more who waits.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if too many wait, of which the party has its share.
    fn push(&mut self, party: &Self::Party, waiter: Waiter) -> Result<(), Unavailable>;

    /// Removes and returns the next whose turn it is.
    fn pop(&mut self) -> Option<Waiter>;
}

/// One who waits.
#[derive(Debug)]
pub struct Waiter(oneshot::Sender<Turn>);

/// A line in which parties take turns.
#[derive(Debug)]
pub struct Line<P> {
    waiting: Turns<P, Waiter>,
    /// The number of those who wait from which on parties with their share of it are refused.
    most: usize,
}

impl<P> Line<P> {
    /// An empty line, in which about `most` may wait.
    pub fn new(most: usize) -> Self {
        Self { waiting: Turns::default(), most }
    }
}

impl<P: Clone + Debug + Eq + Hash + Send + 'static> Lines for Line<P> {
    type Party = P;

    fn push(&mut self, party: &P, waiter: Waiter) -> Result<(), Unavailable> {
        if self.waiting.is_full_for(party, self.most) {
            return Err(Unavailable::Overloaded);
        }
        self.waiting.push_back(party, waiter);
        Ok(())
    }

    fn pop(&mut self) -> Option<Waiter> {
        self.waiting.pop()
    }
}

/// The turn that one has at a time.
#[derive(Debug, Default)]
pub struct OneAtATime<L>(Mutex<State<L>>);

#[derive(Debug, Default)]
struct State<L> {
    is_taken: bool,
    lines: L,
}

impl<L: Lines> OneAtATime<L> {
    /// A turn that is free.
    pub fn new(lines: L) -> Self {
        Self(Mutex::new(State { is_taken: false, lines }))
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the party's turn. It must be polled as soon as it is woken.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] if too many wait, of which the party has its share.
    pub async fn take(self: &Arc<Self>, party: &L::Party) -> Result<Turn, Unavailable> {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            if !state.is_taken {
                state.is_taken = true;
                return Ok(Turn(Some(Arc::clone(self) as _)));
            }
            state.lines.push(party, Waiter(sender))?;
        }
        // A turn is passed on until it is taken.
        turn.await.map_err(|_| Unavailable::ShuttingDown)
    }
}

trait PassOn: Debug + Send + Sync {
    fn pass_on(self: Arc<Self>);
}

impl<L: Lines> PassOn for OneAtATime<L> {
    fn pass_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.lines.pop();
                state.is_taken = next.is_some();
                next
            };
            let Some(Waiter(next)) = next else { return };
            match next.send(Turn(Some(Arc::clone(&self) as _))) {
                Ok(()) => return,
                // It has given up. The turn that came back must not be passed on once more.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// The turn of one. Dropping it passes it on.
#[derive(Debug)]
pub struct Turn(Option<Arc<dyn PassOn>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(of) = self.0.take() {
            of.pass_on();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn parties_take_turns_and_those_who_have_given_up_take_none() {
        let turns = Arc::new(OneAtATime::new(Line::new(4)));
        let mut cx = Context::from_waker(Waker::noop());
        let first = turns.take(&'a').await.unwrap();
        let mut waiting = ['a', 'a', 'a', 'b'].map(|party| {
            let turns = Arc::clone(&turns);
            Some(Box::pin(async move { turns.take(&party).await }))
        });
        for waiting in waiting.iter_mut().flatten() {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(turns.take(&'a').await.unwrap_err(), Unavailable::Overloaded);
        waiting[0] = None;
        drop(first);
        let mut order = Vec::new();
        for _ in 0..3 {
            let ready = (0..4).find_map(|at| match waiting[at].as_mut()?.as_mut().poll(&mut cx) {
                Poll::Ready(turn) => Some((at, turn.unwrap())),
                Poll::Pending => None,
            });
            let (at, turn) = ready.unwrap();
            waiting[at] = None;
            order.push(at);
            drop(turn);
        }
        assert_eq!(order, [3, 1, 2]);
        turns.take(&'a').await.unwrap();
    }
}
