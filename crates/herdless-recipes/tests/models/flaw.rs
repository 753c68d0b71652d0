//! Planted bugs: a client that makes the recipe above it behave as if it had the bug.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use herdless_core::{
    Answer, AttemptId, Client, Error, EventKind, Exists, GetChildren, GetData, MultiOp, Mutex, NodePath, Outcome,
    Reply, Request, Response, Session, SessionId, SessionSource, SessionState, StdMutex, Watch, WatchOutcome,
    WatchSource, Zxid,
};

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// The predecessor is watched with `exists`: where it has just gone, nothing ever fires.
    WatchWithExists,
    /// A watch is left on the predecessor's name whether there is a node or not.
    WatchAnyName,
    /// The directory is watched, not the predecessor.
    WatchDirectory,
    /// A predecessor's death is taken for a hand-over.
    TrustDeath,
    /// A waiter that gives up leaves as if it were the holder.
    HandOverOnGivingUp,
    /// A cancelled acquire leaves its node.
    LeaveNodeOnGivingUp,
    /// A holder does not tell that it hands over, and leaves nothing to wake by.
    KeepNodeOnRelease,
    /// After a lost reply the node is made again without a look for the first.
    CreateBlindly,
    /// It is not noticed that the session is over.
    IgnoreExpiry,
    /// The token is the number in the name.
    NumberAsToken,
    /// A guarded write is sent without its check, and in whatever session.
    WriteUnguarded,
}

/// A client with a flaw.
#[derive(Clone)]
pub(crate) struct Flawed<C> {
    inner: C,
    flaw: Flaw,
    /// For `NumberAsToken`: what the numbers stand for, so that nothing but the token is wrong.
    tokens: Arc<StdMutex<BTreeMap<NodePath, Zxid>>>,
}

impl<C: Client> Flawed<C> {
    pub(crate) fn new(inner: C, flaw: Flaw) -> Self {
        Self { inner, flaw, tokens: Arc::new(StdMutex::new(BTreeMap::new())) }
    }

    fn nothing_done(reply: Reply) -> Response {
        Response::ready(Ok(reply.into()))
    }
}

impl<C: Client> Client for Flawed<C> {
    fn submit(&self, mut request: Request) -> Response {
        match (self.flaw, &mut request) {
            (Flaw::WatchWithExists, Request::GetData(GetData { path, watch: true })) => {
                let exists = Exists { path: path.clone(), watch: true };
                return self.inner.submit(Request::Exists(exists)).map(|outcome| {
                    let answer = outcome?;
                    Ok(Answer { reply: Reply::Data(Default::default(), Default::default()), ..answer })
                });
            }
            (Flaw::WatchAnyName, Request::GetData(GetData { path, watch: true })) => {
                drop(self.inner.submit(Request::Exists(Exists { path: path.clone(), watch: true })));
            }
            (Flaw::WatchDirectory, Request::GetData(GetData { path, watch: watch @ true })) => {
                *watch = false;
                let path = path.parent().expect("a contender has a directory");
                let children = GetChildren { path, watch: true };
                let mut children = self.inner.submit(Request::GetChildren(children));
                let listed = std::pin::Pin::new(&mut children).poll(&mut Context::from_waker(Waker::noop()));
                let Poll::Ready(Ok(listed)) = listed else { unreachable!("answers are there at once") };
                return self.inner.submit(request).map(|outcome| Ok(Answer { reply: outcome?.reply, ..listed }));
            }
            (Flaw::HandOverOnGivingUp, Request::Release(release)) => release.hand_over = true,
            (Flaw::LeaveNodeOnGivingUp, Request::Release(release)) if !release.hand_over => {
                return Self::nothing_done(Reply::Released(true));
            }
            (Flaw::KeepNodeOnRelease, Request::Release(_)) => {
                return Self::nothing_done(Reply::Released(true));
            }
            (Flaw::CreateBlindly, Request::FindOwn(_)) => {
                return Self::nothing_done(Reply::Found(None));
            }
            (Flaw::WriteUnguarded, Request::Multi(multi)) => {
                multi.session = None;
                multi.operations.retain(|operation| !matches!(operation, MultiOp::Check { .. }));
                return self.inner.submit(request).map(|outcome| {
                    let mut answer = outcome?;
                    if let Reply::Multi(replies) = &mut answer.reply {
                        replies.insert(0, herdless_core::MultiReply::Checked);
                    }
                    Ok(answer)
                });
            }
            (Flaw::NumberAsToken, Request::Release(release)) => {
                release.czxid = self.tokens.with(|tokens| tokens[&release.path]);
            }
            _ => {}
        }
        let (flaw, tokens) = (self.flaw, self.tokens.clone());
        self.inner.submit(request).map(move |outcome| distort(flaw, &tokens, outcome))
    }

    fn session(&self) -> Session {
        let session = self.inner.session();
        match self.flaw {
            Flaw::IgnoreExpiry => Session::new(Arc::new(Immortal(session))),
            _ => session,
        }
    }
}

fn distort(flaw: Flaw, tokens: &StdMutex<BTreeMap<NodePath, Zxid>>, outcome: Outcome) -> Outcome {
    let mut answer = outcome?;
    match (flaw, &mut answer.reply) {
        (Flaw::TrustDeath, _) => answer.watch = answer.watch.map(|watch| Watch::new(Arc::new(Kinder::new(watch)))),
        (Flaw::NumberAsToken, Reply::Created(created)) => {
            if let Some((_, number)) = created.path.name().rsplit_once('-') {
                let made = (created.path.clone(), created.stat.czxid);
                tokens.with(|tokens| tokens.extend([made]));
                created.stat.czxid = Zxid(number.parse().expect("a contender's number"));
            }
        }
        _ => {}
    }
    Ok(answer)
}

/// A watch that tells every death as a hand-over.
struct Kinder(StdMutex<Option<Watch>>);

impl Kinder {
    fn new(watch: Watch) -> Self {
        Self(StdMutex::new(Some(watch)))
    }
}

impl WatchSource for Kinder {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        // Taken out while it is polled: a loom operation under a lock of std would hang the model.
        let Some(mut watch) = self.0.with(Option::take) else {
            return Poll::Ready(Err(Error::Closed));
        };
        let polled = std::pin::Pin::new(&mut watch).poll(cx);
        self.0.with(|slot| *slot = Some(watch));
        polled.map_ok(|mut event| {
            event.kind = EventKind::DataChanged;
            event
        })
    }

    fn abandon(&self) {
        drop(self.0.with(Option::take));
    }
}

/// A session that never admits that it is over.
#[derive(Debug)]
struct Immortal(Session);

impl SessionSource for Immortal {
    fn id(&self) -> SessionId {
        self.0.id()
    }

    fn timeout(&self) -> std::time::Duration {
        self.0.timeout()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn next_attempt(&self) -> AttemptId {
        self.0.next_attempt()
    }

    fn poll_state(&self, _: u64, _: Option<(&mut Option<u64>, &Waker)>) -> (u64, SessionState) {
        (1, SessionState::Connected)
    }

    fn forget(&self, _: u64) {}
}
