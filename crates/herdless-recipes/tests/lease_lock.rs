//! The lock with a maximum hold over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Refusal, Request, Response, Session, Version,
};
use herdless_memory::{ManualTime, MemoryClient, MemoryServer};
use herdless_recipes::{Contender, LeaseLock, Lock};

#[path = "models/wire.rs"]
mod wire;

mod support;

use support::{Counting, paths, poll};

const HOLD: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(1);

fn path() -> NodePath {
    NodePath::parse("/locks/import").unwrap()
}

fn lock(server: &MemoryServer, time: &ManualTime) -> (Counting, LeaseLock<Counting, ManualTime>) {
    let client = Counting::new(server);
    let lock = LeaseLock::new(client.clone(), path(), time.clone(), HOLD).unwrap();
    (client, lock)
}

/// As above, on a directory that is there.
async fn used(server: &MemoryServer, time: &ManualTime) -> (Counting, LeaseLock<Counting, ManualTime>) {
    let (client, lock) = lock(server, time);
    drop(lock.acquire().await.unwrap());
    client.requests();
    (client, lock)
}

async fn record(client: &Counting) -> String {
    String::from_utf8(client.client.get(&path()).await.unwrap().0.to_vec()).unwrap()
}

#[tokio::test]
async fn what_each_operation_costs() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    // The first two leave together.
    assert_eq!(client.requests(), ["create", "get_data", "multi"]);
    guard.renew().await.unwrap();
    assert_eq!(client.requests(), ["multi"]);
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(client.requests(), ["exists"]);
    guard.release().await.unwrap();
    assert_eq!(client.requests(), ["multi"]);
    let guard = lock.try_acquire().await.unwrap().unwrap();
    assert_eq!(client.requests(), ["exists", "create", "get_data", "multi"]);
    drop(guard);
    assert_eq!(client.requests(), ["multi", "release"]);
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);
}

#[tokio::test]
async fn a_hand_over_costs_one_round_trip_and_one_wake_up() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (holder, first) = used(&server, &time).await;
    let (client, second) = used(&server, &time).await;
    let guard = first.acquire().await.unwrap();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.requests(), ["create", "get_data", "get_data"]);
    guard.release().await.unwrap();
    let Poll::Ready(Ok(guard)) = poll(&mut waiting) else { panic!("it is free") };
    // Both leave together.
    assert_eq!(client.requests(), ["get_data", "multi"]);
    assert_eq!(server.wake_ups(), 1);
    assert_eq!(record(&holder).await, format!("held {} 0", guard.token()));
}

#[tokio::test]
async fn waiting_costs_one_read_for_each_maximum_hold() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, first) = used(&server, &time).await;
    let (client, second) = used(&server, &time).await;
    let guard = first.acquire().await.unwrap();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    for _ in 0..3 {
        time.advance(HOLD / 2);
        guard.renew().await.unwrap();
        time.advance(HOLD / 2);
        guard.renew().await.unwrap();
        assert!(poll(&mut waiting).is_pending());
        assert_eq!(client.requests(), ["get_data"]);
    }
    assert!(guard.is_valid());
    assert_eq!(server.wake_ups(), 0);
}

