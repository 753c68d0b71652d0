//! Requests that take several steps and survive reconnects: `Release` and `FindOwn`.

use herdless_core::{
    Created, Delete, Error, Exists, FindOwn, GetChildren, GetData, GetEphemerals, Multi, MultiOp, NodePath, Refusal,
    Release, Reply, Request, SessionId, Version,
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
    /// To delete, or deleting. While the session lives nobody else can have the name, so the first time needs no look, unless
    /// the node may be gone or there was a wait for a connection; later it comes after one.
    Act,
    /// To let the last attempt be over before looking: it was on its way when the connection was lost, and the server that
    /// was found next may be behind. It would show a node as ours whose name is somebody else's by now. So may a server of
    /// which nothing is known yet, where others have removed the node.
    Settle,
    /// To look.
    Verify,
}

#[derive(Debug)]
pub(super) enum FindStep {
    Settle,
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
    /// The server has not carried the step out, or does not know whether it has: another time.
    Later,
    Done(Result<Reply, Error>),
}

impl Errand {
    /// The errand that this request is; the request back if it is an ordinary one.
    pub(super) fn new(request: Request) -> Result<Self, Request> {
        match request {
            Request::Release(release) => {
                let step = if release.may_be_gone { ReleaseStep::Settle } else { ReleaseStep::Act };
                Ok(Self::Release { release, step })
            }
            Request::FindOwn(find) => Ok(Self::FindOwn { find, step: FindStep::Settle }),
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
            Self::Release { release: Release { path, .. }, step: ReleaseStep::Settle } => {
                Request::Multi(Multi::settle(path))
            }
            Self::Release { release: Release { path, .. }, step: ReleaseStep::Verify } => {
                Request::Exists(Exists { path: path.clone(), watch: false })
            }
            Self::Release { release: Release { path, hand_over: true, .. }, .. } => Request::Multi(Multi {
                operations: vec![MultiOp::set(path, "", Version::ANY), MultiOp::delete(path, Version::ANY)],
                session: None,
            }),
            Self::Release { release: Release { path, .. }, .. } => {
                Request::Delete(Delete { path: path.clone(), version: Version::ANY })
            }
            Self::FindOwn { find, step } => match step {
                FindStep::Settle => Request::Multi(Multi::settle(&parent(&find.prefix))),
                FindStep::List => Request::GetEphemerals(GetEphemerals { prefix: find.prefix.clone() }),
                FindStep::ListParent => Request::GetChildren(GetChildren { path: parent(&find.prefix), watch: false }),
                FindStep::Read(candidates) => {
                    let path = candidates.last().expect("an empty list ends the errand").clone();
                    Request::GetData(GetData { path, watch: false })
                }
            },
            Self::Close => Request::CloseSession,
        }
    }

    /// Goes on with the outcome of the current step. `lists_ephemerals` is what is known of the servers, for all
    /// errands: one that does not know the operation hangs up after its refusal, so asking again would cut every
    /// connection in turn.
    pub(super) fn advance(
        &mut self,
        session: SessionId,
        lists_ephemerals: &mut bool,
        outcome: Result<Reply, Error>,
    ) -> Next {
        if !self.is_close() && outcome.as_ref().is_err_and(is_passing) {
            self.lost();
            return Next::Later;
        }
        match self {
            Self::Release { release, step } => advance_release(release, step, outcome),
            Self::FindOwn { find, step } => advance_find(find, step, session, lists_ephemerals, outcome),
            Self::Close => Next::Done(outcome),
        }
    }

    /// The connection was lost with the current step in flight: it may or may not have happened. Or there was none to send the
    /// first step on, or the server put it off.
    pub(super) fn lost(&mut self) {
        match self {
            Self::Release { step, .. } => *step = ReleaseStep::Settle,
            Self::FindOwn { step, .. } => *step = FindStep::Settle,
            // The same session is closed once more: that is harmless however often it happens.
            Self::Close => {}
        }
    }
}

/// Whether an error says nothing of the node, and may be another next time. Who releases does not always listen, so an errand that
/// ended with it would leave a node behind for the life of the session.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Uncertain(_)) || error.refusal() == Some(Refusal::Throttled)
}

