//! The election over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use herdless_core::{
    Acl, AttemptId, Bytes, Client, ClientExt, Create, CreateMode, Error, EventKind, NodePath, Permissions, Refusal,
    Reply, Request, Response, Session, SessionId, SessionSource, SessionState, Version, Zxid,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::{Election, ElectionLayout, Leader, Leaders, Led, Token};

mod support;

use support::{Counting, poll};

const LAYOUTS: [ElectionLayout; 3] =
    [ElectionLayout::LeaderLatch, ElectionLayout::LeaderSelector, ElectionLayout::Kazoo];

const NOTHING: [&str; 0] = [];

fn path() -> NodePath {
    NodePath::parse("/elections/reports").unwrap()
}

fn election<C: Client + Clone + 'static>(client: C, layout: ElectionLayout) -> Election<C> {
    Election::builder(client, path()).layout(layout).build()
}

/// A client and its election, whose directory is there.
async fn used(server: &MemoryServer, layout: ElectionLayout) -> (Counting, Election<Counting>) {
    let client = Counting::new(server);
    let election = election(client.clone(), layout);
    drop(election.campaign().await.unwrap());
    client.requests();
    (client, election)
}

/// The next item of a stream that has one; `None` where it has none yet.
fn news<C: Client + 'static>(leaders: &mut Leaders<C>) -> Option<Option<Leader>> {
    leaders.next().now_or_never().map(|item| item.unwrap().unwrap())
}

fn assert_nobody_is_left(server: &MemoryServer) {
    server.inspect(|tree| assert_eq!(tree.stat(&path()).unwrap().num_children, 0, "nodes left"));
}

#[tokio::test]
async fn a_campaign_without_opponents_costs_one_round_trip() {
    for layout in LAYOUTS {
        let server = MemoryServer::new();
        let (client, election) = used(&server, layout).await;
        let leadership = election.campaign().await.unwrap();
        // Both leave before either is awaited: one round trip.
        assert_eq!(client.requests(), ["create", "exists"]);
        drop(leadership);
        assert_eq!(client.requests(), ["release"]);
        election.campaign().await.unwrap().resign().await.unwrap();
        assert_eq!(client.requests(), ["create", "exists", "release"]);
        assert_nobody_is_left(&server);
    }
}

#[tokio::test]
async fn a_hand_over_reads_nothing_but_a_list_where_leaders_leave_by_a_plain_delete() {
    for layout in LAYOUTS {
        let server = MemoryServer::new();
        let (_, leading) = used(&server, layout).await;
        let (client, next) = used(&server, layout).await;
        let leadership = leading.campaign().await.unwrap();
        let mut waiting = next.campaign().boxed();
        assert!(poll(&mut waiting).is_pending());
        assert_eq!(client.requests(), ["create", "exists", "get_data"]);
        leadership.resign().await.unwrap();
        let granted = poll(&mut waiting);
        assert!(granted.is_ready());
        match layout {
            ElectionLayout::LeaderLatch => assert_eq!(client.requests(), ["get_children"]),
            _ => assert_eq!(client.requests(), NOTHING),
        }
        assert_eq!(server.wake_ups(), 1);
    }
}

/// Curator's `LeaderLatch` reacts to `NodeDeleted` alone (`LeaderLatch.checkLeadership`); its `LeaderSelector`
/// (`LockInternals`) and kazoo's `Lock` to any event.
#[tokio::test]
async fn a_leader_leaves_by_what_wakes_its_peers() {
    for layout in LAYOUTS {
        let server = MemoryServer::new();
        let (_, election) = used(&server, layout).await;
        let peer = server.connect();
        let leadership = election.campaign().await.unwrap();
        let (_, watch) = peer.get_and_watch(leadership.path()).await.unwrap();
        drop(leadership);
        let expected = match layout {
            ElectionLayout::LeaderLatch => EventKind::Deleted,
            _ => EventKind::DataChanged,
        };
        assert_eq!(watch.await.unwrap().kind, expected, "{layout:?}");
    }
}

