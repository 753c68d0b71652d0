//! Following a node, over the in-memory backend.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use herdless_core::{
    Bytes, Client, ClientExt, CreateMode, Error, Follow, Followed, NodePath, Refusal, Request, Response, Session, Stat,
    Version, Watch, WatchOutcome, WatchSource, WatcherType,
};
use herdless_memory::{ManualTime, MemoryServer};

mod support;

use support::Counting;

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

/// What is there to be told now, `None` where it waits.
fn next<T>(states: &mut Follow<T>) -> Option<Result<Followed<T>, Error>> {
    match Pin::new(states).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(item) => Some(item.expect("it has not ended")),
        Poll::Pending => None,
    }
}

fn is_over<T>(states: &mut Follow<T>) -> bool {
    let next = Pin::new(states).poll_next(&mut Context::from_waker(Waker::noop()));
    matches!(next, Poll::Ready(None))
}

fn state<T>(states: &mut Follow<T>) -> Option<T> {
    next(states).expect("news").unwrap().state
}

fn text(state: Option<(Bytes, Stat)>) -> Option<String> {
    state.map(|(data, _)| String::from_utf8(data.to_vec()).unwrap())
}

#[tokio::test]
async fn data_is_told_as_the_latest_each_time() {
    let server = MemoryServer::new();
    let (client, other) = (Counting::new(&server), server.connect());
    let mut states = client.follow_data(&path("/a"));
    assert_eq!(client.requests(), [] as [&str; 0], "nothing is sent before it is polled");
    assert_eq!(text(state(&mut states)), None);
    assert_eq!(next(&mut states), None);
    assert_eq!(client.requests(), ["get_data", "exists"]);
    other.create(&path("/a"), "1", CreateMode::Persistent).await.unwrap();
    assert_eq!(text(state(&mut states)).unwrap(), "1");
    for data in ["2", "3", "4"] {
        other.set(&path("/a"), data, Version::ANY).await.unwrap();
    }
    assert_eq!(text(state(&mut states)).unwrap(), "4", "those in between were never read");
    assert_eq!(next(&mut states), None);
    assert_eq!(client.requests(), ["get_data", "get_data"]);
    // Deleted and made again between two reads: one change.
    other.delete(&path("/a"), Version::ANY).await.unwrap();
    other.create(&path("/a"), "4", CreateMode::Persistent).await.unwrap();
    assert_eq!(text(state(&mut states)).unwrap(), "4");
    assert_eq!(next(&mut states), None);
    other.delete(&path("/a"), Version::ANY).await.unwrap();
    assert_eq!(text(state(&mut states)), None);
}

#[tokio::test]
async fn existence_is_told_without_what_is_written() {
    let server = MemoryServer::new();
    let (client, other) = (Counting::new(&server), server.connect());
    let mut states = client.follow_existence(&path("/a"));
    assert_eq!(state(&mut states), None);
    let made = other.create(&path("/a"), "", CreateMode::Persistent).await.unwrap().stat;
    assert_eq!(state(&mut states), Some(made));
    other.set(&path("/a"), "x", Version::ANY).await.unwrap();
    assert_eq!(next(&mut states), None);
    assert_eq!(client.requests(), ["exists"; 3]);
    other.delete(&path("/a"), Version::ANY).await.unwrap();
    let made = other.create(&path("/a"), "", CreateMode::Persistent).await.unwrap().stat;
    assert_eq!(state(&mut states), Some(made), "another node");
    other.delete(&path("/a"), Version::ANY).await.unwrap();
    assert_eq!(state(&mut states), None);
    assert_eq!(next(&mut states), None);
}