#[tokio::test]
async fn who_is_silent_is_removed_after_its_maximum_hold_and_not_before() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, first) = used(&server, &time).await;
    let (client, second) = used(&server, &time).await;
    let hung = first.acquire().await.unwrap();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    time.advance(HOLD - MOMENT);
    assert!(poll(&mut waiting).is_pending() && hung.is_valid());
    assert_eq!(hung.remaining(), MOMENT);
    assert_eq!(client.requests(), [] as [&str; 0]);
    time.advance(MOMENT);
    assert!(!hung.is_valid(), "it knows before it is removed");
    let mut granted = poll(&mut waiting);
    if granted.is_pending() {
        // The removal's event came while the patrol was polled.
        granted = poll(&mut waiting);
    }
    let Poll::Ready(Ok(guard)) = granted else { panic!("it is free") };
    assert_eq!(
        client.requests(),
        ["get_data", "get_children", "get_data", "multi", "get_children", "get_data", "multi"]
    );
    assert!(guard.is_valid() && guard.token() > hung.token());
    assert_eq!(hung.renew().await, Err(Error::invalid("the lease is over")));
    assert_eq!(hung.multi(vec![]).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(hung.release().await, Err(Error::Refused(Refusal::NoNode)));
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_contender_that_never_polled_is_removed_too() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, first) = used(&server, &time).await;
    let (_, second) = used(&server, &time).await;
    let (_, third) = used(&server, &time).await;
    let guard = first.acquire().await.unwrap();
    let mut stuck = second.acquire().boxed();
    let mut waiting = third.acquire().boxed();
    assert!(poll(&mut stuck).is_pending() && poll(&mut waiting).is_pending());
    guard.release().await.unwrap();
    // One look to see who is first now, and one when its time is over.
    for _ in 0..3 {
        assert!(poll(&mut waiting).is_pending());
        time.advance(HOLD);
    }
    let mut granted = poll(&mut waiting);
    if granted.is_pending() {
        granted = poll(&mut waiting);
    }
    assert!(granted.is_ready());
    assert_eq!(stuck.await.unwrap_err(), Error::Refused(Refusal::NoNode));
    assert_eq!(third.contenders().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lease_that_is_over_is_left_with_care() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, first) = used(&server, &time).await;
    let hung = first.acquire().await.unwrap();
    let late = first.try_acquire();
    assert!(late.await.unwrap().is_none());
    time.advance(HOLD);
    // The name is given to somebody else, as it is when the directory was removed and made again.
    let other = server.connect();
    let name = hung.path().clone();
    other.delete(&name, Version::ANY).await.unwrap();
    other.create(&name, "", CreateMode::Ephemeral).await.unwrap();
    client.requests();
    drop(hung);
    assert_eq!(client.requests(), ["get_data"], "nothing is written where it is not ours");
    assert!(other.exists(&name).await.unwrap().is_some());
    other.delete(&name, Version::ANY).await.unwrap();

    let hung = first.acquire().await.unwrap();
    time.advance(HOLD);
    client.requests();
    drop(hung);
    assert_eq!(client.requests(), ["get_data", "multi", "release"], "nobody took it away");
    let hung = first.acquire().await.unwrap();
    time.advance(HOLD);
    client.requests();
    hung.release().await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi"]);
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);
}

/// A client whose releases begin with a deletion by name, and whose reads may be too many.
#[derive(Clone)]
struct ByName {
    client: MemoryClient,
    is_overloaded: Arc<AtomicBool>,
}

impl ByName {
    fn new(server: &MemoryServer) -> Self {
        Self { client: server.connect(), is_overloaded: Arc::default() }
    }
}

