//! The suite finds what it is there to find: clients that break a promise each.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use herdless_conformance::{Ability, Backend, Verdict, case, run_all};
use herdless_core::{
    Acl, AddWatchMode, Answer, Client, Error, EventKind, Multi, Notice, NoticeQueue, NoticeSource, Reply, Request,
    Response, ResponseSource, Session, Undo, Version, Watch, WatchOutcome, WatchSource, WatchStream,
};
use herdless_memory::{MemoryClient, MemoryServer};

/// How a request is submitted by a client with a bug.
type Flaw = fn(&MemoryClient, Request) -> Response;

struct Flawed {
    server: MemoryServer,
    flaw: Flaw,
}

#[derive(Clone, Debug)]
struct FlawedClient {
    client: MemoryClient,
    flaw: Flaw,
}

impl Client for FlawedClient {
    fn submit(&self, request: Request) -> Response {
        (self.flaw)(&self.client, request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

impl Backend for Flawed {
    type Client = FlawedClient;

    async fn connect(&self) -> FlawedClient {
        FlawedClient { client: self.server.connect(), flaw: self.flaw }
    }

    fn has(&self, ability: Ability) -> bool {
        ability == Ability::Digest
    }
}

/// Makes a test of each bug, with the case that finds it and what it says.
macro_rules! planted {
    ($($flaw:ident is found by $case:ident: $message:literal;)*) => {
        $(#[tokio::test]
        #[should_panic(expected = $message)]
        async fn $flaw() {
            let flawed = Flawed { server: MemoryServer::new(), flaw: flaws::$flaw };
            assert_eq!(case(stringify!($case)).unwrap().run(&flawed).await, Verdict::Passed);
        })*
    };
}

planted! {
    versions_are_not_checked is found by a_write_for_another_version_changes_nothing: "Refused(BadVersion) expected";
    half_a_refused_multi_is_done is found by a_refused_multi_names_the_operation_and_changes_nothing: "refused at 1";
    the_session_of_a_multi_is_forgotten is found by a_multi_meant_for_another_session_is_not_done: "SessionExpired";
    a_dropped_request_is_recalled is found by a_dropped_future_is_carried_out: "NoNode";
    requests_are_sent_when_polled is found by requests_take_effect_in_the_order_of_submission: "NoNode";
    deletions_are_told_as_changes is found by a_data_watch_tells_of_the_deletion: "Deleted of";
    watches_are_forgotten is found by the_event_is_there_before_the_reply_of_ones_own_write: "left: None";
    access_lists_are_left_out is found by a_node_for_one_user_is_closed_to_others: "Refused(NoAuth) expected";
    recursive_watches_end_at_their_node is found by a_recursive_watch_tells_of_every_node_below_and_of_no_children: "Children";
    streams_tell_nothing is found by a_stream_has_the_event_before_the_reply_of_ones_own_write: "left: []";
    streams_are_left_behind is found by the_servers_watch_goes_with_the_last_stream: "!is_watched";
    children_are_counted_wrong is found by children_count_in_the_parents_stat: "cversion: 1,";
}

mod flaws {
    use super::*;

    pub(super) fn versions_are_not_checked(client: &MemoryClient, mut request: Request) -> Response {
        match &mut request {
            Request::SetData(set) => set.version = Version::ANY,
            Request::Delete(delete) => delete.version = Version::ANY,
            _ => {}
        }
        client.submit(request)
    }

    pub(super) fn half_a_refused_multi_is_done(client: &MemoryClient, request: Request) -> Response {
        let again = (client.clone(), request.clone());
        client.submit(request).map(move |outcome| {
            if let (Err(Error::MultiRefused { index, .. }), (client, Request::Multi(multi))) = (&outcome, again) {
                let operations = multi.operations[..*index].to_vec();
                drop(client.submit(Request::Multi(Multi { operations, session: None })));
            }
            outcome
        })
    }

    pub(super) fn the_session_of_a_multi_is_forgotten(client: &MemoryClient, mut request: Request) -> Response {
        if let Request::Multi(multi) = &mut request {
            multi.session = None;
        }
        client.submit(request)
    }

    /// The same bug is found by another case, too.
    pub(super) fn a_dropped_request_is_recalled(client: &MemoryClient, request: Request) -> Response {
        requests_are_sent_when_polled(client, request)
    }

    pub(super) fn requests_are_sent_when_polled(client: &MemoryClient, request: Request) -> Response {
        Response::pending(Arc::new(Lazy(client.clone(), Mutex::new(Some(request)))))
    }

    pub(super) fn deletions_are_told_as_changes(client: &MemoryClient, request: Request) -> Response {
        client.submit(request).map(|outcome| {
            let Answer { reply, watch, stream } = outcome?;
            Ok(Answer { reply, stream, watch: watch.map(|watch| Watch::new(Arc::new(Changed(Mutex::new(watch))))) })
        })
    }

    pub(super) fn watches_are_forgotten(client: &MemoryClient, request: Request) -> Response {
        client.submit(request).map(|outcome| {
            let Answer { reply, watch, stream } = outcome?;
            Ok(Answer { reply, stream, watch: watch.map(|_| Watch::new(Arc::new(Never))) })
        })
    }

    pub(super) fn access_lists_are_left_out(client: &MemoryClient, mut request: Request) -> Response {
        if let Request::Create(create) = &mut request {
            create.acl = Acl::open();
        }
        client.submit(request)
    }

    pub(super) fn recursive_watches_end_at_their_node(client: &MemoryClient, mut request: Request) -> Response {
        if let Request::AddWatch(watch) = &mut request {
            watch.mode = AddWatchMode::Persistent;
        }
        client.submit(request)
    }

    pub(super) fn streams_tell_nothing(client: &MemoryClient, request: Request) -> Response {
        client.submit(request).map(|outcome| {
            let Answer { reply, watch, stream } = outcome?;
            let nothing = |stream| WatchStream::new(Arc::new(<NoticeQueue>::default()), move || drop(stream));
            Ok(Answer { reply, watch, stream: stream.map(nothing).map(Box::new) })
        })
    }

    pub(super) fn streams_are_left_behind(client: &MemoryClient, request: Request) -> Response {
        client.submit(request).map(|outcome| {
            let Answer { reply, watch, stream } = outcome?;
            let left = |stream| WatchStream::new(Arc::new(Left(Mutex::new(ManuallyDrop::new(stream)))), || {});
            Ok(Answer { reply, watch, stream: stream.map(left).map(Box::new) })
        })
    }

    pub(super) fn children_are_counted_wrong(client: &MemoryClient, request: Request) -> Response {
        client.submit(request).map(|outcome| {
            let mut answer = outcome?;
            if let Reply::Exists(Some(stat)) = &mut answer.reply {
                stat.cversion = stat.num_children;
            }
            Ok(answer)
        })
    }
}

struct Lazy(MemoryClient, Mutex<Option<Request>>);

impl ResponseSource for Lazy {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        let request = self.1.lock().unwrap().take().unwrap();
        std::pin::pin!(self.0.submit(request)).as_mut().poll(cx)
    }

    fn abandon(&self, _: Option<Undo>) {}
}

struct Changed(Mutex<Watch>);

impl WatchSource for Changed {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        Pin::new(&mut *self.0.lock().unwrap()).poll(cx).map_ok(|mut event| {
            event.kind = EventKind::DataChanged;
            event
        })
    }

    fn abandon(&self) {}
}

/// Never dropped, so the server's watch never goes.
struct Left(Mutex<ManuallyDrop<Box<WatchStream>>>);

impl NoticeSource for Left {
    fn poll_notice(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Notice, Error>>> {
        Pin::new(&mut ***self.0.lock().unwrap()).poll_next(cx)
    }
}

struct Never;

impl WatchSource for Never {
    fn poll_fired(&self, _: &mut Context<'_>) -> Poll<WatchOutcome> {
        Poll::Pending
    }

