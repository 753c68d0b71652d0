//! The shared value and the shared counter over the in-memory backend: what they cost, and what their methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::{FutureExt, Stream, StreamExt};
use herdless_core::{
    Acl, Bytes, Client, ClientExt, CreateMode, Error, MultiReply, NodePath, Permissions, Refusal, Reply, Request,
    Response, Session, Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::{CounterFormat, SharedCounter, SharedValue, Versioned};

type Tamper = dyn Fn(&MemoryClient, Request) -> Response + Send + Sync;

/// Notes the name of every request, and may do something else in its place.
#[derive(Clone)]
struct Counting {
    client: MemoryClient,
    log: Arc<Mutex<Vec<&'static str>>>,
    tamper: Arc<Tamper>,
}

impl Counting {
    fn new(server: &MemoryServer) -> Self {
        Self::tampered(server.connect(), |client, request| client.submit(request))
    }

    fn tampered(
        client: MemoryClient,
        tamper: impl Fn(&MemoryClient, Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self { client, log: Arc::default(), tamper: Arc::new(tamper) }
    }

    fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Client for Counting {
    fn submit(&self, request: Request) -> Response {
        self.log.lock().unwrap().push(request.name());
        (self.tamper)(&self.client, request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

fn path() -> NodePath {
    NodePath::parse("/config/value").unwrap()
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The next item of a stream, if it is there.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    stream.next().now_or_never().map(|item| item.expect("the stream goes on"))
}

async fn put(client: &impl Client, data: &'static str) {
    let parent = path().parent().unwrap();
    drop(client.create(&parent, "", CreateMode::Container).await);
    client.create(&path(), data, CreateMode::Persistent).await.unwrap();
}

/// A value that has been written once by its client.
async fn used(server: &MemoryServer) -> (Counting, SharedValue<Counting>) {
    let client = Counting::new(server);
    let value = SharedValue::new(client.clone(), path());
    value.set("0").await.unwrap();
    client.requests();
    (client, value)
}

fn append(more: &'static str) -> impl Fn(Option<&Bytes>) -> Bytes {
    move |old| [old.map_or(b"" as &[u8], |old| old), more.as_bytes()].concat().into()
}

fn text(value: &Versioned) -> &str {
    std::str::from_utf8(&value.data).unwrap()
}

/// The names below the value's node.
fn receipts(server: &MemoryServer) -> Vec<String> {
    let parent = format!("{}/", path());
    server.inspect(|tree| tree.paths().filter_map(|path| Some(path.as_str().strip_prefix(&parent)?.into())).collect())
}

fn paths(server: &MemoryServer) -> Vec<String> {
    server.inspect(|tree| tree.paths().map(|path| path.as_str().to_owned()).collect())
}

#[tokio::test]
async fn an_update_of_a_known_value_costs_one_round_trip() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    let client = Counting::new(&server);
    let value = SharedValue::new(client.clone(), path());
    assert_eq!(text(&value.update(append("a")).await.unwrap()), "0a");
    assert_eq!(client.requests(), ["get_data", "multi"], "the first time it is read");
    assert_eq!(text(&value.update(append("b")).await.unwrap()), "0ab");
    assert_eq!(client.requests(), ["multi"]);
    assert_eq!(text(&value.clone().update(append("c")).await.unwrap()), "0abc");
    assert_eq!(client.requests(), ["multi"], "clones share what is known");
    assert_eq!(value.read().await.unwrap().unwrap().version, Version(3));
    assert_eq!(client.requests(), ["get_data"]);
    assert_eq!(receipts(&server).len(), 1);
    drop(value);
    assert_eq!(client.requests(), ["release"]);
    assert_eq!(paths(&server), ["/", "/config", "/config/value"]);
}

#[tokio::test]
async fn a_conflict_costs_a_refused_write_and_a_read_and_then_it_is_read_first() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let (_, other) = used(&server).await;
    assert_eq!(text(&value.update(append("a")).await.unwrap()), "0a");
    assert_eq!(client.requests(), ["multi", "get_data", "multi"]);
    other.set("1").await.unwrap();
    assert_eq!(text(&value.update(append("a")).await.unwrap()), "1a");
    assert_eq!(client.requests(), ["get_data", "multi"], "others write: it does not pay to guess");
    value.update(append("b")).await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi"]);
    value.update(append("c")).await.unwrap();
    assert_eq!(client.requests(), ["multi"], "nobody did in between");
}

#[tokio::test]
async fn a_value_is_set_in_one_round_trip_and_made_with_its_parents_where_missing() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let value = SharedValue::new(client.clone(), path());
    value.set("a").await.unwrap();
    // Set, create, the one parent, create.
    assert_eq!(client.requests(), ["multi", "multi", "create", "multi"]);
    value.set("b").await.unwrap();
    assert_eq!(client.requests(), ["multi"]);
    let read = value.read().await.unwrap().unwrap();
    assert_eq!((text(&read), read.version), ("b", Version(1)));
    client.delete(&path().child(&receipts(&server)[0]).unwrap(), Version::ANY).await.unwrap();
    client.delete(&path(), Version::ANY).await.unwrap();
    server.reap_containers();
    assert_eq!(paths(&server), ["/"], "the parents are containers");
    assert_eq!(value.read().await.unwrap(), None);
}

#[tokio::test]
async fn compare_and_set_tells_what_is_there_instead() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let old = value.read().await.unwrap().unwrap();
    assert_eq!(old.version, Version(0), "which is a version like any other");
    client.requests();
    let new = value.compare_and_set(Some(&old), "1").await.unwrap().unwrap();
    assert_eq!(client.requests(), ["multi"]);
    assert_eq!(value.read().await.unwrap().as_ref(), Some(&new));
    client.requests();
    assert_eq!(value.compare_and_set(Some(&old), "2").await.unwrap(), Err(Some(new.clone())));
    assert_eq!(client.requests(), ["multi", "get_data"]);
    assert_eq!(value.initialize("3").await.unwrap(), Err(Some(new)));
    assert_eq!(client.requests(), ["multi", "get_data"]);
}

#[tokio::test]
async fn a_value_is_made_by_one_alone() {
    let server = MemoryServer::new();
    let value = SharedValue::new(server.connect(), path());
    let made = value.initialize("a").await.unwrap().unwrap();
    assert_eq!(value.read().await.unwrap().as_ref(), Some(&made), "version and change are those of the node");
    let other = SharedValue::new(server.connect(), path());
    assert_eq!(other.initialize("b").await.unwrap(), Err(Some(made.clone())));
    drop(other);
    drop(value);
    let client = server.connect();
    client.delete(&path(), Version::ANY).await.unwrap();
    let value = SharedValue::new(client, path());
    assert_eq!(value.compare_and_set(Some(&made), "c").await.unwrap(), Err(None), "it was deleted");
}

#[tokio::test]
async fn a_version_that_means_any_is_not_compared() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let mut read = value.read().await.unwrap().unwrap();
    client.requests();
    read.version = Version::ANY;
    assert!(matches!(value.compare_and_set(Some(&read), "x").await, Err(Error::Invalid(_))));
    assert_eq!(client.requests(), [] as [&str; 0]);
    assert_eq!(text(&value.read().await.unwrap().unwrap()), "0");
}

#[tokio::test]
async fn an_update_that_meets_the_version_that_means_any_is_refused() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    let client = Counting::tampered(server.connect(), |client, request| {
        client.submit(request).map(|outcome| {
            let mut answer = outcome?;
            if let Reply::Data(_, stat) = &mut answer.reply {
                stat.version = -1;
            }
            Ok(answer)
        })
    });
    let value = SharedValue::new(client.clone(), path());
    assert!(matches!(value.update(append("x")).await, Err(Error::Invalid(_))));
    assert_eq!(client.requests(), ["get_data"]);
    value.set("1").await.unwrap();
    assert_eq!(receipts(&server).len(), 1);
    assert!(value.update(append("x")).await.is_ok(), "a set leads on");
}

