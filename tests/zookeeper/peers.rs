//! The peers among themselves: that they do what the interop tests take them to do.

use futures::future::join_all;
use herdless::{ClientExt, CreateMode, Version};

use crate::support::{Peer, Place, World, is_pending, run, until};

/// Asks for what is to be answered by "ok".
async fn ok(peer: &Peer, command: &str) {
    assert_eq!(peer.ask(command).await, "ok", "{command}");
}

/// Two processes of one kind.
#[derive(Clone, Copy)]
enum Kind {
    Curator,
    Kazoo,
}

impl Kind {
    async fn pair(self, world: &World) -> Option<[Peer; 2]> {
        Some([self.start(world).await?, self.start(world).await?])
    }

    async fn start(self, world: &World) -> Option<Peer> {
        match self {
            Self::Curator => Peer::curator(world).await,
            Self::Kazoo => Peer::kazoo(world).await,
        }
    }
}

/// Runs each scenario, an `async fn(&World, Peer, Peer)`, with two of each kind that are named.
macro_rules! among {
    ($($module:ident $kind:ident: $($name:ident)*;)*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let name = concat!(stringify!($module), "-", stringify!($name));
                let Some(world) = super::World::zookeeper(name) else {
                    return;
                };
                let Some([one, other]) = super::Kind::$kind.pair(&world).await else {
                    return;
                };
                super::run(&world, async |world: &super::World| {
                    super::$name(world, &one, &other).await;
                    one.quit().await;
                    other.quit().await;
                })
                .await;
            })*
        })*
    };
}

among! {
    curator Curator: exclude intrude readers_and_writers hand_over downgrades counts barriers double_barriers queues semaphores latches selectors atomics values simple_queues;
    kazoo Kazoo: exclude intrude readers_and_writers hand_over counts barriers double_barriers queues priorities elections counters;
}

/// What the loops answer that are begun, in this order, while the lock is held, so that all are in line at once.
async fn loops(world: &World, gate: (&Peer, &str), loops: &[(&Peer, String)]) -> Vec<String> {
    let (holder, kind) = gate;
    let client = world.connect().await;
    ok(holder, &format!("{kind} acquire gate {}", world.path())).await;
    let mut answers = Vec::new();
    for (peer, command) in loops {
        answers.push(peer.ask(command));
        world.until_in_line(&client, answers.len() + 1).await;
    }
    ok(holder, &format!("{kind} release gate")).await;
    join_all(answers).await
}

async fn exclude(world: &World, one: &Peer, other: &Peer) {
    const ROUNDS: u64 = 100;
    let place = Place::new(world).await;
    let command = format!("loop mutex {} {ROUNDS} {}", world.path(), place.path());
    let answers = loops(world, (one, "mutex"), &[(one, command.clone()), (other, command)]).await;
    assert_eq!(answers, ["ok 0", "ok 0"]);
    let (visits, turns) = place.tally().await;
    assert_eq!(visits, 2 * ROUNDS);
    assert!(turns > 2, "hardly any interleaving: {turns}");
}