#[tokio::test]
async fn children_are_told_also_of_a_node_that_comes_and_goes() {
    let server = MemoryServer::new();
    let (client, other) = (server.connect(), server.connect());
    let mut states = client.follow_children(&path("/a"));
    let names = |state: Option<(Vec<String>, Stat)>| state.map(|(names, _)| names);
    assert_eq!(names(state(&mut states)), None);
    other.create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(names(state(&mut states)), Some(vec![]));
    other.create(&path("/a/b"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(names(state(&mut states)), Some(vec!["b".into()]));
    other.set(&path("/a"), "x", Version::ANY).await.unwrap();
    other.set(&path("/a/b"), "x", Version::ANY).await.unwrap();
    assert_eq!(next(&mut states), None);
    other.delete(&path("/a/b"), Version::ANY).await.unwrap();
    other.delete(&path("/a"), Version::ANY).await.unwrap();
    assert_eq!(names(state(&mut states)), None);
}

#[tokio::test]
async fn a_lost_connection_costs_no_read_and_misses_nothing() {
    let server = MemoryServer::new();
    let (client, other) = (Counting::new(&server), server.connect());
    other.create(&path("/a"), "1", CreateMode::Persistent).await.unwrap();
    let mut states = client.follow_data(&path("/a"));
    assert_eq!(text(state(&mut states)).unwrap(), "1");
    client.requests();
    server.disconnect(&client.client);
    server.reconnect(&client.client);
    assert_eq!(next(&mut states), None);
    assert_eq!(client.requests(), [] as [&str; 0]);
    server.disconnect(&client.client);
    other.set(&path("/a"), "2", Version::ANY).await.unwrap();
    assert_eq!(next(&mut states), None);
    server.reconnect(&client.client);
    assert_eq!(text(state(&mut states)).unwrap(), "2");
    // The reply to the read is lost.
    server.lose_reply_after(&client.client, 0);
    other.set(&path("/a"), "3", Version::ANY).await.unwrap();
    assert_eq!(text(state(&mut states)).unwrap(), "3");
}

#[tokio::test]
async fn it_goes_on_in_the_next_session_and_says_so() {
    let server = MemoryServer::new();
    let (client, other) = (Counting::new(&server), server.connect());
    other.create(&path("/a"), "1", CreateMode::Persistent).await.unwrap();
    let mut states = client.follow_data(&path("/a"));
    let first = next(&mut states).unwrap().unwrap();
    assert_eq!(first.session, client.session().id());
    client.requests();
    server.expire(&client.client);
    let second = next(&mut states).unwrap().unwrap();
    assert_eq!(client.requests(), ["sync", "get_data"], "the next server may be behind");
    assert_eq!((second.state, second.session), (first.state, client.session().id()));
    assert_ne!(second.session, first.session);
    other.set(&path("/a"), "2", Version::ANY).await.unwrap();
    assert_eq!(text(state(&mut states)).unwrap(), "2");
}

#[tokio::test]
async fn it_ends_with_what_cannot_be_helped() {
    let server = MemoryServer::new();
    let client = server.connect();
    let mut closed = client.follow_children(&path("/"));
    let mut removed = client.follow_existence(&path("/"));
    assert!(next(&mut closed).is_some() && next(&mut removed).is_some());
    client.remove_watches(&path("/"), WatcherType::Data).await.unwrap();
    assert_eq!(next(&mut removed), Some(Err(Refusal::NoWatcher.into())));
    assert!(is_over(&mut removed));
    client.close().await.unwrap();
    assert_eq!(next(&mut closed).map(|item| item.unwrap_err()), Some(Error::Closed));
    assert!(is_over(&mut closed));
}

/// A client whose next requests end with these errors, the last one first.
#[derive(Clone)]
struct Overdue {
    client: Counting,
    errors: Arc<Mutex<Vec<Error>>>,
}

impl Client for Overdue {
    fn submit(&self, request: Request) -> Response {
        match self.errors.lock().unwrap().pop() {
            Some(error) => Response::ready(Err(error)),
            None => self.client.submit(request),
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_read_that_was_not_answered_in_time_is_asked_again() {
    let server = MemoryServer::new();
    let client = Overdue { client: Counting::new(&server), errors: Arc::default() };
    *client.errors.lock().unwrap() = vec![Error::TIMED_OUT, Error::NotSent, Error::ConnectionLost];
    let mut states = client.follow_existence(&path("/"));
    assert!(state(&mut states).is_some());
    assert_eq!(client.client.requests(), ["exists"]);
}

/// A client whose watches never fire, while it is so.
#[derive(Clone)]
struct Deaf {
    client: Counting,
    is_deaf: Arc<AtomicBool>,
}

struct Never;

impl WatchSource for Never {
    fn poll_fired(&self, _: &mut Context<'_>) -> Poll<WatchOutcome> {
        Poll::Pending
    }

    fn abandon(&self) {}
}

impl Client for Deaf {
    fn submit(&self, request: Request) -> Response {
        let is_deaf = self.is_deaf.load(Ordering::Relaxed);
        self.client.submit(request).map(move |outcome| {
            let mut answer = outcome?;
            if is_deaf {
                answer.watch = answer.watch.map(|_| Watch::new(Arc::new(Never)));
            }
            Ok(answer)
        })
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn reconciling_finds_what_no_event_has_told() {
    let server = MemoryServer::new();
    let (other, time) = (server.connect(), ManualTime::new());
    let client = Deaf { client: Counting::new(&server), is_deaf: Arc::new(true.into()) };
    other.create(&path("/a"), "1", CreateMode::Persistent).await.unwrap();
    let minute = Duration::from_secs(60);
    let mut states = client.follow_data(&path("/a")).reconcile_every(minute, time.clone());
    assert_eq!(text(state(&mut states)).unwrap(), "1");
    other.set(&path("/a"), "2", Version::ANY).await.unwrap();
    client.client.requests();
    time.advance(minute - Duration::from_millis(1));
    assert_eq!(next(&mut states), None);
    assert_eq!(client.client.requests(), [] as [&str; 0]);
    client.is_deaf.store(false, Ordering::Relaxed);
    time.advance(Duration::from_millis(1));
    assert_eq!(text(state(&mut states)).unwrap(), "2");
    // It left a watch anew, and the same state is no news.
    other.set(&path("/a"), "3", Version::ANY).await.unwrap();
    assert_eq!(text(state(&mut states)).unwrap(), "3");
    client.client.requests();
    time.advance(minute);
    assert_eq!(next(&mut states), None);
    assert_eq!(client.client.requests(), ["get_data"]);
    assert_eq!(time.sleepers(), 1);
    drop(states);
    assert_eq!(time.sleepers(), 0);
}