fn advance_release(release: &Release, step: &mut ReleaseStep, outcome: Result<Reply, Error>) -> Next {
    match (*step, outcome) {
        (ReleaseStep::Settle, outcome) => match Multi::settled(outcome) {
            Ok(()) => {
                *step = ReleaseStep::Verify;
                Next::Step
            }
            Err(error) => Next::Done(Err(error)),
        },
        (ReleaseStep::Verify, Ok(Reply::Exists(Some(stat)))) if stat.czxid == release.czxid => {
            *step = ReleaseStep::Act;
            Next::Step
        }
        // Gone, or the name is another's by now: the attempt that was lost did take effect.
        (ReleaseStep::Verify, Ok(_)) => Next::Done(Ok(Reply::Released(true))),
        (_, Ok(_)) => Next::Done(Ok(Reply::Released(true))),
        (_, Err(error)) if error.refusal() == Some(Refusal::NoNode) => Next::Done(Ok(Reply::Released(false))),
        (_, Err(error)) => Next::Done(Err(error)),
    }
}

fn advance_find(
    find: &FindOwn,
    step: &mut FindStep,
    session: SessionId,
    lists_ephemerals: &mut bool,
    outcome: Result<Reply, Error>,
) -> Next {
    let next = match (&mut *step, outcome) {
        (FindStep::Settle, outcome) => match Multi::settled(outcome) {
            Ok(()) if *lists_ephemerals => FindStep::List,
            Ok(()) => FindStep::ListParent,
            Err(error) => return Next::Done(Err(error)),
        },
        (FindStep::List, Ok(Reply::Ephemerals(paths))) => FindStep::Read(newest_last(paths)),
        (FindStep::List, Err(Error::Refused(Refusal::Unimplemented))) => {
            *lists_ephemerals = false;
            FindStep::ListParent
        }
        (FindStep::ListParent, Ok(Reply::Children(names, _))) => {
            let parent = parent(&find.prefix);
            let begins = |path: &NodePath| path.as_str().starts_with(find.prefix.as_str());
            FindStep::Read(newest_last(
                names.iter().filter_map(|name| parent.child(name).ok()).filter(begins).collect(),
            ))
        }
        (FindStep::ListParent, Err(Error::Refused(Refusal::NoNode))) => FindStep::Read(Vec::new()),
        (FindStep::Read(candidates), outcome) => {
            let path = candidates.pop().expect("the candidate that was asked for");
            match outcome {
                Ok(Reply::Data(data, stat)) if data == find.data && stat.ephemeral_owner == session.0 => {
                    return Next::Done(Ok(Reply::Found(Some(Created { path, stat }))));
                }
                // Gone, or another's. Any other refusal leaves open what the node is, and "not found" has to be certain.
                Ok(Reply::Data(..)) | Err(Error::Refused(Refusal::NoNode | Refusal::NoAuth)) => {}
                Ok(_) => return Next::Done(Err(unasked())),
                Err(error) => return Next::Done(Err(error)),
            }
            FindStep::Read(std::mem::take(candidates))
        }
        (_, Ok(_)) => {
            return Next::Done(Err(unasked()));
        }
        (_, Err(error)) => return Next::Done(Err(error)),
    };
    *step = next;
    match step {
        FindStep::Read(candidates) if candidates.is_empty() => Next::Done(Ok(Reply::Found(None))),
        _ => Next::Step,
    }
}

fn unasked() -> Error {
    Error::Protocol("an answer that was not asked for".into())
}

/// What was in flight when the connection went is among the last that were made, so the search begins there.
fn newest_last(mut paths: Vec<NodePath>) -> Vec<NodePath> {
    paths.sort();
    paths
}