/// The company that a loop had.
fn company(answer: &str) -> u64 {
    answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

async fn readers_and_writers(world: &World, one: &Peer, other: &Peer) {
    const ROUNDS: u64 = 100;
    let place = Place::new(world).await;
    let command = |kind: &str| format!("loop {kind} {} {ROUNDS} {}", world.path(), place.path());
    let (read, write) = (command("read"), command("write"));
    let commands = [(one, read.clone()), (other, read), (one, write.clone()), (other, write)];
    let answers = loops(world, (one, "write"), &commands).await;
    println!("readers met {} times", company(&answers[0]) + company(&answers[1]));
    assert_eq!(answers[2..], ["ok 0", "ok 0"]);
    let (visits, turns) = place.tally().await;
    assert_eq!(visits, 2 * ROUNDS);
    assert!(turns > 2, "hardly any interleaving: {turns}");
}

/// The loops do see it when somebody is inside who should not be.
async fn intrude(world: &World, one: &Peer, other: &Peer) {
    let client = world.connect().await;
    let place = Place::new(world).await;
    let command = |kind: &str| format!("loop {kind} {} 1 {}", world.path(), place.path());
    let verdicts = async || {
        let answers = [other.ask(&command("mutex")).await, one.ask(&command("read")).await];
        answers.map(|answer| if answer.starts_with("violation ") { "violation".to_owned() } else { answer })
    };
    assert_eq!(verdicts().await, ["ok 0", "ok 0"]);
    for (intruder, expected) in [("alone-x", ["violation"; 2]), ("shared-x", ["violation", "ok 1"])] {
        let node = place.path().child(intruder).unwrap();
        client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
        assert_eq!(verdicts().await, expected, "{intruder}");
        client.delete(&node, Version::ANY).await.unwrap();
    }
    assert_eq!(place.tally().await.0, 1, "who has met somebody has not written");
}

/// And our own visits see it.
#[tokio::test]
async fn we_see_who_should_not_be_inside() {
    let Some(world) = World::zookeeper("inside") else {
        return;
    };
    let place = Place::new(&world).await;
    let alone = |place: Place| async move { tokio::spawn(async move { place.visit_alone().await }).await };
    let shared = |place: Place, max| async move { tokio::spawn(async move { place.visit_shared(max).await }).await };
    assert!(alone(place.clone()).await.is_ok());
    assert!(!shared(place.clone(), 1).await.unwrap());

    let node = place.path().child("shared-x").unwrap();
    world.connect().await.create(&node, "", CreateMode::Persistent).await.unwrap();
    assert!(shared(place.clone(), 2).await.unwrap());
    assert!(shared(place.clone(), 1).await.unwrap_err().is_panic(), "more than one");
    // That one has left its node behind.
    assert!(shared(place.clone(), 3).await.unwrap());
    assert!(alone(place.clone()).await.unwrap_err().is_panic(), "not alone");
    assert!(shared(place.clone(), 9).await.unwrap_err().is_panic(), "with one who is to be alone");
    assert_eq!(place.tally().await, (1, 1));
}

/// One waits for the other, and tries in vain.
async fn hand_over(world: &World, one: &Peer, other: &Peer) {
    let (client, path) = (world.connect().await, world.path());
    for (held, wanted) in [("mutex", "mutex"), ("write", "write"), ("write", "read"), ("read", "write")] {
        ok(one, &format!("{held} acquire it {path}")).await;
        assert_eq!(other.ask(&format!("{wanted} try that {path} 50")).await, "no", "{held} and {wanted}");
        let mut wait = Box::pin(other.ask(&format!("{wanted} acquire that {path}")));
        world.until_in_line(&client, 2).await;
        assert!(is_pending(&mut wait).await, "{held} and {wanted}");
        ok(one, &format!("{held} release it")).await;
        assert_eq!(wait.await, "ok");
        ok(other, &format!("{wanted} release that")).await;
    }
    ok(one, &format!("read acquire it {path}")).await;
    ok(other, &format!("read try that {path} 60000")).await;
    ok(one, "read release it").await;
    ok(other, "read release that").await;
    world.until_empty(&client).await;
}

async fn downgrades(world: &World, one: &Peer, other: &Peer) {
    let (client, path) = (world.connect().await, world.path());
    ok(one, &format!("write acquire it {path}")).await;
    ok(one, &format!("read acquire it {path}")).await;
    let mut write = Box::pin(other.ask(&format!("write acquire that {path}")));
    world.until_in_line(&client, 3).await;
    ok(one, "write release it").await;
    assert_eq!(other.ask(&format!("read try another {path} 50")).await, "no", "a writer is ahead");
    assert!(is_pending(&mut write).await);
    ok(one, "read release it").await;
    assert_eq!(write.await, "ok");
    ok(other, "write release that").await;
}

async fn semaphores(world: &World, one: &Peer, other: &Peer) {
    const ROUNDS: u64 = 50;
    let path = world.path();
    let place = Place::new(world).await;
    let command = format!("loop semaphore {path} 2 {ROUNDS} {}", place.path());
    let (first, second, third) = tokio::join!(one.ask(&command), other.ask(&command), other.ask(&command));
    println!("holders met {} times", company(&first) + company(&second) + company(&third));

    let node = place.path().child("shared-x").unwrap();
    world.connect().await.create(&node, "", CreateMode::Persistent).await.unwrap();
    let alone = |max| one.ask(&format!("loop semaphore {} {max} 1 {}", world.beside("alone"), place.path()));
    assert_eq!(alone(2).await, "ok 1");
    assert!(alone(1).await.starts_with("violation "), "more are inside than permits");

    ok(one, &format!("semaphore acquire it {path} 2")).await;
    ok(one, &format!("semaphore try it {path} 2 60000")).await;
    assert_eq!(other.ask(&format!("semaphore try that {path} 2 50")).await, "no");
    ok(one, "semaphore release it").await;
    ok(one, "semaphore release it").await;

    let path = world.beside("one");
    ok(one, &format!("semaphore acquire single {path} 1")).await;
    let mut wait = Box::pin(other.ask(&format!("semaphore acquire wanted {path} 1")));
    assert_eq!(other.ask(&format!("semaphore try hasty {path} 1 50")).await, "no");
    assert!(is_pending(&mut wait).await);
    ok(one, "semaphore release single").await;
    assert_eq!(wait.await, "ok");
    ok(other, "semaphore release wanted").await;
}

async fn latches(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    ok(one, &format!("latch start it {path} first")).await;
    ok(one, "latch await it").await;
    ok(other, &format!("latch start that {path} second")).await;
    world.until_in_line(&world.connect().await, 2).await;
    assert_eq!(one.ask("latch leads it").await, "yes");
    assert_eq!(other.ask("latch leads that").await, "no");
    assert_eq!(other.ask("latch leader that").await, "first");
    assert_eq!(other.ask("latch participants that").await, "*first second");
    ok(one, "latch close it").await;
    ok(other, "latch await that").await;
    assert_eq!(other.ask("latch participants that").await, "*second");
    ok(other, "latch close that").await;
}

async fn selectors(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    ok(one, &format!("selector start it {path} first")).await;
    ok(one, "selector await it").await;
    ok(other, &format!("selector start that {path} second")).await;
    world.until_in_line(&world.connect().await, 2).await;
    assert_eq!(other.ask("selector leads that").await, "no");
    assert_eq!(other.ask("selector leader that").await, "first");
    assert_eq!(one.ask("selector participants it").await, "*first second");
    ok(one, "selector yield it").await;
    ok(other, "selector await that").await;
    until("the first behind the second", async || {
        (other.ask("selector participants that").await == "*second first").then_some(())
    })
    .await;
    ok(other, "selector close that").await;
    ok(one, "selector await it").await;
    ok(one, "selector close it").await;
}

async fn elections(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    ok(one, &format!("election start it {path} first")).await;
    ok(one, "election await it").await;
    ok(other, &format!("election start that {path} second")).await;
    world.until_in_line(&world.connect().await, 2).await;
    assert_eq!(other.ask("election leads that").await, "no");
    assert_eq!(other.ask("election participants that").await, "*first second");
    ok(one, "election close it").await;
    ok(other, "election await that").await;
    assert_eq!(other.ask("election leads that").await, "yes");
    ok(other, "election close that").await;
}

/// kazoo's and Curator's, where they share a layout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kazoo_and_curator() {
    let Some(world) = World::zookeeper("both") else {
        return;
    };
    let (Some(curator), Some(kazoo)) = (Peer::curator(&world).await, Peer::kazoo(&world).await) else {
        return;
    };
    run(&world, async |world: &World| {
        counts(world, &curator, &kazoo).await;
        for (one, other) in [(&curator, &kazoo), (&kazoo, &curator)] {
            let path = world.beside("barrier");
            ok(one, &format!("barrier set {path}")).await;
            let wait = other.ask(&format!("barrier wait {path}"));
            assert_eq!(other.ask(&format!("barrier wait {path} 50")).await, "no");
            ok(one, &format!("barrier remove {path}")).await;
            assert_eq!(wait.await, "ok");
        }
    })
    .await;
}

