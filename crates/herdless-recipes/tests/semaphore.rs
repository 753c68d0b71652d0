//! The semaphore over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::task::Poll;

use futures::FutureExt;
use herdless_core::{ClientExt, CreateMode, Error, MultiOp, NodePath, Refusal, Version};
use herdless_memory::MemoryServer;
use herdless_recipes::Semaphore;

mod support;

use support::{Counting, poll};

const NOTHING: [&str; 0] = [];

fn path() -> NodePath {
    NodePath::parse("/limits/database").unwrap()
}

fn below(name: &str) -> NodePath {
    NodePath::parse(&format!("/limits/database/{name}")).unwrap()
}

/// A semaphore that was used before: its directories are there.
async fn used(server: &MemoryServer, permits: u32) -> (Counting, Semaphore<Counting>) {
    let client = Counting::new(server);
    let semaphore = Semaphore::new(client.clone(), path(), permits).unwrap();
    drop(semaphore.acquire(1).await.unwrap());
    client.requests();
    (client, semaphore)
}

async fn used_shared(server: &MemoryServer, permits: u32) -> (Counting, Semaphore<Counting>) {
    let client = Counting::new(server);
    let semaphore = Semaphore::builder(client.clone(), path(), permits).shared().build().unwrap();
    drop(semaphore.acquire(1).await.unwrap());
    client.requests();
    (client, semaphore)
}

/// What contenders have left in the tree.
fn left(server: &MemoryServer) -> Vec<String> {
    let is_left = |path: &&NodePath| {
        let text = path.as_str();
        text.starts_with("/limits/database/locks/") || text.starts_with("/limits/database/leases/")
    };
    server.inspect(|tree| tree.paths().filter(is_left).map(|path| path.to_string()).collect())
}

#[tokio::test]
async fn free_permits_cost_two_round_trips() {
    let server = MemoryServer::new();
    let (client, semaphore) = used(&server, 3).await;
    let before = client.round_trips();
    let permit = semaphore.acquire(2).await.unwrap();
    assert_eq!(client.round_trips() - before, 2);
    assert_eq!(client.requests(), ["create", "exists", "get_children", "multi"]);
    assert_eq!(permit.weight(), 2);
    assert_eq!(semaphore.available().await.unwrap(), 1);
    client.requests();
    permit.release().await.unwrap();
    assert_eq!(client.requests(), ["release"]);
    assert_eq!(semaphore.available().await.unwrap(), 3);
    assert!(left(&server).is_empty());
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn the_first_time_costs_three_more() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let semaphore = Semaphore::new(client.clone(), path(), 1).unwrap();
    let permit = semaphore.acquire(1).await.unwrap();
    let enter = ["create", "exists", "get_children"];
    let parents = ["create"; 3];
    let grant = ["multi"];
    assert_eq!(client.requests(), [&enter[..], &parents, &enter, &parents, &grant].concat());
    assert_eq!(client.round_trips(), 2 + 3);
    permit.release().await.unwrap();
    server.reap_containers();
    server.reap_containers();
    assert_eq!(client.exists(&below("leases")).await.unwrap(), None, "the directories are containers");
    assert!(semaphore.acquire(1).await.unwrap().is_valid(), "they are made again");
}

