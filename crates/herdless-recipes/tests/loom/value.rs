//! Models of the shared value and the shared counter.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use herdless_core::{
    Answer, Client, ClientExt, CreateMode, Error, GetData, MultiReply, NodePath, OneShot, Refusal, Reply, Request,
    Response, Session, Version,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{SharedCounter, SharedValue};

use crate::harness::{Count, Tamper, Tampered, poll_times, sound, together};

type Loom = MemoryClient<LoomLocks>;

fn path() -> NodePath {
    NodePath::parse("/count").expect("a valid path")
}

/// A server with a counter at 0, made beforehand, so that the models are about counting and not about the first write.
fn server() -> LoomServer {
    let server = LoomServer::with_locks();
    let zero = 0_i64.to_be_bytes().to_vec();
    block_on(server.connect().create(&path(), zero, CreateMode::Persistent)).expect("an empty tree takes it");
    server
}

fn counter(client: &Loom, tamper: Tamper) -> SharedCounter<Tampered> {
    SharedCounter::new(Tampered::new(client.clone(), tamper), path())
}

/// The number is exactly this, and nothing is left but its node.
#[track_caller]
fn assert_counted(server: &LoomServer, counted: i64) {
    let (data, stat) = block_on(server.connect().get(&path())).expect("the node is there");
    assert_eq!(*data, counted.to_be_bytes(), "the count is wrong");
    assert_eq!(i64::from(stat.version), counted, "writes that did not count");
    assert_clean(server);
}

fn assert_clean(server: &LoomServer) {
    server.inspect(|tree| {
        let left: Vec<_> = tree.paths().map(|path| path.as_str().to_owned()).collect();
        assert_eq!(left, ["/", "/count"], "something is left");
        assert_eq!(tree.watch_count(), 0, "watches left");
    });
}

fn incrementer(server: &LoomServer, tamper: Tamper) -> impl FnOnce() + Send + 'static {
    let server = server.clone();
    move || {
        let counter = counter(&server.connect(), tamper);
        block_on(counter.increment()).expect("the session lives");
    }
}

/// Every increment counts once, and nothing is left.
fn incrementers(name: &'static str, count: usize, bound: Option<usize>, tamper: Tamper) {
    let (conflict, undisturbed) = (Count::default(), Count::default());
    let (conflict_in, undisturbed_in) = (conflict.clone(), undisturbed.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let server = server();
        let threads: Vec<_> = (1..count).map(|_| loom::thread::spawn(incrementer(&server, tamper))).collect();
        let before = server.inspect(|tree| tree.last_zxid().0);
        incrementer(&server, tamper)();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_counted(&server, count as i64);
        // A refused write takes a number too; without one there are two for each, and the session.
        let changes = server.inspect(|tree| tree.last_zxid().0) - before;
        conflict_in.add(changes > 3 * count as i64 + 1);
        undisturbed_in.add(changes <= 3 * count as i64 + 1);
    });
    conflict.assert_reached("an increment meets another");
    undisturbed.assert_reached("none meets another");
}

#[test]
fn value_two_incrementers() {
    incrementers("value_two_incrementers", 2, None, sound);
}

#[test]
fn value_three_incrementers() {
    incrementers("value_three_incrementers", 3, Some(3), sound);
}

/// The version is not compared.
fn any_version(client: &Loom, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request {
        for operation in &mut multi.operations {
            if let herdless_core::MultiOp::SetData(set) = operation {
                set.version = Version::ANY;
            }
        }
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "the count is wrong")]
fn planted_value_any_version() {
    incrementers("planted_value_any_version", 2, None, any_version);
}

/// The receipt stays.
fn keep_receipt(client: &Loom, request: Request) -> Response {
    match request {
        Request::Release(_) => Response::ready(Ok(Reply::Released(true).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "something is left")]
fn planted_value_keep_receipt() {
    incrementers("planted_value_keep_receipt", 2, None, keep_receipt);
}

/// Two tasks increment through one client and one `SharedCounter`, twice each, while the connection is cut and made again:
/// each asks for its own receipt only.
fn clones(name: &'static str, tamper: Tamper) {
    let lost = Count::default();
    for replies in 0..=4 {
        let lost_in = lost.clone();
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let server = server();
            let client = server.connect();
            let counter = counter(&client, tamper);
            server.lose_reply_after(&client, replies);
            let before = client.session().revision();
            let other = counter.clone();
            let increment = |counter: SharedCounter<Tampered>| {
                block_on(counter.increment()).expect("the session lives");
            };
            together!(move || increment(other); increment(counter));
            lost_in.add(client.session().revision() != before);
            assert_counted(&server, 2);
        });
    }
    lost.assert_reached("a reply is lost");
}

