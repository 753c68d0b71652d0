//! The barriers over the in-memory backend: what they cost, and what their methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use herdless_core::{
    Acl, Client, ClientExt, CreateMode, Error, NodePath, Permissions, Refusal, Request, Response, Session, Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::{Barrier, DoubleBarrier, Round};

mod support;

use support::{Counting, paths, poll};

fn path() -> NodePath {
    NodePath::parse("/step").unwrap()
}

#[tokio::test]
async fn a_closed_barrier_keeps_everybody_until_it_opens() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let barrier = Barrier::new(client.clone(), NodePath::parse("/barriers/migration").unwrap());
    barrier.wait().await.unwrap();
    assert_eq!(client.requests(), ["sync", "get_data"]);
    barrier.close().await.unwrap();
    barrier.close().await.unwrap();
    assert!(barrier.is_closed().await.unwrap());
    let mut waiting: Vec<_> = (0..5).map(|_| barrier.wait().boxed()).collect();
    assert!(waiting.iter_mut().all(|wait| poll(wait).is_pending()));
    client.requests();
    barrier.open().await.unwrap();
    assert_eq!(client.requests(), ["sync", "exists", "delete"]);
    assert!(waiting.iter_mut().all(|wait| poll(wait).is_ready()));
    barrier.open().await.unwrap();
    assert!(!barrier.is_closed().await.unwrap());
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
    assert_eq!(paths(&server), ["/barriers"]);
}

#[tokio::test]
async fn a_waiter_outlives_its_session_and_a_closed_client_says_so() {
    let server = MemoryServer::new();
    let (client, other) = (server.connect(), Barrier::new(server.connect(), path()));
    let barrier = Barrier::new(client.clone(), path());
    other.close().await.unwrap();
    let mut waiting = barrier.wait().boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&client);
    assert!(poll(&mut waiting).is_pending());
    let mut second = barrier.wait().boxed();
    assert!(poll(&mut second).is_pending());
    other.open().await.unwrap();
    waiting.await.unwrap();
    second.await.unwrap();
    other.close().await.unwrap();
    let mut third = barrier.wait().boxed();
    assert!(poll(&mut third).is_pending());
    client.close().await.unwrap();
    assert_eq!(third.await, Err(Error::Closed));
}

/// The members that have come, each on a session of its own.
struct Members {
    server: MemoryServer,
    clients: Vec<Counting>,
    size: u32,
}

impl Members {
    fn new(size: u32) -> Self {
        Self { server: MemoryServer::new(), clients: Vec::new(), size }
    }

    fn come(&mut self) -> BoxFuture<'static, Result<Round<Counting>, Error>> {
        let client = Counting::new(&self.server);
        self.clients.push(client.clone());
        let barrier = DoubleBarrier::new(client, path(), self.size).unwrap();
        let mut entering = async move { barrier.enter().await }.boxed();
        match poll(&mut entering) {
            Poll::Ready(round) => futures::future::ready(round).boxed(),
            Poll::Pending => entering,
        }
    }

    fn requests(&self) -> Vec<Vec<&'static str>> {
        self.clients.iter().map(Counting::requests).collect()
    }
}

