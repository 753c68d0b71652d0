//! What a history holds, and what it says of what it does not.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use herdless_core::{
    Acl, Auth, Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Permissions, Refusal, Reply, Request, Secret,
    SessionId, Version,
};
use herdless_memory::MemoryServer;
use herdless_wrappers::{Entry, Faulty, History, Invocation, Rule};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// All of them, none missing.
fn whole(entries: impl Iterator<Item = Entry>) -> Vec<Invocation> {
    let invocation = |entry| match entry {
        Entry::Invocation(invocation) => invocation,
        Entry::Overflow(overflow) => panic!("{overflow:?}"),
    };
    entries.map(invocation).collect()
}

#[tokio::test]
async fn who_asked_what_when_and_how_it_ended() {
    let (server, history) = (MemoryServer::new(), History::new(10));
    let (one, two) = (history.record(server.connect()), history.record(server.connect()));
    let created = one.create(&path("/a"), "x", CreateMode::Persistent).await.unwrap();
    // Under way together: answered in another order than asked.
    let (first, second) = (one.get(&path("/b")), two.clone().exists(&path("/a")));
    assert_eq!(second.await.unwrap(), Some(created.stat));
    assert_eq!(first.await, Err(Refusal::NoNode.into()));
    let session = two.session().id();
    server.expire(two.inner());
    two.sync(&path("/a")).await.unwrap();

    let entries = whole(history.entries());
    let times: Vec<_> = entries.iter().map(|entry| (entry.invoked, entry.returned.as_ref().unwrap().at)).collect();
    assert_eq!(times, [(1, 2), (3, 6), (4, 5), (7, 8)]);
    assert_eq!(entries.iter().map(|entry| entry.process).collect::<Vec<_>>(), [1, 1, 2, 2]);
    let sessions: Vec<_> = entries.iter().map(|entry| entry.session).collect();
    assert_eq!(sessions, [SessionId(1), SessionId(1), session, two.session().id()]);
    let outcomes: Vec<_> = entries.into_iter().map(|entry| entry.returned.unwrap().outcome).collect();
    assert_eq!(outcomes[..2], [Ok(Reply::Created(created.clone())), Err(Refusal::NoNode.into())]);
    assert_eq!(outcomes[2..], [Ok(Reply::Exists(Some(created.stat))), Ok(Reply::Synced(path("/a")))]);
}