#[test]
fn value_clones_with_a_reply_lost() {
    clones("value_clones_with_a_reply_lost", sound);
}

/// All tasks of a client set the same receipt.
fn share_receipt(client: &Loom, mut request: Request) -> Response {
    let shared = |path: &NodePath| {
        let is_receipt = path.name().starts_with("receipt-");
        if is_receipt { path.parent().and_then(|parent| parent.child("receipt").ok()) } else { None }
    };
    if let Request::Multi(multi) = &mut request {
        // It is there already, or is made outside.
        if let Some(herdless_core::MultiOp::Create(create)) = multi.operations.get(1).cloned()
            && let Some(path) = shared(&create.path)
        {
            multi.operations.remove(1);
            drop(client.submit(Request::Create(herdless_core::Create { path, ..create })));
            return client.submit(renamed(request, shared)).map(|outcome| {
                let mut answer = outcome?;
                if let Reply::Multi(replies) = &mut answer.reply {
                    replies.insert(1, MultiReply::Created(path_of_receipt(), None));
                }
                Ok(answer)
            });
        }
    }
    client.submit(renamed(request, shared))
}

fn renamed(mut request: Request, shared: impl Fn(&NodePath) -> Option<NodePath>) -> Request {
    request.map_paths(|path, _| shared(path).unwrap_or_else(|| path.clone()));
    request
}

fn path_of_receipt() -> NodePath {
    path().child("receipt").expect("a valid name")
}

#[test]
#[should_panic(expected = "the count is wrong")]
fn planted_value_share_receipt() {
    clones("planted_value_share_receipt", share_receipt);
}

/// The k-th reply to one of two incrementers is lost, its request carried out: neither a conflict nor a second increment.
fn reply_lost(name: &'static str, tamper: Tamper) {
    for replies in 0..=4 {
        Model::new(format!("{name}/{replies}")).check(move || {
            let server = server();
            let client = server.connect();
            server.lose_reply_after(&client, replies);
            together!(incrementer(&server, sound); {
                block_on(counter(&client, tamper).increment()).expect("the session lives");
            });
            assert_counted(&server, 2);
        });
    }
}

#[test]
fn value_reply_lost_at_any_point() {
    reply_lost("value_reply_lost_at_any_point", sound);
}

/// After a lost reply the write is sent again without a look at the receipt.
fn retry_blindly(client: &Loom, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "the count is wrong")]
fn planted_value_retry_blindly() {
    reply_lost("planted_value_retry_blindly", retry_blindly);
}

/// A lost reply is taken for a conflict.
fn lost_is_conflict(client: &Loom, request: Request) -> Response {
    let is_multi = matches!(request, Request::Multi(_));
    client.submit(request).map(move |outcome| match outcome {
        Err(Error::ConnectionLost) if is_multi => Err(Error::MultiRefused { index: 0, refusal: Refusal::BadVersion }),
        outcome => outcome,
    })
}

#[test]
#[should_panic(expected = "the count is wrong")]
fn planted_value_lost_is_conflict() {
    reply_lost("planted_value_lost_is_conflict", lost_is_conflict);
}

/// A client whose k-th request is lost on its way there.
#[derive(Clone)]
struct Unsent {
    inner: Loom,
    before: Arc<AtomicU64>,
}