/// Waits until a peer, which may learn of it a moment later, gives this answer.
async fn until_answer(peer: &Peer, command: &str, answer: &str) {
    until(&format!("{answer} to {command}"), async || (peer.ask(command).await == answer).then_some(())).await;
}

async fn counts(world: &World, one: &Peer, other: &Peer) {
    const ROUNDS: u64 = 50;
    let path = world.path();
    let command = format!("loop sharedcount {path} {ROUNDS}");
    let (first, second) = tokio::join!(one.ask(&command), other.ask(&command));
    assert_eq!((first.as_str(), second.as_str()), ("ok", "ok"));
    until_answer(one, &format!("sharedcount get {path}"), &(2 * ROUNDS).to_string()).await;
    let (data, _) = world.connect().await.get(&path).await.unwrap();
    assert_eq!(data[..], (2 * ROUNDS as u32).to_be_bytes());
}

async fn counters(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    let command = format!("loop counter {path} 50");
    let (first, second) = tokio::join!(one.ask(&command), other.ask(&command));
    assert_eq!((first.as_str(), second.as_str()), ("ok", "ok"));
    assert_eq!(one.ask(&format!("counter add {path} -200")).await, "-100");
    assert_eq!(other.ask(&format!("counter get {path}")).await, "-100");
    assert_eq!(world.connect().await.get(&path).await.unwrap().0, "-100");
}