    fn abandon(&self) {}
}

/// All of it: a failure is told, with the others run all the same.
#[tokio::test]
async fn a_report_names_what_failed() {
    let report = run_all(&Flawed { server: MemoryServer::new(), flaw: flaws::versions_are_not_checked }).await;
    let failed: Vec<_> = report.failed.iter().map(|(name, _)| *name).collect();
    assert!(failed.contains(&"a_write_for_another_version_changes_nothing"), "{report}");
    assert!(!failed.contains(&"any_version_will_do_where_none_is_named"), "{report}");
    assert!(report.passed.len() > 100 && failed.len() < 10, "{report}");
    let text = report.to_string();
    assert!(text.contains("\nfailed: a_write_for_another_version_changes_nothing: Refused(BadVersion) expected"));
    assert!(text.contains("\nleft out: a_session_outlives_its_connection needs Disconnect"));
}

/// Says that it can do everything, and has no method for anything.
struct Boastful(MemoryServer);

impl Backend for Boastful {
    type Client = MemoryClient;

    async fn connect(&self) -> MemoryClient {
        self.0.connect()
    }

    fn has(&self, _: Ability) -> bool {
        true
    }
}

#[tokio::test]
async fn an_ability_without_its_method_fails_the_cases_that_need_it() {
    let report = run_all(&Boastful(MemoryServer::new())).await;
    assert!(report.passed.len() > 100 && report.left_out.is_empty(), "{report}");
    let message_of = |name| report.failed.iter().find(|(failed, _)| *failed == name).map(|(_, message)| &**message);
    for (name, ability, method) in [
        ("a_session_outlives_its_connection", "Disconnect", "disconnect"),
        ("a_client_outlives_its_session", "Expire", "expire"),
        ("an_undo_is_told_that_the_reply_is_lost", "LoseReply", "lose_next_reply"),
        ("more_than_the_limit_is_refused_at_once", "Limit", "connect_limited"),
        ("a_node_goes_when_its_time_to_live_is_over", "PassTime", "pass_time"),
        ("numbers_go_on_under_the_next_leader", "LoseLeader", "lose_leader"),
    ] {
        let message =
            format!("the backend says that it has Ability::{ability}, and does not implement Backend::{method}");
        assert_eq!(message_of(name), Some(&*message));
    }
}