impl Client for Unsent {
    fn submit(&self, request: Request) -> Response {
        if request.is_clean_up() || self.before.fetch_sub(1, Ordering::Relaxed) != 0 {
            return self.inner.submit(request);
        }
        Response::ready(Err(Error::ConnectionLost))
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

/// The k-th request of one of two incrementers is lost: it is sent again, and counts.
#[test]
fn value_request_lost_at_any_point() {
    for requests in 0..=4 {
        Model::new(format!("value_request_lost_at_any_point/{requests}")).check(move || {
            let server = server();
            let client = Unsent { inner: server.connect(), before: Arc::new(AtomicU64::new(requests)) };
            together!(incrementer(&server, sound); {
                let counter = SharedCounter::new(client, path());
                block_on(counter.increment()).expect("the session lives");
            });
            assert_counted(&server, 2);
        });
    }
}

/// The connection is cut and made again by another thread at any two points.
#[test]
fn value_connection_lost_at_any_point() {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new("value_connection_lost_at_any_point").preemption_bound(3).check(move || {
        let server = server();
        let victim = server.connect();
        let (cut_server, cut_client, waited) = (server.clone(), victim.clone(), waited_in.clone());
        let cut = move || {
            cut_server.disconnect(&cut_client);
            let before = cut_server.inspect(|tree| tree.last_zxid());
            cut_server.reconnect(&cut_client);
            waited.add(cut_server.inspect(|tree| tree.last_zxid()) > before);
        };
        together!(incrementer(&server, sound), cut; {
            block_on(counter(&victim, sound).increment()).expect("the session lives");
        });
        assert_counted(&server, 2);
    });
    waited.assert_reached("a write waits for the connection");
}

/// A client whose replies to writes are all lost.
fn lose_replies(client: &Loom, request: Request) -> Response {
    let is_multi = matches!(request, Request::Multi(_));
    client.submit(request).map(move |outcome| match outcome {
        Ok(_) if is_multi => Err(Error::ConnectionLost),
        outcome => outcome,
    })
}

/// The session ends at any point of two increments whose replies are lost: those that are certain are counted, and no more
/// than these and the uncertain ones.
fn session_expires(name: &'static str, contenders: usize, bound: Option<usize>, tamper: Tamper) {
    let (unknown_done, unknown_not_done, known) = (Count::default(), Count::default(), Count::default());
    let counts = [unknown_done.clone(), unknown_not_done.clone(), known];
    Model::new(name).preemption_bound(bound).check(move || {
        let server = server();
        let victim = server.connect();
        let others: Vec<_> = (1..contenders).map(|_| loom::thread::spawn(incrementer(&server, sound))).collect();
        let (killed, to_expire) = (server.clone(), victim.clone());
        let killer = loom::thread::spawn(move || killed.expire(&to_expire));
        let (mut certain, mut uncertain) = (contenders as i64 - 1, 0);
        let counter = counter(&victim, tamper);
        for _ in 0..2 {
            match block_on(counter.increment()) {
                Ok(_) => certain += 1,
                Err(Error::SessionExpired) => uncertain += 1,
                Err(error) => panic!("{error}"),
            }
        }
        drop(counter);
        others.into_iter().for_each(|thread| thread.join().expect("no panic"));
        killer.join().expect("no panic");
        let counted = block_on(SharedCounter::new(server.connect(), path()).get()).expect("the node is there");
        assert!(counted >= certain, "{counted} counted, {certain} promised");
        assert!(counted <= certain + uncertain, "{counted} counted, {certain} promised, {uncertain} unknown");
        counts[0].add(uncertain > 0 && counted == certain + uncertain);
        counts[1].add(uncertain > 0 && counted < certain + uncertain);
        counts[2].add(uncertain == 0);
        assert_clean(&server);
    });
    unknown_done.assert_reached("an unknown one happened");
    known.assert_reached("none is unknown");
    let _ = unknown_not_done;
}

#[test]
fn value_session_expires_at_any_point() {
    session_expires("value_session_expires_at_any_point", 1, None, lose_replies);
}

#[test]
fn value_session_expires_at_any_point_of_two() {
    session_expires("value_session_expires_at_any_point_of_two", 2, Some(3), lose_replies);
}

/// A question that another session answers is believed.
fn believe_any_session(client: &Loom, request: Request) -> Response {
    let is_question = matches!(request, Request::FindOwn(_));
    let response = lose_replies(client, request);
    if !is_question {
        return response;
    }
    response.map(|outcome| match outcome {
        // As if it had been the session of the write: nothing there, so it did not happen.
        Ok(Answer { reply: Reply::Found(None), .. }) => Err(Error::Refused(Refusal::NoNode)),
        outcome => outcome,
    })
}

#[test]
#[should_panic(expected = "the request may or may not have happened")]
fn planted_value_session_not_told() {
    session_expires("planted_value_session_not_told", 1, None, believe_any_session);
}

/// An increment is dropped at its k-th poll, each answer there one poll late and the j-th lost: it happened or not, and no
/// receipt is left.
fn dropped_at_every_poll(name: &'static str, tamper: Tamper) {
    let (happened, not) = (Count::default(), Count::default());
    for (polls, lost) in (0..=6).flat_map(|polls| [None, Some(0), Some(1)].map(|lost| (polls, lost))) {
        let (happened_in, not_in) = (happened.clone(), not.clone());
        Model::new(format!("{name}/{polls}/{lost:?}")).check(move || {
            let server = server();
            let victim = server.connect();
            server.delay_replies(&victim);
            lost.into_iter().for_each(|replies| server.lose_reply_after(&victim, replies));
            let is_done = together!(incrementer(&server, sound); {
                poll_times(polls, counter(&victim, tamper).increment()).is_some()
            });
            let stat = server.inspect(|tree| tree.stat(&path())).expect("the node is there");
            assert!((1 + i32::from(is_done)..=2).contains(&stat.version), "the count is wrong");
            happened_in.add(!is_done && stat.version == 2);
            not_in.add(stat.version == 1);
            assert_counted(&server, stat.version.into());
        });
    }
    happened.assert_reached("dropped, and it happened");
    not.assert_reached("dropped, and it did not happen");
}

#[test]
fn value_cancelled_at_every_poll() {
    dropped_at_every_poll("value_cancelled_at_every_poll", sound);
}

#[test]
#[should_panic(expected = "something is left")]
fn planted_value_leave_receipt_on_giving_up() {
    dropped_at_every_poll("planted_value_leave_receipt_on_giving_up", keep_receipt);
}

/// An increment that another thread cancels at any point, while the connection is cut and made again, and the session goes
/// on to count: no receipt is left.
#[test]
fn value_cancelled_at_any_point() {
    let (cancelled, done) = (Count::default(), Count::default());
    let (cancelled_in, done_in) = (cancelled.clone(), done.clone());
    Model::new("value_cancelled_at_any_point").preemption_bound(3).check(move || {
        let server = server();
        let client = server.connect();
        let cancel = Arc::new(OneShot::<(), LoomLocks>::new());
        let (canceller, cut_server, cut_client) = (cancel.clone(), server.clone(), client.clone());
        let thread = loom::thread::spawn(move || canceller.put(()).run());
        let cut = loom::thread::spawn(move || {
            cut_server.disconnect(&cut_client);
            cut_server.reconnect(&cut_client);
        });
        let counter = counter(&client, sound);
        let is_done = block_on(async {
            let mut increment = pin!(counter.increment());
            std::future::poll_fn(|cx| match increment.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
                Poll::Pending => cancel.poll_take(cx).map(|()| false),
            })
            .await
        });
        cancelled_in.add(!is_done);
        done_in.add(is_done);
        let counted = block_on(counter.increment()).expect("the session lives");
        assert!(counted == 2 || (!is_done && counted == 1), "the count is wrong");
        thread.join().expect("no panic");
        cut.join().expect("no panic");
        drop(counter);
        assert_counted(&server, counted);
    });
    cancelled.assert_reached("cancelled");
    done.assert_reached("done before it was cancelled");
}

/// Who follows a value sees it grow, never go back, and sees the last one.
fn followed(name: &'static str, disturb: fn(&LoomServer, &Loom), tamper: Tamper) {
    let (all, skipped) = (Count::default(), Count::default());
    let (all_in, skipped_in) = (all.clone(), skipped.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let server = server();
        let (writer, follower) = (server.connect(), server.connect());
        let write = move || {
            let value = SharedValue::new(writer, path());
            for data in ["1", "2"] {
                block_on(value.set(data)).expect("the session lives");
            }
        };
        let (disturbed, victim) = (server.clone(), follower.clone());
        together!(write, move || disturb(&disturbed, &victim); {
            let mut changes = SharedValue::new(Tampered::new(follower, tamper), path()).changes();
            let (mut last, mut count) = (None, 0);
            loop {
                let value = block_on(changes.next()).expect("it goes on").expect("it has no end");
                let value = value.expect("the node stays");
                assert!(last < Some(value.zxid), "it goes back");
                (last, count) = (Some(value.zxid), count + 1);
                if value.data == "2" {
                    break;
                }
            }
            all_in.add(count == 3);
            skipped_in.add(count < 3);
        });
        // The watch for what comes next may be left.
        server.inspect(|tree| assert!(tree.watch_count() <= 1));
    });
    all.assert_reached("all three are seen");
    skipped.assert_reached("one is left out");
}

#[test]
fn value_changes() {
    followed("value_changes", |_, _| {}, sound);
}

#[test]
fn value_changes_over_a_lost_connection() {
    let cut = |server: &LoomServer, client: &Loom| {
        server.disconnect(client);
        server.reconnect(client);
    };
    followed("value_changes_over_a_lost_connection", cut, sound);
}

#[test]
fn value_changes_over_a_lost_session() {
    followed("value_changes_over_a_lost_session", |server, client| server.expire(client), sound);
}

/// The watch is left after the read, not with it.
fn watch_after_the_read(client: &Loom, request: Request) -> Response {
    let Request::GetData(GetData { path, watch: true }) = &request else {
        return client.submit(request);
    };
    let mut read = client.submit(Request::GetData(GetData { path: path.clone(), watch: false }));
    match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(before)) => {
            client.submit(request).map(|outcome| Ok(Answer { watch: outcome?.watch, reply: before.reply }))
        }
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_value_watch_after_the_read() {
    followed("planted_value_watch_after_the_read", |_, _| {}, watch_after_the_read);
}