impl Client for ByName {
    fn submit(&self, request: Request) -> Response {
        match request {
            Request::GetData(_) if self.is_overloaded.load(Ordering::Relaxed) => {
                Response::ready(Err(Error::Overloaded))
            }
            request => wire::by_name(&self.client, request),
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_is_not_repeated_by_name() {
    for is_dropped in [false, true] {
        let (server, time) = (MemoryServer::new(), ManualTime::new());
        let client = ByName::new(&server);
        let lock = LeaseLock::new(client.clone(), path(), time.clone(), HOLD).unwrap();
        let guard = lock.acquire().await.unwrap();
        let name = guard.path().clone();
        server.delay_replies(&client.client);
        if !is_dropped {
            server.lose_reply_after(&client.client, 0);
        }
        let mut releasing = guard.release().boxed();
        assert!(poll(&mut releasing).is_pending());
        // It was carried out. The name is given to somebody else, as it is when the directory was removed and made again.
        let other = server.connect();
        other.create(&name, "", CreateMode::Ephemeral).await.unwrap();
        if is_dropped {
            drop(releasing);
        } else {
            releasing.await.unwrap();
        }
        assert!(other.exists(&name).await.unwrap().is_some(), "dropped: {is_dropped}");
    }
}

#[tokio::test]
async fn a_lease_that_is_over_is_left_with_care_also_where_a_look_is_refused() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let client = ByName::new(&server);
    let lock = LeaseLock::new(client.clone(), path(), time.clone(), HOLD).unwrap();
    let hung = lock.acquire().await.unwrap();
    let name = hung.path().clone();
    time.advance(HOLD);
    let other = server.connect();
    other.delete(&name, Version::ANY).await.unwrap();
    other.create(&name, "", CreateMode::Ephemeral).await.unwrap();
    let record = other.get(&path()).await.unwrap();
    client.is_overloaded.store(true, Ordering::Relaxed);
    drop(hung);
    assert!(other.exists(&name).await.unwrap().is_some());
    assert_eq!(other.get(&path()).await.unwrap().0, record.0, "nor is anything said in another's name");
    other.delete(&name, Version::ANY).await.unwrap();

    client.is_overloaded.store(false, Ordering::Relaxed);
    let hung = lock.acquire().await.unwrap();
    time.advance(HOLD);
    client.is_overloaded.store(true, Ordering::Relaxed);
    drop(hung);
    assert_eq!(paths(&server), ["/locks", "/locks/import"], "it goes all the same");
}

#[tokio::test]
async fn a_plain_lock_is_waited_for_and_removed_only_where_that_is_wanted() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let plain = Lock::new(server.connect(), path());
    let held = plain.acquire().await.unwrap();
    let (_, patient) = lock(&server, &time);
    let mut waiting = patient.acquire().boxed();
    for _ in 0..5 {
        assert!(poll(&mut waiting).is_pending());
        time.advance(HOLD);
    }
    let builder = LeaseLock::builder(Counting::new(&server), path(), time.clone(), HOLD).unwrap();
    let impatient = builder.evict_foreign(true).build();
    let mut removing = impatient.acquire().boxed();
    for _ in 0..3 {
        assert!(poll(&mut removing).is_pending());
        time.advance(HOLD);
    }
    assert!(poll(&mut removing).is_pending());
    assert!(poll(&mut waiting).is_ready(), "the one that has waited longer");
    assert_eq!(held.release().await, Err(Error::Refused(Refusal::NoNode)));
}

#[tokio::test]
async fn a_plain_lock_waits_for_a_lease() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, leased) = lock(&server, &time);
    let plain = Lock::new(server.connect(), path());
    let guard = leased.acquire().await.unwrap();
    let mut waiting = plain.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    time.advance(HOLD * 9);
    assert!(poll(&mut waiting).is_pending(), "it removes nobody");
    drop(guard);
    let Poll::Ready(Ok(held)) = poll(&mut waiting) else { panic!("it is free") };
    let mut waiting = leased.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    assert!(poll(&mut waiting).is_ready());
}

