//! Watches that stay: what each of the two modes tells, and to whom.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use herdless_core::EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
use herdless_core::{
    Acl, AddWatchMode, Chroot, Client, ClientExt, CreateMode, Error, EventKind, MultiOp, NodePath, Notice, Refusal,
    Version, WatchEvent, WatchStream, WatcherType,
};

use crate::expect::{expect_event, expect_refused};
use crate::{Backend, Scene};

const ONE: AddWatchMode = AddWatchMode::Persistent;
const ALL: AddWatchMode = AddWatchMode::PersistentRecursive;

type Told = Vec<Result<Notice, Error>>;

/// The next thing that the stream tells; `None` where it is over.
async fn next(stream: &mut WatchStream) -> Option<Result<Notice, Error>> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// What waits in the stream now.
async fn waiting(stream: &mut WatchStream) -> Told {
    let mut told = Vec::new();
    poll_fn(|cx| {
        while let Poll::Ready(Some(notice)) = Pin::new(&mut *stream).poll_next(cx) {
            told.push(notice);
        }
        Poll::Ready(())
    })
    .await;
    told
}

/// What the stream has told since it was last asked, of all that was written before. By the contract an event is there before
/// the reply, so there is nothing to wait for.
async fn told<C: Client>(client: &C, stream: &mut WatchStream) -> Told {
    client.settle(&NodePath::root()).await.expect("a server that answers");
    waiting(stream).await
}

fn events<const N: usize>(events: [(EventKind, &NodePath); N]) -> Told {
    events.map(|(kind, path)| Ok(Notice::Event(WatchEvent { kind, path: path.clone() }))).into()
}

async fn is_watched<C: Client>(client: &C, path: &NodePath) -> bool {
    match client.check_watches(path, WatcherType::Any).await {
        Ok(()) => true,
        Err(Error::Refused(Refusal::NoWatcher)) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn a_persistent_watch_tells_of_its_node_and_its_children_again_and_again<B: Backend>(
    scene: &Scene<'_, B>,
) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let mut stream = client.add_watch(&path, ONE).await.unwrap();
    for _ in 0..2 {
        let (child, _) = scene.node(&other, "a/b").await;
        other.set(&child, "y", Version::ANY).await.unwrap();
        scene.node(&other, "a/b/c").await;
        other.delete(&scene.path("a/b/c"), Version::ANY).await.unwrap();
        other.delete(&child, Version::ANY).await.unwrap();
        other.set(&path, "y", Version::ANY).await.unwrap();
        other.set_acl(&path, Acl::open(), Version::ANY).await.unwrap();
        other.delete(&path, Version::ANY).await.unwrap();
        scene.node(&other, "a").await;
        let kinds = [ChildrenChanged, ChildrenChanged, DataChanged, Deleted, Created];
        assert_eq!(told(&client, &mut stream).await, events(kinds.map(|kind| (kind, &path))));
    }
}

pub(crate) async fn a_recursive_watch_tells_of_every_node_below_and_of_no_children<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (a, _) = scene.node(&client, "a").await;
    // Its name begins as that of the node that is watched.
    let (beside, _) = scene.node(&client, "ab").await;
    let mut stream = client.add_watch(&a, ALL).await.unwrap();
    for _ in 0..2 {
        let ((b, _), (c, _)) = (scene.node(&other, "a/b").await, scene.node(&other, "a/b/c").await);
        for path in [&c, &b, &a, &beside] {
            other.set(path, "y", Version::ANY).await.unwrap();
            other.set_acl(path, Acl::open(), Version::ANY).await.unwrap();
        }
        for path in [&c, &b, &a] {
            other.delete(path, Version::ANY).await.unwrap();
        }
        scene.node(&other, "a").await;
        let expected = [
            (Created, &b),
            (Created, &c),
            (DataChanged, &c),
            (DataChanged, &b),
            (DataChanged, &a),
            (Deleted, &c),
            (Deleted, &b),
            (Deleted, &a),
            (Created, &a),
        ];
        assert_eq!(told(&client, &mut stream).await, events(expected));
    }
}