#[tokio::test]
async fn of_eight_candidates_one_wakes_at_each_hand_over() {
    for layout in LAYOUTS {
        let server = MemoryServer::new();
        let mut line: VecDeque<_> = (0..8)
            .map(|_| {
                let election = election(server.connect(), layout);
                async move { election.campaign().await.unwrap() }.boxed()
            })
            .collect();
        let Poll::Ready(mut leadership) = poll(&mut line.pop_front().unwrap()) else { panic!("nobody was there") };
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
        for hand_over in 1..8 {
            let term = leadership.term();
            drop(leadership);
            assert_eq!(server.wake_ups(), hand_over);
            leadership = line.pop_front().unwrap().await;
            assert!(leadership.term() > term, "in the order of standing");
            assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
        }
        leadership.resign().await.unwrap();
        assert_nobody_is_left(&server);
        server.inspect(|tree| assert_eq!(tree.watch_count(), 0));
    }
}

#[tokio::test]
async fn a_candidate_of_a_peer_is_waited_for() {
    let names = [
        "_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-latch-",
        "_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-lock-",
        "4f0c__lock__",
    ];
    for (layout, name) in LAYOUTS.into_iter().zip(names) {
        let server = MemoryServer::new();
        let (_, election) = used(&server, layout).await;
        let peer = server.connect();
        let name = path().child(name).unwrap();
        let theirs = peer.create(&name, "participant-1", CreateMode::EphemeralSequential).await.unwrap();
        let mut waiting = election.campaign().boxed();
        assert!(poll(&mut waiting).is_pending());
        assert_eq!(election.leader().await.unwrap().unwrap().id, "participant-1");
        peer.delete(&theirs.path, Version::ANY).await.unwrap();
        assert!(waiting.await.unwrap().is_valid());
    }
}

#[tokio::test]
async fn try_campaign_does_not_wait() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    let leadership = election.campaign().await.unwrap();
    client.requests();
    assert!(election.try_campaign().await.unwrap().is_none());
    assert_eq!(client.requests(), ["exists"]);
    drop(leadership);
    client.requests();
    let leadership = election.try_campaign().await.unwrap().unwrap();
    assert_eq!(client.requests(), ["exists", "create", "exists"]);
    drop(leadership);
    assert_nobody_is_left(&server);
}

#[tokio::test]
async fn everybody_can_be_asked_for() {
    let server = MemoryServer::new();
    let stand = |id: &str| Election::builder(server.connect(), path()).id(id).build();
    let client = Counting::new(&server);
    let asking = election(client.clone(), ElectionLayout::default());
    assert_eq!(asking.leader().await.unwrap(), None);
    assert_eq!(asking.participants().await.unwrap(), []);

    let (first, second) = (stand("first"), stand("second\nof two"));
    let leadership = first.campaign().await.unwrap();
    let mut waiting = second.campaign().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    let leader = asking.leader().await.unwrap().unwrap();
    // A list, and two reads that leave together: two round trips.
    assert_eq!(client.requests(), ["get_children", "get_data", "get_data"]);
    assert_eq!((leader.id.as_str(), leader.term, leader.value), ("first", leadership.term(), None));
    assert_eq!(leader.path, *leadership.path());
    let ids: Vec<_> = asking.participants().await.unwrap().into_iter().map(|each| each.owner).collect();
    assert_eq!(ids, ["first", "second\nof two"]);

    leadership.proclaim("here").await.unwrap();
    assert_eq!(asking.leader().await.unwrap().unwrap().value, Some(Bytes::from("here")));
    drop(leadership);
    let leadership = waiting.await.unwrap();
    let leader = asking.leader().await.unwrap().unwrap();
    assert_eq!((leader.term, leader.value), (leadership.term(), None), "the value of another's term is not shown");
    drop(leadership);
    assert_eq!(asking.leader().await.unwrap(), None, "nobody stands");
}