#[tokio::test]
async fn a_round_costs_each_member_one_event_to_enter_and_one_to_leave() {
    let mut members = Members::new(4);
    // Makes the directory, and leaves it: what follows is one of many rounds.
    drop(members.come());
    members.clients.clear();
    let entering: Vec<_> = (0..4).map(|_| members.come()).collect();
    assert_eq!(members.server.wake_ups(), 4, "one for each");
    let rounds: Vec<_> = join_all(entering).await.into_iter().map(Result::unwrap).collect();
    let requests = members.requests();
    let come = ["create", "get_data", "get_children"];
    for waited in &requests[..3] {
        assert_eq!(waited, &[&come[..], &["get_data"]].concat());
    }
    assert_eq!(requests[3], [&come[..], &["multi"]].concat());
    assert_eq!(rounds.iter().map(Round::rank).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(rounds.iter().all(|round| round.generation() == rounds[0].generation() && round.is_valid()));

    let before = members.server.wake_ups();
    let mut leaving: Vec<_> = rounds.into_iter().map(|round| round.leave().boxed()).collect();
    // The first member comes to leave last: it finds nobody.
    let first = leaving.remove(0);
    assert!(leaving.iter_mut().all(|leave| poll(leave).is_pending()));
    first.await.unwrap();
    join_all(leaving).await.into_iter().for_each(Result::unwrap);
    assert_eq!(members.server.wake_ups() - before, 3);
    let requests = members.requests();
    assert_eq!(requests[0], ["get_children", "release"]);
    for others in &requests[1..] {
        assert_eq!(others, &["release", "get_data"]);
    }
    assert_eq!(paths(&members.server), ["/step"]);
}

#[tokio::test]
async fn nobody_enters_before_all_have_come_nor_leaves_before_all_do() {
    let mut members = Members::new(3);
    let (mut one, mut two) = (members.come(), members.come());
    assert!(poll(&mut one).is_pending() && poll(&mut two).is_pending());
    let three = members.come().await.unwrap();
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let (mut one, mut three) = (one.leave().boxed(), three.leave().boxed());
    assert!(poll(&mut one).is_pending() && poll(&mut three).is_pending());
    let mut two = two.leave().boxed();
    let _ = poll(&mut two);
    one.await.unwrap();
    two.await.unwrap();
    three.await.unwrap();
}

#[tokio::test]
async fn late_comers_make_up_the_next_round() {
    let mut members = Members::new(2);
    let (one, two) = (members.come(), members.come());
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let (mut three, mut four) = (members.come(), members.come());
    assert!(poll(&mut three).is_pending() && poll(&mut four).is_pending(), "a round is on");
    drop(two);
    assert!(poll(&mut three).is_pending() && poll(&mut four).is_pending());
    let before = one.generation();
    one.leave().await.unwrap();
    let (three, four) = tokio::join!(three, four);
    assert_eq!(three.as_ref().unwrap().generation(), four.as_ref().unwrap().generation());
    assert!(three.unwrap().generation() > before);
}

#[tokio::test]
async fn one_that_gives_up_or_dies_on_the_way_in_is_not_counted() {
    let mut members = Members::new(2);
    let mut one = members.come();
    assert!(poll(&mut one).is_pending());
    drop(one);
    let mut two = members.come();
    assert!(poll(&mut two).is_pending(), "a member that gave up was counted");
    members.server.expire(&members.clients[1].client);
    assert_eq!(two.await.unwrap_err(), Error::SessionExpired);
    let mut three = members.come();
    assert!(poll(&mut three).is_pending(), "a member that died was counted");
    drop(members.come().await.unwrap());
    drop(three.await.unwrap());
    assert_eq!(paths(&members.server), ["/step"]);
}

#[tokio::test]
async fn one_that_dies_inside_keeps_nobody() {
    for victim in 0..3 {
        let mut members = Members::new(3);
        let entering: Vec<_> = (0..3).map(|_| members.come()).collect();
        let rounds: Vec<_> = join_all(entering).await.into_iter().map(Result::unwrap).collect();
        let mut leaving = Vec::new();
        let mut dying = None;
        for (member, round) in rounds.into_iter().enumerate() {
            match member == victim {
                true => dying = Some(round),
                false => leaving.push(round.leave().boxed()),
            }
        }
        assert!(leaving.iter_mut().all(|leave| poll(leave).is_pending()), "{victim}");
        members.server.expire(&members.clients[victim].client);
        assert!(!dying.as_ref().unwrap().is_valid());
        join_all(leaving).await.into_iter().for_each(Result::unwrap);
        assert_eq!(dying.unwrap().leave().await, Err(Error::SessionExpired));
        assert_eq!(paths(&members.server), ["/step"]);
    }
}

#[tokio::test]
async fn a_leaver_is_not_kept_by_the_next_members_with_the_old_numbers() {
    let server = MemoryServer::new();
    let client = server.connect();
    let dies = DoubleBarrier::new(client.clone(), path(), 2).unwrap();
    let barrier = DoubleBarrier::new(server.connect(), path(), 2).unwrap();
    let mut first = dies.enter().boxed();
    assert!(poll(&mut first).is_pending());
    let round = barrier.enter().await.unwrap();
    let _first = first.await.unwrap();
    let mut leaving = round.leave().boxed();
    assert!(poll(&mut leaving).is_pending());
    server.expire(&client);
    // Empty, the directory is removed, and its numbers begin anew.
    server.reap_containers();
    let mut next = dies.enter().boxed();
    assert!(poll(&mut next).is_pending());
    assert_eq!(paths(&server), ["/step", "/step/member-0000000000"]);
    assert_eq!(poll(&mut leaving), Poll::Ready(Ok(())));
}

#[tokio::test]
async fn a_directory_of_something_else_is_told_apart() {
    let mut members = Members::new(1);
    let client = members.server.connect();
    client.create(&path(), "10.0.0.1", CreateMode::Persistent).await.unwrap();
    let malformed = members.come().await.unwrap_err();
    assert_eq!(malformed, Error::Malformed { path: path(), expected: "the members of a round" });
    client.set(&path(), "", Version::ANY).await.unwrap();
    client.create(&path().child("config").unwrap(), "", CreateMode::Persistent).await.unwrap();
    members.come().await.unwrap().leave().await.unwrap();
    assert_eq!(paths(&members.server), ["/step", "/step/config"]);
}

#[tokio::test]
async fn a_member_that_is_removed_by_hand_is_told() {
    let mut members = Members::new(2);
    let mut one = members.come();
    assert!(poll(&mut one).is_pending());
    let client = members.server.connect();
    let own = NodePath::parse(&paths(&members.server)[1]).unwrap();
    client.delete(&own, Version::ANY).await.unwrap();
    let two = members.come();
    let three = members.come();
    drop((two.await.unwrap(), three.await.unwrap()));
    assert_eq!(one.await.unwrap_err(), Error::Refused(Refusal::NoNode));
}

/// Closed after its hundredth multi: what would go on without end ends.
#[derive(Clone)]
struct Patient {
    client: MemoryClient,
    multis: Arc<AtomicU64>,
}

impl Client for Patient {
    fn submit(&self, request: Request) -> Response {
        if matches!(request, Request::Multi(_)) && self.multis.fetch_add(1, Ordering::Relaxed) >= 100 {
            return Response::ready(Err(Error::Closed));
        }
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_member_that_may_not_begin_the_round_is_told() {
    let server = MemoryServer::new();
    let bits = Permissions::ALL.bits() & !Permissions::WRITE.bits();
    let acl = [Acl { permissions: Permissions::from_bits(bits), ..Acl::open()[0].clone() }];
    let client = Patient { client: server.connect(), multis: Arc::default() };
    client.create_with_acl(&path(), "", CreateMode::Persistent, acl).await.unwrap();
    let barrier = DoubleBarrier::new(client.clone(), path(), 1).unwrap();
    assert_eq!(barrier.enter().await.unwrap_err(), Error::Refused(Refusal::NoAuth));
    assert_eq!(client.multis.load(Ordering::Relaxed), 1);
    assert_eq!(paths(&server), ["/step"]);
}

#[test]
fn a_round_of_nobody_is_refused() {
    let server = MemoryServer::new();
    assert!(matches!(DoubleBarrier::new(server.connect(), path(), 0), Err(Error::Invalid(_))));
}
