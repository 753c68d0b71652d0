//! A value that arrives once.

use std::fmt;
use std::task::{Context, Poll, Waker};

use crate::sync::{Locks, Mutex, StdLocks};

type Undo<T> = Box<dyn FnOnce(T) + Send>;

enum State<T> {
    Waiting(Option<Waker>),
    Full(T),
    Taken,
    Abandoned(Option<Undo<T>>),
}

/// One value on its way from a backend to whoever waits for it: the slot under [`Response`](crate::Response) and
/// [`Watch`](crate::Watch).
///
/// Besides delivering, it can hold an *undo*: when nobody listens any more, the value goes there instead. That is how
/// a cancelled acquire removes the node that its create is about to make, with no task and no runtime.
pub struct OneShot<T: Send + 'static, L: Locks = StdLocks> {
    state: L::Mutex<State<T>>,
}

impl<T: Send + 'static, L: Locks> Default for OneShot<T, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static, L: Locks> OneShot<T, L> {
    /// An empty slot.
    pub fn new() -> Self {
        Self { state: L::Mutex::new(State::Waiting(None)) }
    }

    /// Puts the value in. A second value is dropped.
    ///
    /// The caller runs the returned [`Completion`] once it holds no lock: it wakes a task, calls an undo, or drops a value that
    /// nobody wants, and each may come back into the caller.
    pub fn put(&self, value: T) -> Completion<T> {
        self.state.with(|state| match state {
            State::Waiting(waker) => {
                let waker = waker.take();
                *state = State::Full(value);
                Completion(Step::Wake(waker))
            }
            State::Abandoned(undo) => Completion(match undo.take() {
                Some(undo) => Step::Undo(undo, value),
                None => Step::Drop(value),
            }),
            State::Full(_) | State::Taken => Completion(Step::Drop(value)),
        })
    }

    /// Takes the value, or leaves the task's waker.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        // An old waker is dropped after the lock: dropping it may run code that is not ours.
        let (poll, _replaced) = self.state.with(|state| match state {
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => (Poll::Pending, None),
            State::Waiting(waker) => (Poll::Pending, waker.replace(cx.waker().clone())),
            State::Full(_) => match std::mem::replace(state, State::Taken) {
                State::Full(value) => (Poll::Ready(value), None),
                _ => unreachable!("the state was full under this same lock"),
            },
            // Only a future polled after its end comes here.
            State::Taken | State::Abandoned(_) => (Poll::Pending, None),
        });
        poll
    }

    /// Nobody listens any more. A value that is there already, or comes later, goes to `undo`. Whether it is still to come.
    pub fn abandon(&self, mut undo: Option<Undo<T>>) -> bool {
        if !L::is_usable() {
            return false;
        }
        // Giving up and leaving the undo is one step: a value put in between would reach neither.
        let old = self.state.with(|state| match state {
            State::Full(_) => std::mem::replace(state, State::Abandoned(None)),
            _ => std::mem::replace(state, State::Abandoned(undo.take())),
        });
        let is_to_come = matches!(old, State::Waiting(_));
        if let (State::Full(value), Some(undo)) = (old, undo) {
            undo(value);
        }
        is_to_come
    }

    /// Whether the listener has gone.
    pub fn is_abandoned(&self) -> bool {
        self.state.with(|state| matches!(state, State::Abandoned(_)))
    }
}

impl<T: Send + 'static, L: Locks> fmt::Debug for OneShot<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShot").finish_non_exhaustive()
    }
}

enum Step<T> {
    Drop(T),
    Wake(Option<Waker>),
    Undo(Undo<T>, T),
}

/// What is left to do after [`OneShot::put`], with no lock held.
#[must_use = "the listener is not woken until this is run"]
pub struct Completion<T>(Step<T>);

impl<T> Completion<T> {
    /// Whether somebody still listens for the value.
    pub fn has_listener(&self) -> bool {
        matches!(self.0, Step::Wake(_))
    }

    /// Wakes the listener, or calls the undo of one that has gone.
    pub fn run(self) {
        match self.0 {
            Step::Drop(value) => drop(value),
            Step::Wake(waker) => waker.into_iter().for_each(Waker::wake),
            Step::Undo(undo, value) => undo(value),
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}