#[tokio::test]
async fn who_has_the_number_of_an_earlier_leader_is_not_told_to_lead() {
    let server = MemoryServer::new();
    let election = |client| Election::new(client, path());
    let asks = server.connect();
    server.delay_replies(&asks);
    let asks = election(asks);
    let first = election(server.connect()).campaign().await.unwrap();
    let second = election(server.connect());
    let mut second = second.campaign().boxed();
    assert!(poll(&mut second).is_pending());
    drop(first);
    let second = second.await.unwrap();
    let mut leader = asks.leader().boxed();
    assert!(poll(&mut leader).is_pending());
    let path = second.path().clone();
    drop(second);
    // Empty, the directory is removed, and its numbers begin anew.
    server.reap_containers();
    let leads = election(server.connect()).campaign().await.unwrap();
    let waits = election(server.connect());
    let mut waiting = waits.campaign().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert!(server.inspect(|tree| tree.stat(&path).is_some()));
    assert_eq!(leader.await.unwrap().unwrap().term, leads.term());
}

#[tokio::test]
async fn proclaiming_costs_one_round_trip_and_disturbs_no_candidate() {
    let server = MemoryServer::new();
    let (client, leading) = used(&server, ElectionLayout::default()).await;
    let leadership = leading.campaign().await.unwrap();
    let next = election(server.connect(), ElectionLayout::default());
    let mut waiting = next.campaign().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    leadership.proclaim("one").await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi"]);
    leadership.proclaim("two").await.unwrap();
    assert_eq!(client.requests(), ["multi"]);
    assert_eq!(server.wake_ups(), 0);
    assert!(poll(&mut waiting).is_pending());
    server.inspect(|tree| assert_eq!(tree.stat(&path()).unwrap().num_children, 2, "no node of its own"));
    let (data, _) = client.get(&path()).await.unwrap();
    assert_eq!(data, format!("{} 2\ntwo", leadership.term()));
}

#[tokio::test]
async fn a_proclamation_survives_a_lost_reply() {
    let server = MemoryServer::new();
    for lost in 0..3 {
        let (client, leading) = used(&server, ElectionLayout::default()).await;
        let leadership = leading.campaign().await.unwrap();
        server.lose_reply_after(&client.client, lost);
        client.requests();
        leadership.proclaim("one").await.unwrap();
        leadership.proclaim("two").await.unwrap();
        let expected: &[&str] = match lost {
            // Not sent blindly again: first it is looked whether it is there.
            0 => &["get_data", "multi", "get_data", "get_data", "multi", "multi"],
            1 => &["get_data", "multi", "multi", "get_data", "multi"],
            _ => &["get_data", "multi", "multi", "multi", "get_data"],
        };
        assert_eq!(client.requests(), expected);
        assert_eq!(leading.leader().await.unwrap().unwrap().value, Some(Bytes::from("two")));
    }
}

/// Loses the first write of all on its way: it is not carried out, and something else is written meanwhile.
#[derive(Clone)]
struct Losing {
    client: MemoryClient,
    has_lost: Arc<AtomicBool>,
    meanwhile: &'static str,
}