#[tokio::test]
async fn a_response_that_is_dropped_is_open() {
    let (server, history) = (MemoryServer::new(), History::new(10));
    let client = history.record(Faulty::new(server.connect()));
    // Dropped: open, and over. Under way: open so far.
    drop(client.set(&path("/a"), "x", Version::ANY));
    let mut read = client.get(&path("/a"));
    assert!(whole(history.entries()).iter().all(|entry| entry.returned.is_none()));
    assert_eq!(whole(history.drain()).len(), 1);
    assert!(poll(&mut read).is_ready());
    let entries = whole(history.drain());
    assert_eq!((entries.len(), entries[0].invoked, entries[0].returned.as_ref().unwrap().at), (1, 2, 3));

    // With an undo the outcome is known once the undo is told.
    let held = client.inner().inject(Rule::hold_reply());
    drop(client.get(&path("/a")).on_abandon(|_| {}));
    drop(client.get(&path("/a")));
    assert_eq!(whole(history.entries())[0].returned, None);
    assert_eq!(whole(history.drain()).len(), 1, "the one without an undo");
    held.lift();
    let entries = whole(history.drain());
    assert_eq!((entries[0].invoked, entries[0].returned.as_ref().unwrap().at), (4, 6));
    assert_eq!(history.entries().count(), 0);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted() {
    let (server, history) = (MemoryServer::new(), History::new(3));
    let client = history.record(server.connect());
    let mut under_way = client.sync(&path("/a"));
    for _ in 0..5 {
        client.exists(&path("/a")).await.unwrap();
    }
    let Some(Entry::Overflow(overflow)) = history.entries().last() else { panic!("{history}") };
    // Two of the five were kept, at 2 and 4.
    assert_eq!((overflow.requests, overflow.first, overflow.last), (3, 6, 8));
    assert!(history.to_string().ends_with("\n[6, 8] overflow: 3 requests are missing\n"));
    assert_eq!(history.entries().count(), 4);
    let drained: Vec<_> = history.drain().collect();
    assert!(matches!(drained[..], [Entry::Invocation(_), Entry::Invocation(_), Entry::Overflow(_)]), "{drained:?}");
    // There is room again, and what is under way has not been forgotten.
    client.exists(&path("/a")).await.unwrap();
    assert!(poll(&mut under_way).is_ready());
    let times = whole(history.drain()).into_iter().map(|entry| (entry.invoked, entry.returned.unwrap().at));
    assert_eq!(times.collect::<Vec<_>>(), [(1, 11), (9, 10)]);
}

/// In any notation: not in what is kept, and not in the text.
#[tokio::test]
async fn credentials_are_not_kept() {
    const PASSWORD: &str = "c4nary-Pa55word";
    let (server, history) = (MemoryServer::new(), History::new(100));
    let client = history.record(server.connect());
    client.authenticate("digest", format!("user:{PASSWORD}")).await.unwrap();
    let acl = vec![Acl::digest(Permissions::ALL, "user", PASSWORD)];
    let hash = acl[0].id.strip_prefix("user:").unwrap().to_owned();
    client.create_with_acl(&path("/a"), "", CreateMode::Persistent, acl.clone()).await.unwrap();
    client.set_acl(&path("/a"), acl.clone(), Version::ANY).await.unwrap();
    let create = herdless_core::Create {
        path: path("/b"),
        data: "".into(),
        acl: acl.clone().into(),
        mode: CreateMode::Persistent,
    };
    client.multi(vec![MultiOp::Create(create)]).await.unwrap();
    // What the caller gets is whole.
    assert_eq!(client.acl(&path("/a")).await.unwrap().0, acl);

    let text = history.to_string();
    assert_eq!(text.lines().count(), 5);
    assert_eq!(text.matches("\"user:\"").count(), 4, "{text}");
    for secret in [PASSWORD, &hash] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(secret) && !text.contains(&hex), "{text}");
    }
    for entry in whole(history.drain()) {
        if let Request::Auth(Auth { credentials, .. }) = entry.request {
            assert_eq!(credentials, Secret::new(Vec::new()));
        }
    }
}

/// What a checker of this history can rely on: a change that had returned before another was invoked is the earlier one.
#[tokio::test(flavor = "current_thread")]
async fn the_clock_is_that_of_real_time() {
    const CLIENTS: usize = 4;
    let (server, history) = (MemoryServer::new(), History::new(10_000));
    server.connect().create(&path("/a"), "0", CreateMode::Persistent).await.unwrap();
    let threads = (0..CLIENTS).map(|_| {
        let client = Arc::new(history.record(server.connect()));
        std::thread::Builder::new().spawn(move || {
            for _ in 0..200 {
                let mut set = client.set(&path("/a"), "x", Version::ANY);
                assert!(poll(&mut set).is_ready());
            }
        })
    });
    let threads: Vec<_> = threads.collect::<Result<_, _>>().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let writes = whole(history.drain()).into_iter().map(|entry| {
        let returned = entry.returned.unwrap();
        match returned.outcome {
            Ok(Reply::Set(stat)) => (entry.invoked, returned.at, stat.mzxid),
            other => panic!("{other:?}"),
        }
    });
    let writes: Vec<_> = writes.collect();
    assert_eq!(writes.len(), CLIENTS * 200);
    for (_, returned, zxid) in &writes {
        assert!(writes.iter().all(|(invoked, _, later)| invoked < returned || later > zxid));
    }
}

#[tokio::test]
async fn errors_are_outcomes() {
    let (server, history) = (MemoryServer::new(), History::new(10));
    let client = history.record(Faulty::new(server.connect()));
    let lost = client.inner().inject(Rule::lose_reply().nth(1));
    assert_eq!(client.create(&path("/a"), "", CreateMode::Persistent).await, Err(Error::ConnectionLost));
    let line = history.to_string();
    assert!(
        line.starts_with("[1, 2] process 1, session 0x1: Create(") && line.ends_with("-> ConnectionLost\n"),
        "{line}"
    );
    assert_eq!(lost.hits(), 1);
}
