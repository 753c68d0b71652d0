//! Requests that take several steps and survive reconnects: `Release` and `FindOwn`.

use herdless_core::{
    Created, Delete, Error, Exists, FindOwn, GetChildren, GetData, GetEphemerals, Multi, MultiOp,
    NodePath, Refusal, Release, Reply, Request, SessionId, Sync, Version,
};

/// A request under way in several steps. It is asked for a step at a time: nothing of it is in flight while the
/// connection is down.
#[derive(Debug)]
pub(super) enum Errand {
    Release { release: Release, step: ReleaseStep },
    FindOwn { find: FindOwn, step: FindStep },
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReleaseStep {
    /// To delete, or deleting. While the session lives nobody else can have the name, so the first time needs no look.
    Act,
    /// To look first: the last attempt was on its way when the connection was lost.
    Verify,
    /// To delete what was found to be still ours.
    ActAgain,
}

#[derive(Debug)]
pub(super) enum FindStep {
    Sync,
    List,
    /// A server that cannot list a session's ephemerals: list the directory instead.
    ListParent,
    /// The candidates still to be read, the next one last.
    Read(Vec<NodePath>),
}

/// What comes after a step.
#[derive(Debug)]
pub(super) enum Next {
    Step,
    Done(Result<Reply, Error>),
}

impl Errand {
    /// The errand that this request is; the request back if it is an ordinary one.
    pub(super) fn new(request: Request) -> Result<Self, Request> {
        match request {
            Request::Release(release) => Ok(Self::Release {
                release,
                step: ReleaseStep::Act,
            }),
            Request::FindOwn(find) => Ok(Self::FindOwn {
                find,
                step: FindStep::Sync,
            }),
            Request::CloseSession => Ok(Self::Close),
            other => Err(other),
        }
    }

    pub(super) fn is_close(&self) -> bool {
        matches!(self, Self::Close)
    }

    /// The session that the errand is bound to: in another one the node's name may be somebody else's.
    pub(super) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Release { release, .. } => Some(release.session),
            Self::FindOwn { .. } | Self::Close => None,
        }
    }

    /// The request of the current step.
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Release {
                release: Release { path, .. },
                step: ReleaseStep::Verify,
            } => Request::Exists(Exists {
                path: path.clone(),
                watch: false,
            }),
            Self::Release {
                release:
                    Release {
                        path,
                        hand_over: true,
                        ..
                    },
                ..
            } => Request::Multi(Multi {
                operations: vec![
                    MultiOp::set(path, "", Version::ANY),
                    MultiOp::delete(path, Version::ANY),
                ],
            }),
            Self::Release {
                release: Release { path, .. },
                ..
            } => Request::Delete(Delete {
                path: path.clone(),
                version: Version::ANY,
            }),
            Self::FindOwn { find, step } => match step {
                FindStep::Sync => Request::Sync(Sync {
                    path: parent(&find.prefix),
                }),
                FindStep::List => Request::GetEphemerals(GetEphemerals {
                    prefix: find.prefix.clone(),
                }),
                FindStep::ListParent => Request::GetChildren(GetChildren {
                    path: parent(&find.prefix),
                    watch: false,
                }),
                FindStep::Read(candidates) => {
                    let path = candidates
                        .last()
                        .expect("an empty list ends the errand")
                        .clone();
                    Request::GetData(GetData { path, watch: false })
                }
            },
            Self::Close => Request::CloseSession,
        }
    }

    /// Goes on with the outcome of the current step.
    pub(super) fn advance(&mut self, session: SessionId, outcome: Result<Reply, Error>) -> Next {
        match self {
            Self::Release { release, step } => advance_release(release, step, outcome),
            Self::FindOwn { find, step } => advance_find(find, step, session, outcome),
            Self::Close => Next::Done(outcome),
        }
    }

    /// The connection was lost with the current step in flight: it may or may not have happened.
    pub(super) fn lost(&mut self) {
        match self {
            Self::Release { step, .. } => *step = ReleaseStep::Verify,
            Self::FindOwn { step, .. } => *step = FindStep::Sync,
            // The same session is closed once more: that is harmless however often it happens.
            Self::Close => {}
        }
    }
}

fn advance_release(
    release: &Release,
    step: &mut ReleaseStep,
    outcome: Result<Reply, Error>,
) -> Next {
    match (*step, outcome) {
        (ReleaseStep::Verify, Ok(Reply::Exists(Some(stat)))) if stat.czxid == release.czxid => {
            *step = ReleaseStep::ActAgain;
            Next::Step
        }
        // Gone, or the name is another's by now: the attempt that was lost did take effect.
        (ReleaseStep::Verify, Ok(_)) => Next::Done(Ok(Reply::Released(true))),
        (_, Ok(_)) => Next::Done(Ok(Reply::Released(true))),
        (_, Err(error)) if error.refusal() == Some(Refusal::NoNode) => {
            Next::Done(Ok(Reply::Released(false)))
        }
        (_, Err(error)) => Next::Done(Err(error)),
    }
}

fn advance_find(
    find: &FindOwn,
    step: &mut FindStep,
    session: SessionId,
    outcome: Result<Reply, Error>,
) -> Next {
    let next = match (&mut *step, outcome) {
        (FindStep::Sync, Ok(_)) => FindStep::List,
        (FindStep::List, Ok(Reply::Ephemerals(paths))) => FindStep::Read(newest_last(paths)),
        (FindStep::List, Err(Error::Refused(Refusal::Unimplemented))) => FindStep::ListParent,
        (FindStep::ListParent, Ok(Reply::Children(names, _))) => {
            let parent = parent(&find.prefix);
            let begins = |path: &NodePath| path.as_str().starts_with(find.prefix.as_str());
            FindStep::Read(newest_last(
                names
                    .iter()
                    .filter_map(|name| parent.child(name).ok())
                    .filter(begins)
                    .collect(),
            ))
        }
        (FindStep::ListParent, Err(Error::Refused(Refusal::NoNode))) => FindStep::Read(Vec::new()),
        (FindStep::Read(candidates), outcome) => {
            let path = candidates.pop().expect("the candidate that was asked for");
            match outcome {
                Ok(Reply::Data(data, stat))
                    if data == find.data && stat.ephemeral_owner == session.0 =>
                {
                    return Next::Done(Ok(Reply::Found(Some(Created { path, stat }))));
                }
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => return Next::Done(Err(error)),
            }
            FindStep::Read(std::mem::take(candidates))
        }
        (_, Ok(_)) => {
            return Next::Done(Err(Error::Protocol(
                "an answer that was not asked for".into(),
            )));
        }
        (_, Err(error)) => return Next::Done(Err(error)),
    };
    *step = next;
    match step {
        FindStep::Read(candidates) if candidates.is_empty() => Next::Done(Ok(Reply::Found(None))),
        _ => Next::Step,
    }
}

/// What was in flight when the connection went is among the last that were made, so the search begins there.
fn newest_last(mut paths: Vec<NodePath>) -> Vec<NodePath> {
    paths.sort();
    paths
}

fn parent(prefix: &NodePath) -> NodePath {
    prefix.parent().unwrap_or_else(NodePath::root)
}