impl Client for Losing {
    fn submit(&self, request: Request) -> Response {
        if matches!(request, Request::Multi(_)) && !self.has_lost.swap(true, Ordering::Relaxed) {
            let written = self.client.set(&path(), self.meanwhile, Version::ANY).now_or_never();
            assert!(written.is_some_and(|written| written.is_ok()));
            return Response::ready(Err(Error::ConnectionLost));
        }
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_proclamation_that_was_not_carried_out_is_sent_again() {
    for meanwhile in ["", "127.0.0.1", "0x1 9\nof another term"] {
        let server = MemoryServer::new();
        let client = Losing { client: server.connect(), has_lost: Arc::default(), meanwhile };
        let election = election(client.clone(), ElectionLayout::default());
        let leadership = election.campaign().await.unwrap();
        leadership.proclaim("one").await.unwrap();
        assert!(client.has_lost.load(Ordering::Relaxed));
        assert_eq!(election.leader().await.unwrap().unwrap().value, Some(Bytes::from("one")), "{meanwhile}");
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_not_sent() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    let leadership = election.campaign().await.unwrap();
    client.requests();
    let refused = leadership.proclaim(vec![0; 1_000_001]).await.unwrap_err();
    assert_eq!(refused, Error::invalid("a proclaimed value of 1000001 bytes; the limit is 1000000"));
    assert_eq!(client.requests(), NOTHING);
    leadership.proclaim(vec![0; 1_000_000]).await.unwrap();
    assert_eq!(election.leader().await.unwrap().unwrap().value.unwrap().len(), 1_000_000);
}

#[tokio::test]
async fn nobody_proclaims_once_the_leadership_is_lost() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    for is_known in [true, false] {
        let leadership = election.campaign().await.unwrap();
        if is_known {
            leadership.proclaim("mine").await.unwrap();
        }
        let (before, _) = client.get(&path()).await.unwrap();
        server.expire(&client.client);
        assert!(!leadership.is_valid());
        assert_eq!(leadership.proclaim("late").await, Err(Error::SessionExpired));
        assert_eq!(client.get(&path()).await.unwrap().0, before, "nothing was written");
    }
    let leadership = election.campaign().await.unwrap();
    client.delete(leadership.path(), Version::ANY).await.unwrap();
    assert_eq!(leadership.proclaim("late").await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(leadership.resign().await, Err(Error::Refused(Refusal::NoNode)));
}

#[tokio::test]
async fn an_election_whose_node_may_not_be_written_or_read_says_so() {
    let server = MemoryServer::new();
    let (client, _) = used(&server, ElectionLayout::default()).await;
    let with = |name: &str, permissions| {
        let path = path().parent().unwrap().child(name).unwrap();
        let acl = [Acl { permissions, scheme: "world".into(), id: "anyone".into() }].into();
        (path.clone(), client.call(Create { path, data: "".into(), acl, mode: CreateMode::Persistent }))
    };
    let (no_write, made) = with("no-write", Permissions::READ | Permissions::CREATE | Permissions::DELETE);
    made.await.unwrap();
    let leadership = Election::new(server.connect(), no_write).campaign().await.unwrap();
    assert_eq!(leadership.proclaim("x").await, Err(Error::Refused(Refusal::NoAuth)));
    assert!(leadership.is_valid());

    let (no_read, made) = with("no-read", Permissions::CREATE | Permissions::DELETE);
    made.await.unwrap();
    let election = Election::new(server.connect(), no_read);
    assert_eq!(election.leader().await, Err(Error::Refused(Refusal::NoAuth)));
    let items: Vec<_> = election.observe().collect().await;
    assert_eq!(items, [Err(Error::Refused(Refusal::NoAuth))], "an error is the last item");
}

#[tokio::test]
async fn an_observer_pays_for_what_it_shows_and_for_nothing_else() {
    let server = MemoryServer::new();
    let (_, leading) = used(&server, ElectionLayout::default()).await;
    let (_, other) = used(&server, ElectionLayout::default()).await;
    let leadership = leading.campaign().await.unwrap();
    let client = Counting::new(&server);
    let mut leaders = election(client.clone(), ElectionLayout::default()).observe();
    assert_eq!(client.requests(), NOTHING);
    let leader = news(&mut leaders).unwrap().unwrap();
    assert_eq!((leader.term, leader.value), (leadership.term(), None));
    // A list, and two reads that leave together: two round trips.
    assert_eq!(client.requests(), ["get_children", "get_data", "get_data"]);
    assert_eq!(news(&mut leaders), None);

    for (round, value) in ["one", "two", "two"].into_iter().enumerate() {
        leadership.proclaim(value).await.unwrap();
        assert_eq!(server.wake_ups(), round as u64 + 1);
        let leader = news(&mut leaders).unwrap().unwrap();
        assert_eq!((leader.term, leader.value), (leadership.term(), Some(Bytes::from(value))));
        assert_eq!(client.requests(), ["get_data"]);
    }

    // Candidates come and go behind the leader.
    for _ in 0..5 {
        let mut given_up = other.campaign().boxed();
        assert!(poll(&mut given_up).is_pending());
    }
    let mut waiting = other.campaign().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(news(&mut leaders), None);
    assert_eq!(client.requests(), NOTHING);

    let wake_ups = server.wake_ups();
    drop(leadership);
    // The third is the leader's own, that its guarded writes had left.
    assert_eq!(server.wake_ups(), wake_ups + 3, "the next candidate and the observer");
    let next = waiting.await.unwrap();
    let leader = news(&mut leaders).unwrap().unwrap();
    assert_eq!((leader.term, leader.value), (next.term(), None));
    assert_eq!(client.requests(), ["get_children", "get_data"]);
    drop(leaders);
    server.inspect(|tree| assert_eq!(tree.watch_count(), 2, "on the leader's node and on the data of the election's"));
}

#[tokio::test]
async fn an_observer_sees_that_there_is_nobody() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let mut leaders = election(client.clone(), ElectionLayout::default()).observe();
    assert_eq!(news(&mut leaders), Some(None));
    assert_eq!(client.requests(), ["get_children", "exists"], "it waits for the directory");
    assert_eq!(news(&mut leaders), None);

    let standing = election(server.connect(), ElectionLayout::default());
    let leadership = standing.campaign().await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().term, leadership.term());
    leadership.resign().await.unwrap();
    assert_eq!(news(&mut leaders), Some(None));
    assert_eq!(news(&mut leaders), None);
    client.requests();
    let leadership = standing.campaign().await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().term, leadership.term());
    assert_eq!(client.requests(), ["get_children", "get_data"], "the data of the directory has not changed");