pub(crate) async fn a_watch_that_stays_may_wait_for_its_node<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (a, b) = (scene.path("a"), scene.path("a/b"));
    let other_client = scene.connect().await;
    let mut one = client.add_watch(&a, ONE).await.unwrap();
    let mut all = other_client.add_watch(&a, ALL).await.unwrap();
    scene.node(&other, "a").await;
    scene.node(&other, "a/b").await;
    assert_eq!(told(&client, &mut one).await, events([(Created, &a), (ChildrenChanged, &a)]));
    assert_eq!(told(&other_client, &mut all).await, events([(Created, &a), (Created, &b)]));
}

pub(crate) async fn every_client_on_one_path_hears_what_its_own_mode_tells<B: Backend>(scene: &Scene<'_, B>) {
    let writer = scene.connect().await;
    let (path, _) = scene.node(&writer, "a").await;
    let mut listeners = Vec::new();
    for mode in [ONE, ALL, ONE, ALL] {
        let client = scene.connect().await;
        let stream = client.add_watch(&path, mode).await.unwrap();
        listeners.push((client, mode, stream));
    }
    for round in 0..3 {
        writer.set(&path, "y", Version::ANY).await.unwrap();
        let (child, _) = scene.node(&writer, &format!("a/{round}")).await;
        for (client, mode, stream) in &mut listeners {
            let of_child = if *mode == ONE { (ChildrenChanged, &path) } else { (Created, &child) };
            assert_eq!(told(client, stream).await, events([(DataChanged, &path), of_child]));
        }
        // One less, which the others do not notice.
        drop(listeners.remove(0));
    }
}

pub(crate) async fn several_streams_and_watches_of_one_client_all_hear<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let child = scene.path("a/b");
    let mut all = client.add_watch(&path, ALL).await.unwrap();
    let mut one = client.add_watch(&path, ONE).await.unwrap();
    let mut again = client.add_watch(&path, ONE).await.unwrap();
    for _ in 0..2 {
        let (_, on_data) = client.get_and_watch(&path).await.unwrap();
        let (_, on_node) = client.exists_and_watch(&path).await.unwrap();
        let (_, on_children) = client.children_and_watch(&path).await.unwrap();
        other.set(&path, "y", Version::ANY).await.unwrap();
        scene.node(&other, "a/b").await;
        expect_event(&client, on_data, DataChanged, &path).await;
        expect_event(&client, on_node, DataChanged, &path).await;
        expect_event(&client, on_children, ChildrenChanged, &path).await;
        other.delete(&child, Version::ANY).await.unwrap();
        for stream in [&mut one, &mut again] {
            let kinds = [DataChanged, ChildrenChanged, ChildrenChanged];
            assert_eq!(told(&client, stream).await, events(kinds.map(|kind| (kind, &path))));
        }
        let expected = [(DataChanged, &path), (Created, &child), (Deleted, &child)];
        assert_eq!(told(&client, &mut all).await, events(expected));
    }
}

/// The writer itself watches: what its write fires is there before the reply.
pub(crate) async fn a_stream_has_the_event_before_the_reply_of_ones_own_write<B: Backend>(scene: &Scene<'_, B>) {
    for mode in [ONE, ALL] {
        let client = scene.connect().await;
        let (path, _) = scene.node(&client, if mode == ONE { "one" } else { "all" }).await;
        let mut stream = client.add_watch(&path, mode).await.unwrap();
        for _ in 0..20 {
            client.set(&path, "y", Version::ANY).await.unwrap();
            assert_eq!(waiting(&mut stream).await, events([(DataChanged, &path)]));
        }
    }
}

/// Somebody else writes: what a read shows has been told before.
pub(crate) async fn a_stream_has_the_event_before_a_read_shows_the_change<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let mut stream = client.add_watch(&path, ALL).await.unwrap();
    for version in 1..=50 {
        // Without waiting for it: the reads race with the change.
        let write = other.set(&path, "y", Version::ANY);
        while client.get(&path).await.unwrap().1.version < version {}
        assert_eq!(waiting(&mut stream).await, events([(DataChanged, &path)]));
        write.await.unwrap();
    }
}