#[tokio::test]
async fn a_lost_reply_is_neither_a_conflict_nor_a_second_write() {
    let server = MemoryServer::new();
    for is_first in [true, false] {
        let client = Counting::new(&server);
        let value = SharedValue::new(client.clone(), path());
        if !is_first {
            value.set("0").await.unwrap();
        }
        let before = value.read().await.unwrap();
        let expected = if is_first { Version(0) } else { Version(before.as_ref().unwrap().version.0 + 1) };
        client.requests();
        server.lose_reply_after(&client.client, 0);
        if is_first {
            // The parents are missing: that is the reply that is lost.
            server.lose_reply_after(&client.client, 2);
        }
        let written = value.compare_and_set(before.as_ref(), "1").await.unwrap().unwrap();
        assert_eq!(client.requests().last(), Some(&"find_own"));
        assert_eq!(written.version, expected);
        assert_eq!(value.read().await.unwrap(), Some(written));
        server.lose_reply_after(&client.client, 0);
        assert_eq!(text(&value.update(append("2")).await.unwrap()), "12");
        assert_eq!(text(&value.read().await.unwrap().unwrap()), "12");
        client.requests();
        server.lose_reply_after(&client.client, 0);
        value.set("3").await.unwrap();
        assert_eq!(client.requests(), ["multi", "find_own"]);
        assert_eq!(text(&value.update(append("4")).await.unwrap()), "34");
        assert_eq!(client.requests(), ["get_data", "multi"], "the version of a lost set is not known");
    }
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_lost_set_is_not_written_again_over_a_later_value() {
    let server = MemoryServer::new();
    let (_, other) = used(&server).await;
    let inner = server.connect();
    server.lose_reply_after(&inner, 0);
    let later = Arc::new(Mutex::new(Some(other)));
    let client = Counting::tampered(inner, move |client, request| {
        if matches!(request, Request::FindOwn(_)) {
            let other = later.lock().unwrap().take().unwrap();
            other.set("later").now_or_never().unwrap().unwrap();
        }
        client.submit(request)
    });
    let value = SharedValue::new(client, path());
    value.set("mine").await.unwrap();
    assert_eq!(text(&value.read().await.unwrap().unwrap()), "later");
}

#[tokio::test]
async fn a_servers_doubt_is_resolved_as_a_lost_reply() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    // Carried out the first time, not the second.
    for is_carried_out in [true, false] {
        let in_doubt = AtomicBool::new(true);
        let client = Counting::tampered(server.connect(), move |client, request| {
            if !matches!(request, Request::Multi(_)) || !in_doubt.swap(false, Ordering::Relaxed) {
                return client.submit(request);
            }
            if is_carried_out {
                drop(client.submit(request));
            }
            // KeeperException.Code.OPERATIONTIMEOUT
            Response::ready(Err(Error::Uncertain(-7)))
        });
        let value = SharedValue::new(client.clone(), path());
        value.update(append("+")).await.unwrap();
        let multis = if is_carried_out { 1 } else { 2 };
        assert_eq!(client.requests().iter().filter(|name| **name == "multi").count(), multis);
    }
    let value = SharedValue::new(server.connect(), path());
    assert_eq!(text(&value.read().await.unwrap().unwrap()), "0++");
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn what_a_dead_session_may_have_written_is_not_guessed() {
    for is_carried_out in [true, false] {
        let server = MemoryServer::new();
        put(&server.connect(), "0").await;
        let (to_expire, in_doubt) = (server.clone(), AtomicBool::new(true));
        let client = Counting::tampered(server.connect(), move |client, request| {
            match &request {
                Request::Multi(_) if in_doubt.swap(false, Ordering::Relaxed) => {
                    if is_carried_out {
                        drop(client.submit(request));
                    }
                    return Response::ready(Err(Error::ConnectionLost));
                }
                Request::FindOwn(_) => to_expire.expire(client),
                _ => {}
            }
            client.submit(request)
        });
        let value = SharedValue::new(client, path());
        assert_eq!(value.update(append("+")).await, Err(Error::SessionExpired));
        let there = if is_carried_out { "0+" } else { "0" };
        assert_eq!(text(&value.read().await.unwrap().unwrap()), there);
        value.update(append("-")).await.unwrap();
        assert_eq!(text(&value.read().await.unwrap().unwrap()), format!("{there}-"));
        drop(value);
        assert_eq!(receipts(&server), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn an_unanswered_question_keeps_the_doubt() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    let client = Counting::tampered(server.connect(), |client, request| match request {
        Request::Multi(_) => {
            drop(client.submit(request));
            Response::ready(Err(Error::ConnectionLost))
        }
        // Which says "nothing was sent", and that of the question.
        Request::FindOwn(_) => Response::ready(Err(Error::Closed)),
        request => client.submit(request),
    });
    let value = SharedValue::new(client, path());
    assert_eq!(value.update(append("+")).await, Err(Error::ConnectionLost));
}

#[tokio::test]
async fn a_session_that_ended_idle_costs_a_new_receipt() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let old = receipts(&server);
    server.expire(&client.client);
    assert_eq!(receipts(&server), [] as [&str; 0]);
    value.update(append("1")).await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi"]);
    assert_ne!(receipts(&server), old, "no name is used twice");
    drop(value);
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

/// Expires the session right after the first request of this name.
fn expiring_after(server: &MemoryServer, name: &'static str) -> Counting {
    let (to_expire, is_first) = (server.clone(), AtomicBool::new(true));
    Counting::tampered(server.connect(), move |client, request| {
        let expires = request.name() == name && is_first.swap(false, Ordering::Relaxed);
        let response = client.submit(request);
        if expires {
            to_expire.expire(client);
        }
        response
    })
}

#[tokio::test]
async fn a_receipt_whose_session_is_not_certain_is_not_kept() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    let client = expiring_after(&server, "multi");
    let value = SharedValue::new(client.clone(), path());
    value.set("1").await.unwrap();
    assert_eq!(client.requests(), ["multi", "release"], "it happened, and is known to");
    value.set("2").await.unwrap();
    assert_eq!(client.requests(), ["multi"], "with a new receipt");
}

#[tokio::test]
async fn a_value_that_was_read_while_the_session_changed_is_read_again() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    let client = expiring_after(&server, "get_data");
    let mut changes = SharedValue::new(client.clone(), path()).changes();
    assert_eq!(told(next(&mut changes)), Some(Some("0".into())));
    assert_eq!(client.requests(), ["get_data", "sync", "get_data"]);
    assert_eq!(next(&mut changes), None);
}

#[tokio::test]
async fn tasks_that_write_at_once_have_a_receipt_each_and_few_are_kept() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    server.disconnect(&client.client);
    let mut writes: Vec<_> = (0..10).map(|_| value.set("x").boxed()).collect();
    writes.iter_mut().for_each(|write| assert!(poll(write).is_pending()));
    server.reconnect(&client.client);
    assert_eq!(receipts(&server).len(), 10);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(receipts(&server).len(), 4);
    drop(value);
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_write_that_is_given_up_happens_or_not_and_leaves_no_receipt() {
    let server = MemoryServer::new();
    put(&server.connect(), "0").await;
    for is_lost in [false, true] {
        let client = server.connect();
        let value = SharedValue::new(client.clone(), path());
        server.disconnect(&client);
        let mut write = value.set("x").boxed();
        assert!(poll(&mut write).is_pending());
        drop(write);
        if is_lost {
            server.lose_reply_after(&client, 0);
        }
        server.reconnect(&client);
        assert_eq!(text(&value.read().await.unwrap().unwrap()), "x");
        assert_eq!(receipts(&server), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn receipts_that_somebody_removed_are_made_again() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let other = server.connect();
    other.delete(&path().child(&receipts(&server)[0]).unwrap(), Version::ANY).await.unwrap();
    value.update(append("1")).await.unwrap();
    assert_eq!(client.requests(), ["multi", "get_data", "multi"]);
    other.delete(&path().child(&receipts(&server)[0]).unwrap(), Version::ANY).await.unwrap();
    value.set("2").await.unwrap();
    assert_eq!(client.requests(), ["multi", "multi"]);
    other.delete(&path().child(&receipts(&server)[0]).unwrap(), Version::ANY).await.unwrap();
    let there = value.read().await.unwrap();
    assert!(value.compare_and_set(there.as_ref(), "3").await.unwrap().is_ok(), "the value is as expected");
    assert_eq!(client.requests(), ["get_data", "multi", "get_data", "multi"]);
    assert_eq!(receipts(&server).len(), 1);
}

#[tokio::test]
async fn a_node_that_was_made_anew_is_not_taken_for_the_old_one() {
    let server = MemoryServer::new();
    let (_, value) = used(&server).await;
    let old = value.read().await.unwrap().unwrap();
    let other = server.connect();
    other.delete(&path().child(&receipts(&server)[0]).unwrap(), Version::ANY).await.unwrap();
    other.delete(&path(), Version::ANY).await.unwrap();
    other.create(&path(), "anew", CreateMode::Persistent).await.unwrap();
    // The version is the same.
    let there = value.compare_and_set(Some(&old), "1").await.unwrap().unwrap_err().unwrap();
    assert_eq!((text(&there), there.version), ("anew", old.version));
    assert_eq!(text(&value.update(append("!")).await.unwrap()), "anew!");
}

#[tokio::test]
async fn a_server_that_sends_no_stat_with_a_create_in_a_multi_is_enough() {
    let server = MemoryServer::new();
    // As Apache ZooKeeper 3.8 does.
    let client = Counting::tampered(server.connect(), |client, request| {
        client.submit(request).map(|outcome| {
            let mut answer = outcome?;
            if let Reply::Multi(replies) = &mut answer.reply {
                for reply in replies {
                    if let MultiReply::Created(_, stat) = reply {
                        *stat = None;
                    }
                }
            }
            Ok(answer)
        })
    });
    let value = SharedValue::new(client, path());
    let made = value.initialize("a").await.unwrap().unwrap();
    assert_eq!(value.read().await.unwrap(), Some(made));
    assert_eq!(text(&value.update(append("b")).await.unwrap()), "ab");
    drop(value);
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn what_the_server_refuses_changes_nothing() {
    let server = MemoryServer::new();
    let client = server.connect();
    client.create(&NodePath::parse("/config").unwrap(), "", CreateMode::Persistent).await.unwrap();
    for (name, permissions) in [("no-write", Permissions::READ), ("no-receipt", Permissions::READ | Permissions::WRITE)]
    {
        let path = NodePath::parse("/config").unwrap().child(name).unwrap();
        let acl = [Acl { permissions, scheme: "world".into(), id: "anyone".into() }];
        let acl: Arc<[Acl]> = acl.into();
        let create = herdless_core::Create { path: path.clone(), data: "0".into(), acl, mode: CreateMode::Persistent };
        client.call(create).await.unwrap();
        let value = SharedValue::new(client.clone(), path);
        assert_eq!(value.set("1").await, Err(Error::Refused(Refusal::NoAuth)), "{name}");
        assert_eq!(value.update(append("1")).await, Err(Error::Refused(Refusal::NoAuth)), "{name}");
        assert_eq!(text(&value.read().await.unwrap().unwrap()), "0");
    }
    client.create(&path(), "0", CreateMode::Ephemeral).await.unwrap();
    let value = SharedValue::new(client.clone(), path());
    assert_eq!(value.set("1").await, Err(Error::Refused(Refusal::NoChildrenForEphemerals)));
    assert_eq!(text(&value.read().await.unwrap().unwrap()), "0");
    assert_eq!(paths(&server).len(), 5, "nothing was made");
}

#[tokio::test]
async fn nodes_are_made_with_the_list_that_was_given() {
    let server = MemoryServer::new();
    let acl = [Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: "x".into() }];
    let value = SharedValue::builder(server.connect(), path()).acl(acl).build();
    assert_eq!(value.set("1").await, Err(Error::Refused(Refusal::InvalidAcl)));
    assert_eq!(paths(&server), ["/"]);
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let mut changes = value.changes();
    assert!(next(&mut changes).unwrap().is_ok());
    client.close().await.unwrap();
    assert_eq!(value.read().await, Err(Error::Closed));
    assert_eq!(value.set("1").await, Err(Error::Closed));
    assert_eq!(value.update(append("1")).await, Err(Error::Closed));
    assert_eq!(next(&mut changes), Some(Err(Error::Closed)));
    assert_eq!(changes.next().await, None, "the stream ends with its error");
}

#[tokio::test]
async fn a_change_that_declines_ends_the_update_if_the_value_was_read() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let (_, other) = used(&server).await;
    other.set("1").await.unwrap();
    let only_one = |old: Option<&Bytes>| match old {
        Some(old) if old == "1" => Ok("done".into()),
        _ => Err(Error::invalid("not one")),
    };
    // What is remembered is not 1 any more.
    value.try_update(only_one).await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi"]);
    assert!(matches!(value.try_update(only_one).await, Err(Error::Invalid(_))));
    assert_eq!(client.requests(), ["get_data"]);
    assert_eq!(text(&value.read().await.unwrap().unwrap()), "done");
}

fn told(item: Option<Result<Option<Versioned>, Error>>) -> Option<Option<String>> {
    item.map(|value| value.unwrap().map(|value| text(&value).to_owned()))
}

#[tokio::test]
async fn changes_tell_the_latest_value_each_time() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let value = SharedValue::new(client.clone(), path());
    let mut changes = value.changes();
    assert_eq!(client.requests(), [] as [&str; 0]);
    assert_eq!(told(next(&mut changes)), Some(None), "there is no node");
    assert_eq!(next(&mut changes), None);
    assert_eq!(client.requests(), ["get_data", "exists"]);
    let other = SharedValue::new(server.connect(), path());
    other.set("a").await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(Some("a".into())));
    assert_eq!(next(&mut changes), None);
    assert_eq!(client.requests(), ["get_data"]);
    other.set("b").await.unwrap();
    other.set("c").await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(Some("c".into())));
    assert_eq!(next(&mut changes), None);
    assert_eq!(server.inspect(|tree| tree.watch_count()), 1);

    drop(other);
    let deleter = server.connect();
    deleter.delete(&path(), Version::ANY).await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(None));
    assert_eq!(next(&mut changes), None);
    value.set("d").await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(Some("d".into())));
    drop(changes);
    value.set("e").await.unwrap();
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0, "the watch is gone when it has fired");
}