    // The directory goes, and comes again with the first number.
    let gone = leadership.term();
    drop(leadership);
    server.reap_containers();
    assert_eq!(news(&mut leaders), Some(None));
    let leadership = standing.campaign().await.unwrap();
    let leader = news(&mut leaders).unwrap().unwrap();
    assert!(leader.term > gone);
    assert!(leader.path.as_str().ends_with("lock-0000000000"), "{}", leader.path);
    leadership.proclaim("still seen").await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().value, Some(Bytes::from("still seen")));
}

#[tokio::test]
async fn an_observer_outlives_connections_and_sessions() {
    let server = MemoryServer::new();
    let (_, leading) = used(&server, ElectionLayout::default()).await;
    let observing = server.connect();
    let mut leaders = election(observing.clone(), ElectionLayout::default()).observe();
    assert_eq!(news(&mut leaders), Some(None));
    let leadership = leading.campaign().await.unwrap();
    assert!(news(&mut leaders).unwrap().is_some());

    server.disconnect(&observing);
    leadership.proclaim("meanwhile").await.unwrap();
    assert_eq!(news(&mut leaders), None);
    server.reconnect(&observing);
    assert_eq!(news(&mut leaders).unwrap().unwrap().value, Some(Bytes::from("meanwhile")));

    server.expire(&observing);
    assert_eq!(news(&mut leaders), None, "nothing has changed");
    server.expire(&observing);
    leadership.proclaim("again").await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().value, Some(Bytes::from("again")));
    drop(leadership);
    assert_eq!(news(&mut leaders), Some(None));
    observing.close().await.unwrap();
    assert_eq!(leaders.next().await, Some(Err(Error::Closed)));
    assert_eq!(leaders.next().await, None);
    server.inspect(|tree| assert_eq!(tree.watch_count(), 0));
}

#[tokio::test]
async fn data_of_somebody_else_is_no_value() {
    let server = MemoryServer::new();
    let (client, leading) = used(&server, ElectionLayout::default()).await;
    let leadership = leading.campaign().await.unwrap();
    let mut leaders = leading.observe();
    assert_eq!(news(&mut leaders).unwrap().unwrap().value, None);
    for data in ["127.0.0.1", "", "0x1 1\nof another term"] {
        client.set(&path(), data, Version::ANY).await.unwrap();
        assert_eq!(news(&mut leaders), None, "{data}");
        assert_eq!(leading.leader().await.unwrap().unwrap().value, None, "{data}");
    }
    leadership.proclaim("ours").await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().value, Some(Bytes::from("ours")));
}

/// Answers reads as a server would that lags behind, while it has anything left to say.
#[derive(Clone)]
struct Lagging {
    client: MemoryClient,
    old: Arc<Mutex<VecDeque<Reply>>>,
}

impl Client for Lagging {
    fn submit(&self, request: Request) -> Response {
        let is_read = matches!(request, Request::GetChildren(_) | Request::GetData(_));
        let old = if is_read { self.old.lock().unwrap().pop_front() } else { None };
        let response = self.client.submit(request);
        match old {
            Some(reply) => response.map(|now| now.map(|answer| herdless_core::Answer { reply, ..answer })),
            None => response,
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn what_a_lagging_server_says_again_is_not_shown_again() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    let lagging = Lagging { client: server.connect(), old: Arc::default() };
    let mut leaders = Election::new(lagging.clone(), path()).observe();
    let first = election.campaign().await.unwrap();
    let list = client.children(&path()).await.unwrap();
    let node = client.get(first.path()).await.unwrap();
    let board = client.get(&path()).await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().term, first.term());
    drop(first);
    let second = election.campaign().await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().term, second.term());