fn parent(prefix: &NodePath) -> NodePath {
    prefix.parent().unwrap_or_else(NodePath::root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use herdless_core::{Stat, Zxid};

    const ME: SessionId = SessionId(7);

    fn path(path: &str) -> NodePath {
        NodePath::parse(path).unwrap()
    }

    fn find(prefix: &str) -> Errand {
        let find = FindOwn { prefix: NodePath::parse_sequential(prefix).unwrap(), data: Bytes::from_static(b"me") };
        Errand::new(Request::FindOwn(find)).unwrap()
    }

    fn release(hand_over: bool) -> Errand {
        let release = Release { path: path("/q/n"), czxid: Zxid(5), session: ME, hand_over, may_be_gone: false };
        Errand::new(Request::Release(release)).unwrap()
    }

    /// Answers the steps with these outcomes in turn; the requests that were made, and the end if it was reached.
    fn walk(
        errand: &mut Errand,
        outcomes: impl IntoIterator<Item = Result<Reply, Error>>,
    ) -> (Vec<&'static str>, Option<Result<Reply, Error>>) {
        let mut names = Vec::new();
        for outcome in outcomes {
            names.push(errand.request().name());
            if let Next::Done(end) = errand.advance(ME, &mut true, outcome) {
                return (names, Some(end));
            }
        }
        (names, None)
    }

    fn owned(czxid: i64) -> Stat {
        Stat { czxid: Zxid(czxid), ephemeral_owner: ME.0, ..Stat::default() }
    }

    #[test]
    fn a_lost_release_looks_again_each_time_and_deletes_only_the_node_it_made() {
        for hand_over in [false, true] {
            let mut errand = release(hand_over);
            let synced = || Ok(Reply::Synced(path("/q/n")));
            let ours = || Ok(Reply::Exists(Some(owned(5))));
            for _ in 0..3 {
                errand.lost();
                let (names, end) = walk(&mut errand, [synced(), ours()]);
                assert_eq!((names, end), (vec!["multi", "exists"], None));
                let act = if hand_over { "multi" } else { "delete" };
                assert_eq!(errand.request().name(), act);
            }
            errand.lost();
            let (_, end) = walk(&mut errand, [synced(), Ok(Reply::Exists(Some(owned(6))))]);
            assert_eq!(end, Some(Ok(Reply::Released(true))), "another's by now");
        }
    }

    #[test]
    fn a_multi_that_finds_no_node_releases_nothing() {
        let refused = Error::MultiRefused { index: 0, refusal: Refusal::NoNode };
        let (_, end) = walk(&mut release(true), [Err(refused)]);
        assert_eq!(end, Some(Ok(Reply::Released(false))));
    }

    #[test]
    fn a_search_at_the_root_lists_the_root() {
        let mut errand = find("/n-");
        let unimplemented = Err(Error::Refused(Refusal::Unimplemented));
        let mut lists = true;
        errand.advance(ME, &mut lists, Ok(Reply::Synced(path("/"))));
        errand.advance(ME, &mut lists, unimplemented);
        assert!(!lists);
        let Request::GetChildren(list) = errand.request() else {
            panic!("{errand:?}");
        };
        assert!(list.path.is_root() && !list.watch);
        let names = ["n-2", "n-10", "m-1", "n-03"].map(str::to_owned).to_vec();
        errand.advance(ME, &mut lists, Ok(Reply::Children(names, Stat::default())));
        // By name, the last first; what does not begin with the prefix is left out.
        for expected in ["/n-2", "/n-10", "/n-03"] {
            let Request::GetData(read) = errand.request() else {
                panic!("{errand:?}");
            };
            assert_eq!(read.path, path(expected));
            errand.advance(ME, &mut lists, Err(Error::Refused(Refusal::NoNode)));
        }
    }

    #[test]
    fn a_search_wants_the_data_and_the_owner_to_be_right() {
        let listed = || Ok(Reply::Ephemerals(vec![path("/q/a"), path("/q/b")]));
        let data = |data: &'static [u8], owner| {
            let stat = Stat { ephemeral_owner: owner, ..Stat::default() };
            Ok(Reply::Data(data.into(), stat))
        };
        let synced = || Ok(Reply::Synced(path("/q")));
        let steps = [synced(), listed(), data(b"me", 8), data(b"mee", ME.0)];
        let (names, end) = walk(&mut find("/q/"), steps);
        assert_eq!(names.len(), 4);
        assert_eq!(end, Some(Ok(Reply::Found(None))));
        let (names, end) = walk(&mut find("/q/"), [synced(), listed(), data(b"me", ME.0)]);
        assert_eq!(names.len(), 3);
        assert!(matches!(end, Some(Ok(Reply::Found(Some(created)))) if created.path == path("/q/b")));
    }

    #[test]
    fn an_answer_to_something_else_ends_a_search() {
        for steps in 0..3 {
            let mut outcomes = vec![Ok(Reply::Synced(path("/q"))), Ok(Reply::Ephemerals(vec![path("/q/a")]))];
            outcomes.truncate(steps);
            outcomes.push(Ok(Reply::Deleted));
            let (_, end) = walk(&mut find("/q/"), outcomes);
            // What a Sync says does not matter.
            assert_eq!(matches!(end, Some(Err(Error::Protocol(_)))), steps > 0);
        }
    }
}