#[tokio::test]
async fn changes_outlive_connections_and_sessions() {
    let server = MemoryServer::new();
    let (client, value) = used(&server).await;
    let (_, other) = used(&server).await;
    let mut changes = value.changes();
    assert_eq!(told(next(&mut changes)), Some(Some("0".into())));
    assert_eq!(next(&mut changes), None);
    server.disconnect(&client.client);
    other.set("1").await.unwrap();
    assert_eq!(next(&mut changes), None);
    server.reconnect(&client.client);
    assert_eq!(told(next(&mut changes)), Some(Some("1".into())));
    assert_eq!(next(&mut changes), None);
    client.requests();
    server.expire(&client.client);
    assert_eq!(next(&mut changes), None, "the same value is no news");
    assert_eq!(client.requests(), ["sync", "get_data"], "a new session catches up first");
    server.expire(&client.client);
    other.set("2").await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(Some("2".into())));
    server.lose_reply_after(&client.client, 0);
    other.set("3").await.unwrap();
    assert_eq!(told(next(&mut changes)), Some(Some("3".into())));
    assert_eq!(next(&mut changes), None);
}

#[tokio::test]
async fn a_counter_counts() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let counter = SharedCounter::new(client.clone(), path());
    assert_eq!(counter.get().await.unwrap(), 0, "absent is 0");
    assert_eq!(counter.increment().await.unwrap(), 1);
    client.requests();
    assert_eq!(counter.add(41).await.unwrap(), 42);
    assert_eq!(counter.subtract(50).await.unwrap(), -8);
    assert_eq!(counter.compare_and_set(-8, 7).await.unwrap(), Ok(()));
    assert_eq!(client.requests(), ["multi", "multi", "multi"]);
    assert_eq!(counter.compare_and_set(8, 9).await.unwrap(), Err(7));
    assert_eq!(client.requests(), ["get_data"], "another number is believed when it was read");
    assert_eq!(counter.get().await.unwrap(), 7);
    assert_eq!(client.requests(), ["get_data"]);
    counter.set(-1).await.unwrap();
    assert_eq!(client.requests(), ["multi"]);
    assert_eq!(counter.clone().increment().await.unwrap(), 0);
    drop(counter);
    assert_eq!(receipts(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_counters_bytes_are_those_of_its_peers() {
    // ByteBuffer.putLong and putInt (DistributedAtomicLong, DistributedAtomicInteger, SharedCount); repr (kazoo's Counter).
    let formats = [
        (CounterFormat::AtomicLong, b"\xff\xff\xff\xff\xff\xff\xff\xfe" as &[u8]),
        (CounterFormat::AtomicInteger, b"\xff\xff\xff\xfe"),
        (CounterFormat::Kazoo, b"-2"),
    ];
    for (format, bytes) in formats {
        let server = MemoryServer::new();
        let client = server.connect();
        // Empty, as kazoo's `ensure_path` makes it, is 0.
        put(&client, "").await;
        let counter = SharedCounter::builder(client.clone(), path()).format(format).build();
        assert_eq!(counter.get().await.unwrap(), 0);
        assert_eq!(counter.subtract(2).await.unwrap(), -2);
        assert_eq!(client.get(&path()).await.unwrap().0, bytes, "{format:?}");
        assert_eq!(SharedCounter::builder(client, path()).format(format).build().get().await.unwrap(), -2);
    }
}

#[tokio::test]
async fn a_counter_that_would_overflow_is_left_alone() {
    let bounds = [
        (CounterFormat::AtomicLong, i64::MAX, i64::MIN),
        (CounterFormat::AtomicInteger, i64::from(i32::MAX), i64::from(i32::MIN)),
        (CounterFormat::Kazoo, i64::MAX, i64::MIN),
    ];
    for (format, most, least) in bounds {
        let server = MemoryServer::new();
        let counter = SharedCounter::builder(server.connect(), path()).format(format).build();
        counter.set(most).await.unwrap();
        assert!(matches!(counter.increment().await, Err(Error::Invalid(_))), "{format:?}");
        assert_eq!(counter.get().await.unwrap(), most);
        counter.set(least).await.unwrap();
        assert!(matches!(counter.subtract(1).await, Err(Error::Invalid(_))), "{format:?}");
        assert_eq!(counter.subtract(least).await.unwrap(), 0, "the least number has no opposite");
        assert_eq!(server.inspect(|tree| tree.stat(&path())).unwrap().version, 2);
    }
    let server = MemoryServer::new();
    let counter = SharedCounter::builder(server.connect(), path()).format(CounterFormat::AtomicInteger).build();
    let too_large = i64::from(i32::MAX) + 1;
    assert!(matches!(counter.set(too_large).await, Err(Error::Invalid(_))));
    assert!(matches!(counter.compare_and_set(0, too_large).await, Err(Error::Invalid(_))));
    assert_eq!(paths(&server), ["/"]);
}

#[tokio::test]
async fn an_overflow_of_a_number_that_is_not_there_any_more_is_none() {
    let server = MemoryServer::new();
    let counter = || SharedCounter::new(server.connect(), path());
    let (first, second) = (counter(), counter());
    first.set(i64::MAX).await.unwrap();
    second.set(1).await.unwrap();
    assert_eq!(first.increment().await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_no_number_is_told_and_left_alone() {
    let cases = [
        (CounterFormat::AtomicLong, &["1234567", "123456789", "1234"] as &[_]),
        (CounterFormat::AtomicInteger, &["123", "12345", "12345678"]),
        (CounterFormat::Kazoo, &["1.5", "one", "9223372036854775808", "--1", "1 2"]),
    ];
    for (format, bad) in cases {
        for data in bad {
            let server = MemoryServer::new();
            let client = server.connect();
            put(&client, data).await;
            let counter = SharedCounter::builder(client.clone(), path()).format(format).build();
            let is_malformed = |error| matches!(error, Error::Malformed { path: at, .. } if at == path());
            assert!(is_malformed(counter.get().await.unwrap_err()), "{format:?} {data}");
            assert!(is_malformed(counter.increment().await.unwrap_err()), "{format:?} {data}");
            assert!(is_malformed(counter.compare_and_set(0, 1).await.unwrap_err()), "{format:?} {data}");
            let (left, stat) = client.get(&path()).await.unwrap();
            assert_eq!((left, stat.version), (Bytes::from(*data), 0));
            counter.set(5).await.unwrap();
            assert_eq!(counter.get().await.unwrap(), 5, "a set leads on");
        }
    }
}

#[tokio::test]
async fn a_counters_changes_are_numbers() {
    let server = MemoryServer::new();
    let client = server.connect();
    let counter = SharedCounter::new(client.clone(), path());
    let mut changes = counter.changes();
    assert_eq!(next(&mut changes), Some(Ok(0)));
    counter.add(5).await.unwrap();
    assert_eq!(next(&mut changes), Some(Ok(5)));
    assert_eq!(next(&mut changes), None);
    client.set(&path(), "five", Version::ANY).await.unwrap();
    assert!(matches!(next(&mut changes), Some(Err(Error::Malformed { .. }))));
    counter.set(6).await.unwrap();
    assert_eq!(next(&mut changes), Some(Ok(6)));
}