    server.expire(&lagging.client);
    let (names, _) = client.children(&path()).await.unwrap();
    // The old leader under the name of the new, so that its node is there to be watched.
    let old =
        [Reply::Children(names, list.1), Reply::Data(board.0.into(), board.1), Reply::Data(node.0.into(), node.1)];
    lagging.old.lock().unwrap().extend(old);
    assert_eq!(news(&mut leaders), None, "an earlier term");
    assert!(lagging.old.lock().unwrap().is_empty(), "it was read");
    second.proclaim("up to date").await.unwrap();
    drop(second);
    let third = election.campaign().await.unwrap();
    assert_eq!(news(&mut leaders).unwrap().unwrap().term, third.term());
}

#[tokio::test]
async fn work_that_returns_resigns() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    let term = election
        .lead(async |leadership| {
            leadership.proclaim("at work").await.unwrap();
            leadership.term()
        })
        .await
        .unwrap();
    assert_eq!(client.requests(), ["create", "exists", "get_data", "multi", "release"]);
    assert!(term > Token(Zxid(0)));
    assert_nobody_is_left(&server);
    assert_eq!(election.lead_once(async |_| 5).await, Ok(Led::Finished(5)));
}

/// Counts those that are dropped.
struct Dropped<'a>(&'a Cell<u32>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[tokio::test]
async fn work_is_dropped_when_the_leadership_is_lost() {
    let server = MemoryServer::new();
    let client = server.connect();
    let election = election(client.clone(), ElectionLayout::default());
    let dropped = Cell::new(0);
    let mut leading = pin!(election.lead_once(async |_| {
        let _at_work = Dropped(&dropped);
        pending::<()>().await;
    }));
    assert!(poll(&mut leading).is_pending());
    assert_eq!(dropped.get(), 0);
    server.expire(&client);
    assert_eq!(poll(&mut leading), Poll::Ready(Ok(Led::Lost)));
    assert_eq!(dropped.get(), 1);
    assert_nobody_is_left(&server);
}

#[tokio::test]
async fn who_leads_stands_again_behind_the_others() {
    let server = MemoryServer::new();
    let (victim, other) = (server.connect(), server.connect());
    let runs = Cell::new(0);
    let again = election(victim.clone(), ElectionLayout::default());
    let mut leading = pin!(again.lead(async |leadership| {
        runs.set(runs.get() + 1);
        if runs.get() == 1 {
            pending::<()>().await;
        }
        leadership.term()
    }));
    assert!(poll(&mut leading).is_pending());
    let next = election(other, ElectionLayout::default());
    let mut waiting = next.campaign().boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&victim);
    assert!(poll(&mut leading).is_pending(), "it waits behind the other");
    assert_eq!(runs.get(), 1);
    let leadership = waiting.await.unwrap();
    let between = leadership.term();
    assert!(poll(&mut leading).is_pending());
    drop(leadership);
    let Poll::Ready(Ok(term)) = poll(&mut leading) else { panic!("it is its turn") };
    assert!(term > between);
    assert_eq!(runs.get(), 2);
    assert_nobody_is_left(&server);
}

#[tokio::test]
async fn a_connection_that_comes_and_goes_does_not_stop_the_work() {
    let server = MemoryServer::new();
    let client = server.connect();
    let election = election(client.clone(), ElectionLayout::default());
    let steps = Cell::new(0);
    let mut leading = pin!(election.lead_once(async |leadership| {
        for _ in 0..3 {
            assert!(leadership.is_valid());
            steps.set(steps.get() + 1);
            tokio::task::yield_now().await;
        }
    }));
    assert!(poll(&mut leading).is_pending());
    server.disconnect(&client);
    assert_eq!(client.session().state(), SessionState::Suspended);
    assert!(poll(&mut leading).is_pending());
    server.reconnect(&client);
    assert!(poll(&mut leading).is_pending());
    assert_eq!(steps.get(), 3);
    assert_eq!(poll(&mut leading), Poll::Ready(Ok(Led::Finished(()))));
}