pub(crate) async fn a_multi_is_told_operation_by_operation<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (a, _) = scene.node(&client, "a").await;
    let b = scene.path("a/b");
    let mut stream = client.add_watch(&a, ALL).await.unwrap();
    let create = MultiOp::create(&b, "x", CreateMode::Persistent);
    let (set, delete) = (MultiOp::set(&a, "y", Version::ANY), MultiOp::delete(&b, Version::ANY));
    other.multi(vec![create.clone(), set.clone(), delete]).await.unwrap();
    let refused = vec![set, create, MultiOp::check(&a, Version(7))];
    assert!(other.multi(refused).await.is_err());
    assert_eq!(told(&client, &mut stream).await, events([(Created, &b), (DataChanged, &a), (Deleted, &b)]));
}

pub(crate) async fn a_recursive_watch_tells_of_the_nodes_that_a_session_leaves<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let mut stream = client.add_watch(&scene.root(), ALL).await.unwrap();
    let mine = other.create(&scene.path("mine"), "", CreateMode::Ephemeral).await.unwrap().path;
    other.close().await.unwrap();
    assert_eq!(told(&client, &mut stream).await, events([(Created, &mine), (Deleted, &mine)]));
}

pub(crate) async fn the_servers_watch_goes_with_the_last_stream<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    assert!(!is_watched(&client, &path).await);
    let mut all = client.add_watch(&path, ALL).await.unwrap();
    let mut one = client.add_watch(&path, ONE).await.unwrap();
    assert!(is_watched(&client, &path).await);
    drop(all);
    other.set(&path, "y", Version::ANY).await.unwrap();
    assert_eq!(told(&client, &mut one).await, events([(DataChanged, &path)]));
    drop(one);
    assert!(!is_watched(&client, &path).await);
    // And may be left again.
    all = client.add_watch(&path, ALL).await.unwrap();
    other.set(&path, "z", Version::ANY).await.unwrap();
    assert_eq!(told(&client, &mut all).await, events([(DataChanged, &path)]));
}

pub(crate) async fn a_dropped_stream_harms_no_watch_of_the_same_node<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    for mode in [ONE, ALL] {
        let stream = client.add_watch(&path, mode).await.unwrap();
        let (_, on_data) = client.get_and_watch(&path).await.unwrap();
        let (_, on_children) = client.children_and_watch(&path).await.unwrap();
        drop(stream);
        assert!(is_watched(&client, &path).await, "by the reads");
        other.set(&path, "y", Version::ANY).await.unwrap();
        expect_event(&client, on_data, DataChanged, &path).await;
        let (child, _) = scene.node(&other, "a/b").await;
        expect_event(&client, on_children, ChildrenChanged, &path).await;
        other.delete(&child, Version::ANY).await.unwrap();
    }
}

pub(crate) async fn watches_that_are_taken_away_say_so<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let mut stream = client.add_watch(&path, ONE).await.unwrap();
    let mut others = other.add_watch(&path, ONE).await.unwrap();
    let (_, read) = client.get_and_watch(&path).await.unwrap();
    client.remove_watches(&path, WatcherType::Any).await.unwrap();
    let gone = Error::Refused(Refusal::NoWatcher);
    assert_eq!(next(&mut stream).await, Some(Err(gone.clone())));
    assert_eq!(read.await, Err(gone));
    expect_refused(client.remove_watches(&path, WatcherType::Any).await, Refusal::NoWatcher);
    client.set(&path, "y", Version::ANY).await.unwrap();
    assert_eq!(waiting(&mut stream).await, []);
    assert_eq!(told(&other, &mut others).await, events([(DataChanged, &path)]), "others keep theirs");
}

/// Apache ZooKeeper before 3.9 answers for all clients (`WatchManager.containsWatcher`).
pub(crate) async fn one_is_told_of_ones_own_watches_only<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let stream = client.add_watch(&path, ALL).await.unwrap();
    assert!(is_watched(&client, &path).await);
    assert!(!is_watched(&other, &path).await);
    let others = other.add_watch(&path, ONE).await.unwrap();
    drop(stream);
    assert!(!is_watched(&client, &path).await);
    drop(others);
}