#[tokio::test]
async fn waiting_for_permits_and_for_the_line() {
    let server = MemoryServer::new();
    let (_, holder) = used(&server, 1).await;
    let (client, semaphore) = used(&server, 1).await;
    let (last, behind) = used(&server, 1).await;
    let permit = holder.acquire(1).await.unwrap();
    let before = server.wake_ups();

    let trips = client.round_trips();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.round_trips() - trips, 2);
    assert_eq!(client.requests(), ["create", "exists", "get_children", "get_children"], "one more: to watch");
    let last_trips = last.round_trips();
    let mut next = behind.acquire(1).boxed();
    assert!(poll(&mut next).is_pending());
    assert_eq!(last.round_trips() - last_trips, 2);
    assert_eq!(last.requests(), ["create", "exists", "get_children", "get_data"], "it watches who is before it");

    drop(permit);
    assert_eq!(server.wake_ups() - before, 1, "who is behind sleeps on");
    let permit = waiting.await.unwrap();
    assert_eq!(client.round_trips() - trips, 2 + 2);
    assert_eq!(client.requests(), ["get_children", "multi"]);
    assert_eq!(server.wake_ups() - before, 2, "it is the first in line now");
    assert!(poll(&mut next).is_pending());
    assert_eq!(last.round_trips() - last_trips, 2 + 1);
    assert_eq!(last.requests(), ["get_children"]);
    drop(permit);
    assert!(poll(&mut next).is_ready());
    assert_eq!(last.round_trips() - last_trips, 2 + 1 + 2);
    assert_eq!(server.wake_ups() - before, 3);
    assert!(left(&server).is_empty());
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn a_release_wakes_one_and_a_grant_the_next_however_many_wait() {
    let server = MemoryServer::new();
    let (_, semaphore) = used(&server, 1).await;
    let held = semaphore.acquire(1).await.unwrap();
    let before = server.wake_ups();
    let mut line: Vec<_> = (0..50).map(|_| semaphore.acquire(1).boxed()).collect();
    assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
    let mut held = Some(held);
    for index in 0..50 {
        let wake_ups = server.wake_ups();
        let last = held.take().unwrap().token();
        assert_eq!(server.wake_ups() - wake_ups, 1, "one for the release");
        let Poll::Ready(permit) = poll(&mut line[index]) else { panic!("it is its turn") };
        let permit = permit.unwrap();
        assert!(permit.token() > last, "in the order of asking");
        held = Some(permit);
        assert!(line[index + 1..].iter_mut().take(1).all(|next| poll(next).is_pending()));
    }
    // Each grant wakes the next, who is the first in line then; each release wakes the first in line.
    assert_eq!(server.wake_ups() - before, 50 + 49);
    drop(held);
    assert!(left(&server).is_empty());
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn what_is_not_to_be_had_costs_try_acquire_reads_only() {
    let server = MemoryServer::new();
    let (client, semaphore) = used(&server, 2).await;
    let permit = semaphore.acquire(1).await.unwrap();
    client.requests();
    let before = client.round_trips();
    assert!(semaphore.try_acquire(2).await.unwrap().is_none());
    assert_eq!((client.requests(), client.round_trips() - before), (vec!["exists", "get_children"], 1));
    let second = semaphore.try_acquire(1).await.unwrap().unwrap();
    assert_eq!(client.round_trips() - before, 1 + 3);
    let enter = ["create", "exists", "get_children"];
    assert_eq!(client.requests(), [&["exists", "get_children"], &enter[..], &["multi"]].concat());
    drop((permit, second));
    // Somebody is in line: nobody overtakes.
    let all = semaphore.acquire(2).await.unwrap();
    let mut waiting = semaphore.acquire(2).boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(all);
    assert!(semaphore.try_acquire(1).await.unwrap().is_none());
    drop(waiting);
    assert!(semaphore.try_acquire(1).await.unwrap().is_some());
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn who_asks_for_much_is_not_overtaken() {
    let server = MemoryServer::new();
    let (_, semaphore) = used(&server, 3).await;
    let (first, second) = (semaphore.acquire(1).await.unwrap(), semaphore.acquire(1).await.unwrap());
    let (mut much, mut little) = (semaphore.acquire(3).boxed(), semaphore.acquire(1).boxed());
    assert!(poll(&mut much).is_pending() && poll(&mut little).is_pending(), "one is free, and kept");
    drop(first);
    assert!(poll(&mut much).is_pending() && poll(&mut little).is_pending(), "two are free, and kept");
    drop(second);
    let Poll::Ready(much) = poll(&mut much) else { panic!("three are free") };
    assert!(poll(&mut little).is_pending());
    drop(much.unwrap());
    assert!(poll(&mut little).is_ready());
}

#[tokio::test]
async fn dropping_the_first_in_line_hands_over() {
    let server = MemoryServer::new();
    let (_, semaphore) = used(&server, 2).await;
    let held = semaphore.acquire(1).await.unwrap();
    let (mut much, mut little) = (semaphore.acquire(2).boxed(), semaphore.acquire(1).boxed());
    assert!(poll(&mut much).is_pending() && poll(&mut little).is_pending());
    drop(much);
    assert!(poll(&mut little).is_ready(), "one was free all the time");
    drop((held, little));
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_sent() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let builder = |permits| Semaphore::builder(client.clone(), path(), permits);
    let invalid = |reason: &str| Error::invalid(reason);
    assert_eq!(builder(0).build().unwrap_err(), invalid("a semaphore of no permits"));
    assert_eq!(builder(0).shared().build().unwrap_err(), invalid("a semaphore of no permits"));
    let too_many = invalid("2147483648 permits: a shared number is at most 2147483647");
    assert_eq!(builder(1 << 31).shared().build().unwrap_err(), too_many);
    let fixed = builder(3).build().unwrap();
    assert_eq!(fixed.acquire(0).await.unwrap_err(), invalid("no permits are asked for"));
    assert_eq!(fixed.try_acquire(0).await.unwrap_err(), invalid("no permits are asked for"));
    assert_eq!(fixed.acquire(4).await.unwrap_err(), invalid("4 permits of 3"));
    assert_eq!(fixed.try_acquire(4).await.unwrap_err(), invalid("4 permits of 3"));
    let not_shared = invalid("every process says the number of permits itself: it is not shared");
    assert_eq!(fixed.set_permits(2).await.unwrap_err(), not_shared);
    let shared = builder(3).shared().build().unwrap();
    assert_eq!(shared.acquire(0).await.unwrap_err(), invalid("no permits are asked for"));
    assert_eq!(shared.set_permits(1 << 31).await.unwrap_err(), too_many);
    let split = builder(5000).one_node_per_permit(true).build().unwrap();
    assert_eq!(split.acquire(1001).await.unwrap_err(), invalid("1001 permits of a node each: at most 1000 at once"));
    assert_eq!(client.requests(), NOTHING);
}

#[tokio::test]
async fn a_number_that_is_none_is_malformed() {
    let server = MemoryServer::new();
    let (client, semaphore) = used_shared(&server, 3).await;
    let malformed =
        |path| Error::Malformed { path, expected: "a number of permits: 4 bytes, big-endian, not negative" };
    for data in [&b""[..], b"3", b"\0\0\0\0\0\0\0\x03", b"\xff\xff\xff\xff"] {
        client.set(&below("permits"), data.to_vec(), Version::ANY).await.unwrap();
        assert_eq!(semaphore.acquire(1).await.unwrap_err(), malformed(below("permits")));
        assert_eq!(semaphore.try_acquire(1).await.unwrap_err(), malformed(below("permits")));
        assert_eq!(semaphore.available().await.unwrap_err(), malformed(below("permits")));
        assert!(left(&server).is_empty());
    }
    semaphore.set_permits(1).await.unwrap();
    assert_eq!(semaphore.available().await.unwrap(), 1);
}

#[tokio::test]
async fn a_number_that_becomes_malformed_ends_the_wait() {
    let server = MemoryServer::new();
    let (client, semaphore) = used_shared(&server, 1).await;
    let held = semaphore.acquire(1).await.unwrap();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    client.set(&below("permits"), "more than before", Version::ANY).await.unwrap();
    assert!(matches!(waiting.await.unwrap_err(), Error::Malformed { .. }));
    drop(held);
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn a_shared_number_is_a_curator_shared_count() {
    let server = MemoryServer::new();
    let (client, semaphore) = used_shared(&server, 258).await;
    let (data, stat) = client.get(&below("permits")).await.unwrap();
    // SharedCount.toBytes: four bytes, big-endian; the node is persistent.
    assert_eq!((&data[..], stat.ephemeral_owner), (&[0, 0, 1, 2][..], 0));
    // Who comes later with another number goes by the one that is there.
    let other = Semaphore::builder(server.connect(), path(), 7).shared().build().unwrap();
    assert_eq!(other.available().await.unwrap(), 258);
    client.requests();
    let before = client.round_trips();
    let permit = semaphore.acquire(200).await.unwrap();
    assert_eq!(client.round_trips() - before, 2);
    assert_eq!(client.requests(), ["create", "exists", "get_data", "get_children", "multi"]);
    assert_eq!(other.available().await.unwrap(), 58);
    drop(permit);
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn a_number_can_be_set_before_anybody_was_there() {
    let server = MemoryServer::new();
    let semaphore = Semaphore::builder(server.connect(), path(), 3).shared().build().unwrap();
    assert_eq!(semaphore.available().await.unwrap(), 3, "nothing is there: what it would be");
    semaphore.set_permits(9).await.unwrap();
    assert_eq!(semaphore.available().await.unwrap(), 9);
    drop(semaphore.acquire(9).await.unwrap());
}

#[tokio::test]
async fn a_greater_number_is_given_out_at_once_and_a_smaller_one_takes_nothing_away() {
    let server = MemoryServer::new();
    let (_, semaphore) = used_shared(&server, 1).await;
    let first = semaphore.acquire(1).await.unwrap();
    // More than there are: it waits until there are more.
    let mut waiting = semaphore.acquire(3).boxed();
    assert!(poll(&mut waiting).is_pending());
    semaphore.set_permits(3).await.unwrap();
    assert!(poll(&mut waiting).is_pending());
    semaphore.set_permits(4).await.unwrap();
    let Poll::Ready(second) = poll(&mut waiting) else { panic!("there are four") };
    let second = second.unwrap();

    semaphore.set_permits(2).await.unwrap();
    assert!(first.is_valid() && second.is_valid(), "nothing is taken away");
    assert_eq!(semaphore.available().await.unwrap(), 0);
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(first);
    assert!(poll(&mut waiting).is_pending(), "three of two are held");
    drop(second);
    assert!(poll(&mut waiting).is_ready());
    semaphore.set_permits(0).await.unwrap();
    assert!(semaphore.try_acquire(1).await.unwrap().is_none());
    drop(waiting);
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn curators_leases_count_one_each_and_curators_place_is_waited_for() {
    let server = MemoryServer::new();
    let (_, semaphore) = used(&server, 3).await;
    let curator = server.connect();
    let make = |name: &str| curator.create(&below(name), "10.0.0.1", CreateMode::EphemeralSequential);
    let uuid = "_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10";
    let lease = make(&format!("leases/{uuid}-lease-")).await.unwrap();
    assert_eq!(semaphore.available().await.unwrap(), 2);
    let place = make(&format!("locks/{uuid}-lock-")).await.unwrap();
    let mut waiting = semaphore.acquire(3).boxed();
    assert!(poll(&mut waiting).is_pending(), "it stands in line");
    curator.delete(&place.path, Version::ANY).await.unwrap();
    assert!(poll(&mut waiting).is_pending(), "one is out");
    let holders = semaphore.holders().await.unwrap();
    assert_eq!((holders[0].contender.owner.as_str(), holders[0].weight, holders.len()), ("10.0.0.1", 1, 1));
    curator.delete(&lease.path, Version::ANY).await.unwrap();
    assert!(poll(&mut waiting).is_ready());
}

#[tokio::test]
async fn for_those_who_count_nodes_there_is_one_for_each_permit() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let split = Semaphore::builder(client.clone(), path(), 5).one_node_per_permit(true).build().unwrap();
    let plain = Semaphore::new(server.connect(), path(), 5).unwrap();
    let permit = split.acquire(3).await.unwrap();
    assert_eq!(left(&server).len(), 3, "a Curator process counts three");
    assert_eq!((permit.weight(), plain.available().await.unwrap()), (3, 2));
    let other = plain.acquire(2).await.unwrap();
    let holders = split.holders().await.unwrap();
    assert_eq!(holders.iter().map(|holder| holder.weight).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(holders[0].contender.token, permit.token());
    client.requests();
    let before = client.round_trips();
    permit.release().await.unwrap();
    assert_eq!((client.requests(), client.round_trips() - before), (vec!["release"; 3], 1));
    assert_eq!(left(&server).len(), 1);
    let permit = split.acquire(3).await.unwrap();
    drop((permit, other));
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn people_can_read_who_holds_and_who_waits() {
    let server = MemoryServer::new();
    let semaphore = |owner: &str| Semaphore::builder(server.connect(), path(), 4).owner(owner).build().unwrap();
    let (first, second, third) = (semaphore("first"), semaphore("second\nof two"), semaphore("third"));
    assert_eq!(first.holders().await.unwrap(), []);
    assert_eq!(first.waiters().await.unwrap(), []);
    let (one, two) = (first.acquire(1).await.unwrap(), second.acquire(3).await.unwrap());
    let mut waiting = third.acquire(2).boxed();
    assert!(poll(&mut waiting).is_pending());
    let holders = first.holders().await.unwrap();
    let seen: Vec<_> = holders.iter().map(|h| (h.contender.owner.as_str(), h.weight, h.contender.token)).collect();
    assert_eq!(seen, [("first", 1, one.token()), ("second\nof two", 3, two.token())]);
    assert_eq!(holders[1].contender.session, two.session().id());
    assert_eq!(holders[1].contender.path, *two.path());
    let waiters = first.waiters().await.unwrap();
    assert_eq!(waiters.len(), 1);
    assert_eq!((waiters[0].contender.owner.as_str(), waiters[0].weight), ("third", 2));
}

#[tokio::test]
async fn a_guarded_write_needs_the_lease() {
    let server = MemoryServer::new();
    let (client, semaphore) = used(&server, 2).await;
    let state = NodePath::parse("/state").unwrap();
    client.create(&state, "", CreateMode::Persistent).await.unwrap();
    let permit = semaphore.acquire(1).await.unwrap();
    permit.multi(vec![MultiOp::set(&state, "x", Version::ANY)]).await.unwrap();
    let wrong = permit.multi(vec![MultiOp::check(&state, Version(1)), MultiOp::check(&state, Version(7))]);
    assert_eq!(wrong.await, Err(Error::MultiRefused { index: 1, refusal: Refusal::BadVersion }));
    server.connect().delete(permit.path(), Version::ANY).await.unwrap();
    let late = permit.multi(vec![MultiOp::set(&state, "y", Version::ANY)]).await;
    assert_eq!(late, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(permit.release().await, Err(Error::Refused(Refusal::NoNode)));
}

#[tokio::test]
async fn a_lost_session_is_told_to_its_permit_and_gives_it_to_the_next() {
    let server = MemoryServer::new();
    let (_, semaphore) = used(&server, 2).await;
    let client = server.connect();
    let lost = Semaphore::new(client.clone(), path(), 2).unwrap().acquire(2).await.unwrap();
    let mut waiting = semaphore.acquire(2).boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&client);
    assert!(!lost.is_valid());
    assert!(poll(&mut waiting).is_ready());
    assert_eq!(lost.release().await, Err(Error::SessionExpired));
}

#[tokio::test]
async fn a_removed_place_is_an_error_and_not_a_wait_for_ever() {
    let server = MemoryServer::new();
    let (client, semaphore) = used(&server, 1).await;
    let held = semaphore.acquire(1).await.unwrap();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    let place = semaphore.waiters().await.unwrap().remove(0);
    server.connect().delete(&place.contender.path, Version::ANY).await.unwrap();
    client.requests();
    drop(held);
    assert_eq!(waiting.await.unwrap_err(), Error::Refused(Refusal::NoNode));
    assert_eq!(client.requests(), ["release", "get_children", "multi", "release"], "it is not tried again");
    assert!(left(&server).is_empty());
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let client = server.connect();
    let semaphore = Semaphore::new(client.clone(), path(), 1).unwrap();
    let permit = semaphore.acquire(1).await.unwrap();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    client.close().await.unwrap();
    assert_eq!(waiting.await.unwrap_err(), Error::Closed);
    assert_eq!(semaphore.acquire(1).await.unwrap_err(), Error::Closed);
    assert_eq!(semaphore.try_acquire(1).await.unwrap_err(), Error::Closed);
    assert!(!permit.is_valid());
}

#[tokio::test]
async fn nodes_that_nobody_may_make_are_refused() {
    use herdless_core::{Acl, Permissions};
    let server = MemoryServer::new();
    let acl = [Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: "x".into() }];
    let semaphore = Semaphore::builder(server.connect(), path(), 1).acl(acl).build().unwrap();
    assert_eq!(semaphore.acquire(1).await.unwrap_err(), Error::Refused(Refusal::InvalidAcl));
}

#[tokio::test]
async fn a_shared_number_is_watched_by_who_waits_for_permits_only() {
    let server = MemoryServer::new();
    let (_, holder) = used_shared(&server, 1).await;
    let (_, second) = used_shared(&server, 1).await;
    let (client, semaphore) = used_shared(&server, 1).await;
    let held = holder.acquire(1).await.unwrap();
    let before = client.round_trips();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.round_trips() - before, 2);
    drop(held);
    let held = waiting.await.unwrap();
    assert_eq!(client.round_trips() - before, 2 + 2);

    // Behind another: the line first, and then the permits.
    let mut ahead = second.acquire(1).boxed();
    assert!(poll(&mut ahead).is_pending());
    let before = client.round_trips();
    let mut waiting = semaphore.acquire(1).boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.round_trips() - before, 2);
    drop(held);
    let held = ahead.await.unwrap();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.round_trips() - before, 2 + 2, "the number is watched in a second look");
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(client.round_trips() - before, 2 + 2 + 2);
    assert_eq!(server.inspect(|tree| tree.watch_count()), 2, "each who had to wait watches the number");
    semaphore.set_permits(2).await.unwrap();
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}