/// A client whose sessions' time is over when the test says so, before anybody has noticed.
#[derive(Clone)]
struct Timed {
    client: MemoryClient,
    is_over: Arc<AtomicBool>,
}

impl Client for Timed {
    fn submit(&self, request: Request) -> Response {
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        Session::new(Arc::new(TimedSession(self.client.session(), self.is_over.clone())))
    }
}

#[derive(Debug)]
struct TimedSession(Session, Arc<AtomicBool>);

impl SessionSource for TimedSession {
    fn id(&self) -> SessionId {
        self.0.id()
    }

    fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    fn is_live(&self) -> bool {
        !self.1.load(Ordering::Relaxed)
    }

    fn next_attempt(&self) -> AttemptId {
        self.0.next_attempt()
    }

    fn poll_state(&self, _: u64, _: Option<(&mut Option<u64>, &Waker)>) -> (u64, SessionState) {
        (1, self.0.state())
    }

    fn forget(&self, _: u64) {}
}

#[tokio::test]
async fn the_work_makes_no_step_past_the_deadline_even_if_nobody_has_told_of_it() {
    let server = MemoryServer::new();
    let is_over = Arc::new(AtomicBool::new(false));
    let client = Timed { client: server.connect(), is_over: is_over.clone() };
    let election = election(client, ElectionLayout::default());
    let steps = Cell::new(0);
    let mut leading = pin!(election.lead_once(async |_| {
        loop {
            steps.set(steps.get() + 1);
            tokio::task::yield_now().await;
        }
    }));
    assert!(poll(&mut leading).is_pending());
    assert!(poll(&mut leading).is_pending());
    is_over.store(true, Ordering::Relaxed);
    let ended: Poll<Result<Led<()>, Error>> = poll(&mut leading);
    assert_eq!(ended, Poll::Ready(Ok(Led::Lost)));
    assert_eq!(steps.get(), 2);
}

#[tokio::test]
async fn leading_that_is_cancelled_leaves_nothing() {
    let server = MemoryServer::new();
    let (client, election) = used(&server, ElectionLayout::default()).await;
    let dropped = Cell::new(0);
    let work = async |_: &herdless_recipes::Leadership<Counting>| {
        let _at_work = Dropped(&dropped);
        pending::<()>().await;
    };
    {
        let mut leading = pin!(election.lead(work));
        assert!(poll(&mut leading).is_pending());
        let mut waiting = pin!(election.lead(work));
        assert!(poll(&mut waiting).is_pending());
    }
    assert_eq!(dropped.get(), 1);
    assert_nobody_is_left(&server);
    drop(client);
}

#[tokio::test]
async fn leading_and_observing_can_be_spawned() {
    let server = MemoryServer::new();
    let election = election(server.connect(), ElectionLayout::default());
    let (standing, was_seen) = (election.clone(), Arc::new(AtomicBool::new(false)));
    let tells = was_seen.clone();
    let leading = tokio::spawn(async move {
        standing
            .lead(async |leadership| {
                leadership.proclaim("spawned").await.unwrap();
                while !was_seen.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                leadership.term()
            })
            .await
    });
    let observing = tokio::spawn(async move {
        let mut leaders = election.observe();
        loop {
            let leader = leaders.next().await.unwrap().unwrap();
            if let Some(Leader { value: Some(value), term, .. }) = leader {
                assert_eq!(value, "spawned");
                return term;
            }
        }
    });
    let term = observing.await.unwrap();
    tells.store(true, Ordering::Relaxed);
    assert_eq!(leading.await.unwrap().unwrap(), term);
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let client = server.connect();
    let election = election(client.clone(), ElectionLayout::default());
    let leadership = election.campaign().await.unwrap();
    client.close().await.unwrap();
    assert!(!leadership.is_valid());
    assert_eq!(election.campaign().await.unwrap_err(), Error::Closed);
    assert_eq!(election.leader().await, Err(Error::Closed));
    assert_eq!(election.lead(async |_| ()).await, Err(Error::Closed));
}