#[tokio::test]
async fn work_is_renewed_until_it_is_done() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    client.requests();
    let (mut steps, clock) = (0, time.clone());
    let work = std::future::poll_fn(|cx| {
        steps += 1;
        // Wakes the renewal.
        clock.advance(HOLD / 3);
        cx.waker().wake_by_ref();
        if steps == 12 { Poll::Ready("done") } else { Poll::Pending }
    });
    assert_eq!(guard.renewing(work).await, Some("done"));
    assert!(guard.is_valid());
    let renewals = client.requests().iter().filter(|name| **name == "multi").count();
    assert!((10..=12).contains(&renewals), "{renewals}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn work_is_dropped_when_the_lock_is_lost() {
    struct Dropped<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let is_dropped = std::cell::Cell::new(false);
    for how in 0..3 {
        is_dropped.set(false);
        let guard = lock.acquire().await.unwrap();
        let dropped = Dropped(&is_dropped);
        let mut working = guard
            .renewing(async {
                let _dropped = dropped;
                pending::<()>().await;
            })
            .boxed_local();
        assert!(poll(&mut working).is_pending());
        match how {
            0 => server.expire(&client.client),
            1 => drop(lock.break_holder().await.unwrap().unwrap()),
            // The renewals were not let through in time.
            _ => {
                server.disconnect(&client.client);
                time.advance(HOLD / 3);
                assert!(poll(&mut working).is_pending());
                time.advance(HOLD);
            }
        }
        assert_eq!(poll(&mut working), Poll::Ready(None));
        drop(working);
        server.reconnect(&client.client);
        assert!(is_dropped.get() && !guard.is_valid());
        drop(guard);
        assert_eq!(paths(&server), ["/locks", "/locks/import"]);
    }
}

#[tokio::test]
async fn a_guard_is_told_that_it_is_lost() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    let mut lost = guard.lost().boxed();
    assert!(poll(&mut lost).is_pending());
    time.advance(HOLD / 2);
    guard.renew().await.unwrap();
    time.advance(HOLD / 2);
    assert!(poll(&mut lost).is_pending(), "it was renewed");
    time.advance(HOLD / 2);
    assert!(poll(&mut lost).is_ready() && !guard.is_valid());
    drop(guard);

    let guard = lock.acquire().await.unwrap();
    let mut lost = guard.lost().boxed();
    assert!(poll(&mut lost).is_pending());
    let broken = lock.break_holder().await.unwrap().unwrap();
    assert_eq!((broken.token, &broken.path), (guard.token(), guard.path()));
    assert!(poll(&mut lost).is_ready() && !guard.is_valid());
    assert_eq!(guard.renew().await, Err(Error::Refused(Refusal::NoNode)));
    drop(guard);

    let guard = lock.acquire().await.unwrap();
    let mut lost = guard.lost().boxed();
    assert!(poll(&mut lost).is_pending());
    server.expire(&client.client);
    assert!(poll(&mut lost).is_ready() && !guard.is_valid());
    assert_eq!(guard.renew().await, Err(Error::SessionExpired));
    assert_eq!(guard.release().await, Err(Error::SessionExpired));
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn a_renewal_whose_answer_is_lost_counts_from_when_it_was_sent() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    time.advance(HOLD / 2);
    client.requests();
    server.lose_reply_after(&client.client, 0);
    guard.renew().await.unwrap();
    assert_eq!(client.requests(), ["multi", "multi", "get_data"], "it is found, not sent again");
    assert_eq!(guard.remaining(), HOLD);

    // Not carried out before the lease was over: it is not good for anything.
    server.disconnect(&client.client);
    let mut renewing = guard.renew().boxed();
    assert!(poll(&mut renewing).is_pending());
    time.advance(HOLD);
    server.reconnect(&client.client);
    assert_eq!(renewing.await, Err(Error::invalid("the lease is over")));
    assert!(!guard.is_valid(), "once over it stays so");
}