pub(crate) async fn a_reader_that_is_too_slow_is_told_that_it_missed_some<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let mut stream = client.add_watch(&path, ALL).await.unwrap();
    for _ in 0..WatchStream::CAPACITY.div_ceil(64) + 1 {
        let writes: Vec<_> = (0..64).map(|_| other.set(&path, "y", Version::ANY)).collect();
        for write in writes {
            write.await.unwrap();
        }
    }
    let told_late = told(&client, &mut stream).await;
    assert_eq!(told_late[0], Ok(Notice::Gap));
    assert!(told_late.len() <= WatchStream::CAPACITY + 1, "{} notices", told_late.len());
    assert!(told_late[1..].iter().all(|notice| matches!(notice, Ok(Notice::Event(_)))));
    other.set(&path, "z", Version::ANY).await.unwrap();
    assert_eq!(told(&client, &mut stream).await, events([(DataChanged, &path)]));
}

pub(crate) async fn a_stream_below_a_chroot_has_its_paths<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (app, _) = scene.node(&client, "app").await;
    let inside = Chroot::new(client.clone(), app);
    let (root, a) = (NodePath::root(), NodePath::parse("/a").expect("a path"));
    let mut all = inside.add_watch(&root, ALL).await.unwrap();
    scene.node(&client, "app/a").await;
    client.set(&scene.path("app"), "y", Version::ANY).await.unwrap();
    assert_eq!(told(&client, &mut all).await, events([(Created, &a), (DataChanged, &root)]));
    assert!(is_watched(&inside, &root).await && !is_watched(&inside, &a).await);
}

pub(crate) async fn streams_end_with_their_client<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&other, "a").await;
    let mut streams = [client.add_watch(&path, ONE).await.unwrap(), client.add_watch(&path, ALL).await.unwrap()];
    client.close().await.unwrap();
    for stream in &mut streams {
        assert_eq!(next(stream).await, Some(Err(Error::Closed)));
        assert_eq!(next(stream).await, None);
    }
}

pub(crate) async fn streams_end_with_their_session<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    let (path, _) = scene.node(&client, "a").await;
    let mut streams = [client.add_watch(&path, ONE).await.unwrap(), client.add_watch(&path, ALL).await.unwrap()];
    scene.expire(&client).await;
    for stream in &mut streams {
        assert_eq!(next(stream).await, Some(Err(Error::SessionExpired)));
        assert_eq!(next(stream).await, None);
    }
    client.set(&path, "y", Version::ANY).await.unwrap();
    assert!(!is_watched(&client, &path).await, "the next session has none");
}

pub(crate) async fn a_stream_tells_of_a_gap_after_a_reconnect<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let ((path, _), (quiet, _)) = (scene.node(&client, "a").await, scene.node(&client, "quiet").await);
    let mut streams = [
        client.add_watch(&path, ONE).await.unwrap(),
        client.add_watch(&path, ALL).await.unwrap(),
        // Nothing happens to it, which nobody can know.
        client.add_watch(&quiet, ONE).await.unwrap(),
    ];
    for round in 0_u32..2 {
        scene.disconnect(&client).await;
        other.settle(&path).await.unwrap();
        other.set(&path, round.to_string(), Version::ANY).await.unwrap();
        scene.reconnect(&client).await;
        // What is read behind the gap is not older than the gap.
        assert_eq!(client.get(&path).await.unwrap().0, round.to_string());
        for stream in &mut streams {
            assert_eq!(told(&client, stream).await, [Ok(Notice::Gap)]);
        }
        other.set(&path, "heard", Version::ANY).await.unwrap();
        for stream in &mut streams[..2] {
            assert_eq!(told(&client, stream).await, events([(DataChanged, &path)]));
        }
    }
}

pub(crate) async fn a_reconnected_stream_still_frees_its_watch<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let ((path, _), (gone, _)) = (scene.node(&client, "a").await, scene.node(&client, "gone").await);
    let stream = client.add_watch(&path, ALL).await.unwrap();
    let dropped_meanwhile = client.add_watch(&gone, ONE).await.unwrap();
    scene.disconnect(&client).await;
    drop(dropped_meanwhile);
    scene.reconnect(&client).await;
    assert!(is_watched(&client, &path).await);
    assert!(!is_watched(&client, &gone).await);
    drop(stream);
    assert!(!is_watched(&client, &path).await);
}
