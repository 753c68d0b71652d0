//! One request, asked until it is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use herdless_core::{
    Client, Error, Outcome, Request, Response, ResponseSource, Session, SessionChanges, SessionState, Sleep, Undo,
};

use super::Shared;
use crate::owned::Owned;

/// The source of a response that may take several attempts.
pub(super) struct Repeating<C>(Owned<Attempts<C>>);

struct Attempts<C> {
    shared: Arc<Shared<C>>,
    /// The number that the request has among all that were submitted, if nothing may be behind it.
    ticket: Option<u64>,
    /// The one that the request belongs to.
    session: Session,
    request: Request,
    repetitions: u32,
    step: Step,
}

enum Step {
    Asked(Response),
    Waiting(Wait),
    /// Has yielded.
    Over,
}

/// Until the session is connected, and the pause is over.
struct Wait {
    /// What the last attempt ended with.
    error: Error,
    changes: SessionChanges,
    pause: Pause,
}

enum Pause {
    Due(Duration),
    Sleeping(Sleep),
    Over,
}

impl<C: Client + 'static> Repeating<C> {
    pub(super) fn new(
        shared: Arc<Shared<C>>,
        ticket: Option<u64>,
        session: Session,
        request: Request,
        first: Response,
    ) -> Self {
        Self(Owned::new(Attempts { shared, ticket, session, request, repetitions: 0, step: Step::Asked(first) }))
    }
}

impl<C: Client + 'static> ResponseSource for Repeating<C> {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.with(|attempts| attempts.poll(cx)).unwrap_or(Poll::Pending)
    }

    fn abandon(&self, undo: Option<Undo>) {
        let Some(attempts) = self.0.take() else {
            return;
        };
        let Some(undo) = undo else {
            return;
        };
        match attempts.step {
            Step::Asked(response) => drop(response.on_abandon(undo)),
            Step::Waiting(wait) => undo(Err(wait.error)),
            Step::Over => {}
        }
    }
}

impl<C: Client> Attempts<C> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            match &mut self.step {
                Step::Asked(response) => {
                    let outcome = ready!(Pin::new(response).poll(cx));
                    match outcome {
                        Err(error @ (Error::ConnectionLost | Error::Uncertain(_))) => match self.wait(error) {
                            Ok(wait) => self.step = Step::Waiting(wait),
                            Err(error) => return self.end(Err(error)),
                        },
                        outcome => return self.end(outcome),
                    }
                }
                Step::Waiting(wait) => {
                    if let Err(error) = ready!(wait.poll(&self.session, &self.shared, cx)) {
                        return self.end(Err(error));
                    }
                    let error = wait.error.clone();
                    match self.repeat(error) {
                        Ok(response) => self.step = Step::Asked(response),
                        Err(error) => return self.end(Err(error)),
                    }
                }
                Step::Over => return Poll::Pending,
            }
        }
    }

    fn end(&mut self, outcome: Outcome) -> Poll<Outcome> {
        self.step = Step::Over;
        Poll::Ready(outcome)
    }

    /// What to wait for before the next attempt, if there is to be one.
    fn wait(&mut self, error: Error) -> Result<Wait, Error> {
        self.repetitions = self.repetitions.saturating_add(1);
        // What has something behind it already need not wait to be told.
        if self.has_followers() {
            return Err(error);
        }
        match self.shared.policy.pause(self.repetitions, &self.request, &error) {
            Some(pause) => Ok(Wait { error, changes: self.session.changes(), pause: Pause::Due(pause) }),
            None => Err(error),
        }
    }

    /// The next attempt. Where it cannot be certain that it has the place it should have, in the order and in its session, it is
    /// given up: it is a request that changes nothing.
    fn repeat(&self, error: Error) -> Result<Response, Error> {
        let check = || match () {
            () if self.has_followers() => Err(error.clone()),
            () if self.is_session_over() => Err(Error::SessionExpired),
            () => Ok(()),
        };
        check()?;
        let response = self.shared.client.submit(self.request.clone());
        // Once more: another thread may have come, or the session have ended, in between.
        check().map(|()| response)
    }

    fn has_followers(&self) -> bool {
        self.ticket.is_some_and(|ticket| self.shared.submitted.load(Ordering::SeqCst) != ticket)
    }

    fn is_session_over(&self) -> bool {
        self.session.state() == SessionState::Lost || self.shared.client.session().id() != self.session.id()
    }
}

impl Wait {
    fn poll<C>(&mut self, session: &Session, shared: &Shared<C>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Asked each time, also while the pause goes on: that leaves the waker, and a session that ends is told at once.
        let state = loop {
            let state = session.state();
            if state == SessionState::Lost {
                return Poll::Ready(Err(Error::SessionExpired));
            }
            if Pin::new(&mut self.changes).poll_next(cx).is_pending() {
                break state;
            }
        };
        let is_connected = state != SessionState::Suspended;
        loop {
            match &mut self.pause {
                Pause::Due(_) | Pause::Over if !is_connected => return Poll::Pending,
                Pause::Due(Duration::ZERO) => self.pause = Pause::Over,
                Pause::Due(pause) => self.pause = Pause::Sleeping(shared.time.sleep(*pause)),
                Pause::Sleeping(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.pause = Pause::Over;
                }
                Pause::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}