#[tokio::test]
async fn the_next_holder_waits_for_the_delay_after_an_unclean_end() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let delay = HOLD * 2;
    let delayed = |server: &MemoryServer| {
        let client = server.connect();
        let builder = LeaseLock::builder(client.clone(), path(), time.clone(), HOLD).unwrap();
        (client, builder.lock_delay(delay).build())
    };
    let ((client, first), (_, second)) = (delayed(&server), delayed(&server));
    // Clean ends of both kinds cost nothing.
    drop(first.acquire().await.unwrap());
    first.acquire().await.unwrap().release().await.unwrap();
    let guard = second.acquire().now_or_never().unwrap().unwrap();
    guard.release().await.unwrap();

    let _paused = first.acquire().await.unwrap();
    server.expire(&client);
    let mut waiting = second.acquire().boxed();
    let mut third = first.acquire().boxed();
    for _ in 0..6 {
        assert!(
            poll(&mut waiting).is_pending() && poll(&mut third).is_pending(),
            "the record keeps the lock meanwhile"
        );
        time.advance(delay / 6);
    }
    let Poll::Ready(Ok(guard)) = poll(&mut waiting) else { panic!("the delay is over") };
    assert!(guard.is_valid());
    assert!(guard.remaining() > HOLD / 2);
    guard.release().await.unwrap();
    assert!(poll(&mut third).is_ready(), "a clean end");

    // One that gives up in its delay passes it on.
    let _paused = first.acquire().await.unwrap();
    server.expire(&client);
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert!(poll(&mut first.acquire().boxed()).is_pending());
}

#[tokio::test]
async fn a_request_to_give_up_reaches_the_holder_alone() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, first) = used(&server, &time).await;
    let (client, second) = used(&server, &time).await;
    assert_eq!(second.revoke().await.unwrap(), None);
    let guard = first.acquire().await.unwrap();
    let mut revoked = guard.revoked().boxed();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut revoked).is_pending() && poll(&mut waiting).is_pending());
    client.requests();
    let wake_ups = server.wake_ups();
    assert_eq!(second.revoke().await.unwrap(), Some(guard.token()));
    assert_eq!(client.requests(), ["sync", "get_data", "set_data"]);
    assert_eq!(server.wake_ups(), wake_ups + 1, "the successor does not wake");
    assert_eq!(poll(&mut revoked), Poll::Ready(Ok(())));
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(second.revoke().await.unwrap(), Some(guard.token()));
    assert_eq!(client.requests(), ["sync", "get_data"], "it was asked already");
    // A renewal keeps the request, for a holder that asks later.
    guard.renew().await.unwrap();
    assert_eq!(guard.revoked().await, Ok(()));
    assert_eq!(record(&client).await, format!("held {0} 1\nrevoke {0}", guard.token()));
    drop(guard);
    assert!(record(&client).await.starts_with("released "), "a clean end");
    let Poll::Ready(Ok(next)) = poll(&mut waiting) else { panic!("it is free") };
    assert!(poll(&mut next.revoked().boxed()).is_pending(), "the next was not asked");
}

#[tokio::test]
async fn a_request_to_give_up_is_no_sign_of_life() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, first) = used(&server, &time).await;
    let (_, second) = used(&server, &time).await;
    let _hung = first.acquire().await.unwrap();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    time.advance(HOLD / 2);
    second.revoke().await.unwrap();
    time.advance(HOLD / 2);
    let mut granted = poll(&mut waiting);
    if granted.is_pending() {
        granted = poll(&mut waiting);
    }
    assert!(granted.is_ready());
}

#[tokio::test]
async fn who_is_broken_is_named_and_nobody_else_is_touched() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, first) = used(&server, &time).await;
    let plain = Lock::new(server.connect(), path());
    assert_eq!(plain.break_holder().await.unwrap(), None);
    let guard = first.acquire().await.unwrap();
    let mut waiting = first.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    let holder: Contender = first.contenders().await.unwrap().remove(0);
    assert!(!holder.owner.contains("lease"), "{}", holder.owner);
    client.requests();
    assert!(first.evict(&holder).await.unwrap());
    let cost = ["sync", "exists", "create", "sync", "exists", "multi", "release"];
    assert_eq!(client.requests(), cost);
    assert!(!first.evict(&holder).await.unwrap(), "it is gone");
    assert_eq!(client.requests(), ["sync", "exists"], "nothing is made");
    let Poll::Ready(Ok(next)) = poll(&mut waiting) else { panic!("it is free") };
    // The same name, of another.
    let stale = Contender { path: next.path().clone(), ..holder.clone() };
    assert!(!first.evict(&stale).await.unwrap());
    let elsewhere = Contender { path: NodePath::parse("/locks").unwrap(), ..holder };
    assert_eq!(first.evict(&elsewhere).await, Err(Error::invalid("a contender of another path")));
    assert!(next.is_valid() && next.renew().await.is_ok());
    assert_eq!(plain.break_holder().await.unwrap().unwrap().token, next.token());
    assert_eq!(next.renew().await, Err(Error::Refused(Refusal::NoNode)));
    drop((guard, next));
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);
}

