//! Models of the shared value and the shared counter.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use herdless_core::{
    Answer, Client, ClientExt, CreateMode, Error, GetData, MultiOp, NodePath, OneShot, Refusal, Reply, Request,
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
            if let MultiOp::SetData(set) = operation {
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

/// Two tasks increment through clones of one counter, and the k-th reply to their client is lost: each asks about its own
/// write only.
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

/// All tasks of a client set the same receipt: another's write has come in between.
fn share_receipt(client: &Loom, request: Request) -> Response {
    if let Request::FindOwn(find) = &request {
        drop(client.set(&find.prefix, "another's", Version::ANY));
    }
    client.submit(request)
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

/// A client whose first writes are lost on their way there or back.
#[derive(Clone)]
struct Doubtful {
    inner: Loom,
    is_carried_out: bool,
    writes: Arc<AtomicU64>,
    /// For a planted bug: the session that it takes every later one for.
    only: Option<Session>,
}

impl Client for Doubtful {
    fn submit(&self, request: Request) -> Response {
        let one_less = |writes: u64| writes.checked_sub(1);
        let is_lost = matches!(request, Request::Multi(_))
            && self.writes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if !is_lost {
            return self.inner.submit(request);
        }
        if self.is_carried_out {
            drop(self.inner.submit(request));
        }
        Response::ready(Err(Error::ConnectionLost))
    }

    fn session(&self) -> Session {
        self.only.clone().unwrap_or_else(|| self.inner.session())
    }
}

/// The session ends at any point of two increments that are lost on their way there or back: those that are certain are
/// counted, and no more than these and the uncertain ones.
fn session_expires(name: &'static str, contenders: usize, bound: Option<usize>, is_noticed: bool) {
    let (done, not_done, known) = (Count::default(), Count::default(), Count::default());
    for is_carried_out in [false, true] {
        let (done_in, not_done_in, known_in) = (done.clone(), not_done.clone(), known.clone());
        let name = format!("{name}/{}", if is_carried_out { "back" } else { "there" });
        Model::new(name).preemption_bound(bound).check(move || {
            let server = server();
            let victim = server.connect();
            let others: Vec<_> = (1..contenders).map(|_| loom::thread::spawn(incrementer(&server, sound))).collect();
            let (killed, to_expire) = (server.clone(), victim.clone());
            let killer = loom::thread::spawn(move || killed.expire(&to_expire));
            let only = (!is_noticed).then(|| victim.session());
            let writes = Arc::new(AtomicU64::new(2));
            let counter = SharedCounter::new(Doubtful { inner: victim, is_carried_out, writes, only }, path());
            let (mut certain, mut unknown) = (contenders as i64 - 1, 0);
            for _ in 0..2 {
                match block_on(counter.increment()) {
                    Ok(_) => certain += 1,
                    Err(Error::SessionExpired) => unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            drop(counter);
            others.into_iter().for_each(|thread| thread.join().expect("no panic"));
            killer.join().expect("no panic");
            let counted = block_on(SharedCounter::new(server.connect(), path()).get()).expect("the node is there");
            let may_be = certain..=certain + unknown;
            assert!(may_be.contains(&counted), "{counted} counted, {certain} certain, {unknown} unknown");
            done_in.add(counted > certain);
            not_done_in.add(counted < certain + unknown);
            known_in.add(unknown == 0);
            if is_noticed {
                // With the bug receipts are not taken away either, but that is not what it is planted for.
                assert_clean(&server);
            }
        });
    }
    done.assert_reached("an unknown one happened");
    not_done.assert_reached("an unknown one did not happen");
    known.assert_reached("none is unknown");
}

#[test]
fn value_session_expires_at_any_point() {
    session_expires("value_session_expires_at_any_point", 1, None, true);
}

#[test]
fn value_session_expires_at_any_point_of_two() {
    session_expires("value_session_expires_at_any_point_of_two", 2, Some(3), true);
}

/// What the next session says of the receipt is believed.
#[test]
#[should_panic(expected = "counted, ")]
fn planted_value_ignore_expiry() {
    session_expires("planted_value_ignore_expiry", 1, None, false);
}

/// Of two that make the node, with a reply lost, one does: and knows it.
fn initialized(name: &'static str, tamper: Tamper) {
    for replies in 0..=2 {
        Model::new(format!("{name}/{replies}")).check(move || {
            let server = LoomServer::with_locks();
            let client = server.connect();
            server.lose_reply_after(&client, replies);
            let initialize = move |client: Loom, data: &'static str| {
                let value = SharedValue::new(Tampered::new(client, tamper), path());
                let outcome = block_on(value.initialize(data)).expect("the session lives");
                let there = outcome.as_ref().map_or_else(|there| there.as_ref(), Some).expect("nobody deletes it");
                (outcome.is_ok(), there.data.clone())
            };
            let other = server.connect();
            let thread = loom::thread::spawn(move || initialize(other, "theirs"));
            let (is_mine, mine) = initialize(client, "mine");
            let (is_theirs, theirs) = thread.join().expect("no panic");
            assert!(is_mine != is_theirs && mine == theirs, "one makes it");
            assert_eq!(mine, if is_mine { "mine" } else { "theirs" });
            assert_clean(&server);
        });
    }
}

#[test]
fn value_initialized_by_one() {
    initialized("value_initialized_by_one", sound);
}

#[test]
#[should_panic(expected = "one makes it")]
fn planted_value_initialized_by_nobody() {
    initialized("planted_value_initialized_by_nobody", lost_is_conflict);
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
        Poll::Ready(Ok(before)) => client.submit(request).map(|outcome| Ok(Answer { reply: before.reply, ..outcome? })),
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_value_watch_after_the_read() {
    followed("planted_value_watch_after_the_read", |_, _| {}, watch_after_the_read);
}