async fn values(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    assert_eq!(one.ask(&format!("sharedvalue get {path}")).await, "-");
    ok(one, &format!("sharedvalue set {path} 00ff")).await;
    until_answer(other, &format!("sharedvalue get {path}"), "00ff").await;
    ok(other, &format!("sharedvalue tryset {path} 01")).await;
    until_answer(one, &format!("sharedvalue get {path}"), "01").await;
    assert_eq!(world.connect().await.get(&path).await.unwrap().0[..], [1]);

    let path = world.beside("count");
    ok(one, &format!("sharedcount set {path} 258")).await;
    until_answer(other, &format!("sharedcount get {path}"), "258").await;
    ok(other, &format!("sharedcount tryset {path} -1")).await;
    until_answer(one, &format!("sharedcount get {path}"), "-1").await;
}

async fn atomics(world: &World, one: &Peer, other: &Peer) {
    for (kind, width) in [("atomiclong", 8), ("atomicint", 4)] {
        let path = world.beside(kind);
        assert_eq!(one.ask(&format!("{kind} get {path}")).await, "0");
        ok(one, &format!("{kind} initialize {path} 5")).await;
        assert_eq!(other.ask(&format!("{kind} initialize {path} 6")).await, "no");
        assert_eq!(other.ask(&format!("{kind} increment {path}")).await, "6");
        assert_eq!(one.ask(&format!("{kind} add {path} -7")).await, "-1");
        assert_eq!(one.ask(&format!("{kind} cas {path} 0 1")).await, "no");
        ok(other, &format!("{kind} cas {path} -1 1")).await;
        let command = format!("loop {kind} {path} 50");
        let (first, second) = tokio::join!(one.ask(&command), other.ask(&command));
        assert_eq!((first.as_str(), second.as_str()), ("ok", "ok"));
        assert_eq!(one.ask(&format!("{kind} get {path}")).await, "101");
        assert_eq!(world.connect().await.get(&path).await.unwrap().0.len(), width);
        ok(one, &format!("{kind} set {path} 3")).await;
        assert_eq!(other.ask(&format!("{kind} get {path}")).await, "3");
    }
}

async fn barriers(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    ok(one, &format!("barrier wait {path}")).await;
    ok(one, &format!("barrier set {path}")).await;
    assert_eq!(other.ask(&format!("barrier wait {path} 50")).await, "no");
    let mut wait = Box::pin(other.ask(&format!("barrier wait {path}")));
    assert_eq!(other.ask(&format!("barrier wait {path} 50")).await, "no");
    assert!(is_pending(&mut wait).await);
    ok(one, &format!("barrier remove {path}")).await;
    assert_eq!(wait.await, "ok");
}

async fn double_barriers(world: &World, one: &Peer, other: &Peer) {
    let (client, path) = (world.connect().await, world.path());
    for _ in 0..3 {
        let mut first = Box::pin(one.ask(&format!("double enter it {path} 2")));
        world.until_in_line(&client, 1).await;
        assert!(is_pending(&mut first).await);
        ok(other, &format!("double enter that {path} 2")).await;
        assert_eq!(first.await, "ok");
        let first = one.ask("double leave it");
        ok(other, "double leave that").await;
        assert_eq!(first.await, "ok");
        world.until_empty(&client).await;
    }
}

async fn queues(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    for item in ["61", "00ff", "-"] {
        ok(one, &format!("queue put {path} {item}")).await;
    }
    assert_eq!(other.ask(&format!("queue take {path} 2")).await, "61 00ff");
    let rest = other.ask(&format!("queue take {path} 2"));
    ok(one, &format!("queue put {path} 62")).await;
    assert_eq!(rest.await, "- 62");
}

async fn priorities(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    for item in ["61", "62 5", "63 100", "64 5"] {
        ok(one, &format!("queue put {path} {item}")).await;
    }
    assert_eq!(other.ask(&format!("queue take {path} 4")).await, "62 64 61 63");
}

async fn simple_queues(world: &World, one: &Peer, other: &Peer) {
    let path = world.path();
    ok(one, &format!("simplequeue offer {path} 61")).await;
    assert_eq!(other.ask(&format!("simplequeue poll {path}")).await, "61");
    assert_eq!(other.ask(&format!("simplequeue poll {path}")).await, "none");
    let item = other.ask(&format!("simplequeue poll {path} 60000"));
    ok(one, &format!("simplequeue offer {path} 62")).await;
    assert_eq!(item.await, "62");
}