#[tokio::test]
async fn a_plain_holder_that_is_broken_can_write_no_more() {
    let server = MemoryServer::new();
    let lock = Lock::new(server.connect(), path());
    let operator = Lock::new(server.connect(), path());
    let guard = lock.acquire().await.unwrap();
    assert_eq!(operator.break_holder().await.unwrap().unwrap().token, guard.token());
    assert!(guard.is_valid(), "it is not told");
    assert_eq!(guard.multi(vec![]).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);
}

#[tokio::test]
async fn a_maximum_hold_of_no_time_is_refused() {
    let server = MemoryServer::new();
    for hold in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        let client = Counting::new(&server);
        let made = LeaseLock::new(client.clone(), path(), ManualTime::new(), hold);
        assert!(matches!(made, Err(Error::Invalid(_))), "{hold:?}");
        assert_eq!(client.requests(), [] as [&str; 0]);
    }
    let longest = Duration::from_millis(u64::MAX);
    let lock = LeaseLock::new(server.connect(), path(), ManualTime::new(), longest).unwrap();
    assert!(lock.acquire().await.unwrap().is_valid());
}

#[tokio::test]
async fn other_data_is_told_and_left_alone() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let malformed = || Error::Malformed { path: path(), expected: "the record of a lease" };
    client.client.set(&path(), "10.0.0.1", Version::ANY).await.unwrap();
    assert_eq!(lock.acquire().await.unwrap_err(), malformed());
    assert_eq!(lock.try_acquire().await.unwrap_err(), malformed());
    assert_eq!(lock.revoke().await.unwrap_err(), malformed());
    assert_eq!(record(&client).await, "10.0.0.1");
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);

    client.client.set(&path(), "", Version::ANY).await.unwrap();
    for released in [true, false] {
        let guard = lock.acquire().await.unwrap();
        let mut revoked = guard.revoked().boxed();
        assert!(poll(&mut revoked).is_pending());
        client.client.set(&path(), "config", Version::ANY).await.unwrap();
        assert_eq!(revoked.await, Err(malformed()));
        assert_eq!(guard.renew().await, Err(malformed()));
        match released {
            true => guard.release().await.unwrap(),
            false => drop(guard),
        }
        assert_eq!(record(&client).await, "config");
        assert_eq!(paths(&server), ["/locks", "/locks/import"], "it is released all the same");
        client.client.set(&path(), "", Version::ANY).await.unwrap();
    }
}

#[tokio::test]
async fn a_waiter_that_finds_other_data_leaves() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.client.set(&path(), [0xff_u8].as_slice(), Version::ANY).await.unwrap();
    time.advance(HOLD);
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Error::Malformed { .. }))));
    drop((waiting, guard));
    assert_eq!(paths(&server), ["/locks", "/locks/import"]);
}

#[tokio::test]
async fn a_record_that_is_taken_over_is_written_again() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    client.client.set(&path(), "held 0x7 5", Version::ANY).await.unwrap();
    client.requests();
    guard.renew().await.unwrap();
    assert_eq!(client.requests(), ["multi", "multi", "get_data", "multi"]);
    assert!(record(&client).await.starts_with(&format!("held {} ", guard.token())));
}

#[tokio::test]
async fn a_lock_of_a_directory_made_anew_is_not_mistaken() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, lock) = lock(&server, &time);
    let guard = lock.acquire().await.unwrap();
    let other = server.connect();
    other.delete(guard.path(), Version::ANY).await.unwrap();
    server.reap_containers();
    let next = LeaseLock::new(other, path(), time.clone(), HOLD).unwrap();
    let next = next.acquire().await.unwrap();
    assert_eq!(next.path(), guard.path(), "the same name");
    assert_eq!(guard.renew().await, Err(Error::Refused(Refusal::NoNode)));
    assert!(!guard.is_valid());
    drop(guard);
    assert!(next.is_valid() && next.renew().await.is_ok(), "its node is still there");
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.close().await.unwrap();
    assert_eq!(waiting.await.unwrap_err(), Error::Closed);
    assert_eq!(guard.renewing(ready(())).await, None);
    assert!(!guard.is_valid());
}

#[tokio::test]
async fn a_guarded_write_is_refused_once_it_was_taken_away() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let state = NodePath::parse("/state").unwrap();
    client.create(&state, "", CreateMode::Persistent).await.unwrap();
    let guard = lock.acquire().await.unwrap();
    let write = || vec![MultiOp::set(&state, "x", Version::ANY)];
    time.advance(HOLD);
    guard.multi(write()).await.unwrap();
    lock.break_holder().await.unwrap();
    assert_eq!(guard.multi(write()).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(client.get(&state).await.unwrap().1.version, 1);
}

#[tokio::test]
async fn kazoos_names_are_waited_for() {
    use herdless_recipes::Layout;
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let builder = LeaseLock::builder(server.connect(), path(), time, HOLD).unwrap();
    let lock = builder.layout(Layout::Kazoo).owner("host").build();
    drop(lock.acquire().await.unwrap());
    let name = path().child("4f0c2b__lock__").unwrap();
    let kazoo = server.connect();
    let theirs = kazoo.create(&name, "10.0.0.1", CreateMode::EphemeralSequential).await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    kazoo.delete(&theirs.path, Version::ANY).await.unwrap();
    let Poll::Ready(Ok(guard)) = poll(&mut waiting) else { panic!("it is free") };
    assert!(guard.path().name().starts_with("__lock__"));
    assert_eq!(lock.contenders().await.unwrap()[0].owner, "host");
}

#[tokio::test]
async fn a_lock_that_nobody_may_make_is_refused() {
    use herdless_core::{Acl, Permissions};
    let server = MemoryServer::new();
    let acl = [Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: "x".into() }];
    let builder = LeaseLock::builder(server.connect(), path(), ManualTime::new(), HOLD).unwrap();
    assert_eq!(builder.acl(acl).build().acquire().await.unwrap_err(), Error::Refused(Refusal::InvalidAcl));
}

#[tokio::test]
async fn a_lease_of_an_earlier_session_writes_nothing_when_it_is_dropped() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, lock) = used(&server, &time).await;
    let guard = lock.acquire().await.unwrap();
    server.expire(&client.client);
    client.requests();
    drop(guard);
    // The backend ends it: the session is over.
    assert_eq!(client.requests(), ["release"]);
    assert!(record(&client).await.starts_with("held "), "it was no clean end");
}

#[tokio::test]
async fn what_others_write_while_somebody_waits_counts_as_an_unclean_end() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, first) = used(&server, &time).await;
    let builder = LeaseLock::builder(server.connect(), path(), time.clone(), HOLD).unwrap();
    let second = builder.lock_delay(HOLD).build();
    let guard = first.acquire().await.unwrap();
    let mut waiting = second.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.client.set(&path(), "config", Version::ANY).await.unwrap();
    guard.release().await.unwrap();
    assert!(poll(&mut waiting).is_pending(), "how the one before ended is not known");
    for _ in 0..2 {
        time.advance(HOLD / 3);
        assert!(poll(&mut waiting).is_pending());
    }
    time.advance(HOLD / 3);
    assert!(poll(&mut waiting).is_ready());
}
