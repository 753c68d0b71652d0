//! Models of queues in the layouts of others.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use herdless_core::{
    Bytes, Client, ClientExt, CreateMode, Error, MultiOp, MultiReply, NodePath, OneShot, Refusal, Reply, Request,
    Response, Stat,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{ForeignItem, ForeignQueue, ForeignQueueLayout};

use crate::harness::{Count, Tamper, Tampered, poll_times, sound, together};

type LoomClient = MemoryClient<LoomLocks>;

/// One execution's server, with the directories made beforehand.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let world = Self { server: LoomServer::with_locks(), tamper };
        let setup = world.server.connect();
        for path in ["/queue", "/queue-receipts"] {
            let path = NodePath::parse(path).expect("a valid path");
            block_on(setup.create(&path, "", CreateMode::Persistent)).expect("an empty tree takes it");
        }
        world
    }

    /// With these items in the queue.
    fn holding(self, items: &[&'static str]) -> Self {
        let queue = self.queue(&self.server.connect());
        items.iter().for_each(|item| block_on(queue.put(*item)).expect("the session lives"));
        self
    }

    fn queue(&self, client: &LoomClient) -> ForeignQueue<Tampered> {
        let path = NodePath::parse("/queue").expect("a valid path");
        let client = Tampered::new(client.clone(), self.tamper);
        ForeignQueue::new(client, path, ForeignQueueLayout::CuratorSimple)
    }

    /// The items that are in the queue, in order.
    fn items(&self) -> Vec<Bytes> {
        let mut queue = self.queue(&self.server.connect());
        let take = || block_on(queue.take()).expect("the session lives").map(only);
        std::iter::from_fn(take).collect()
    }

    /// Nothing is left but the directories and what is in the queue, and no watch but the one of each consumer on the
    /// queue's node.
    fn assert_clean(&self, consumers: usize) {
        self.server.inspect(|tree| {
            let receipts: Vec<_> = tree.paths().filter(|path| path.as_str().starts_with("/queue-receipts/")).collect();
            assert!(receipts.is_empty(), "receipts left {receipts:?}");
            assert!(tree.watch_count() <= consumers, "{} watches left", tree.watch_count());
        });
    }
}

fn only(item: ForeignItem) -> Bytes {
    let [data] = item.data.try_into().expect("one item in each node");
    data
}

fn sorted(mut items: Vec<Bytes>) -> Vec<Bytes> {
    items.sort();
    items
}

/// Two producers and two consumers that wait: every item is taken exactly once.
fn producers_and_consumers(name: &'static str, tamper: Tamper) {
    let (waited, raced) = (Count::default(), Count::default());
    let (waited_in, raced_in) = (waited.clone(), raced.clone());
    Model::new(name).preemption_bound(2).check(move || {
        let world = World::new(tamper);
        let produce = |item: &'static str| {
            let queue = world.queue(&world.server.connect());
            move || block_on(queue.put(item)).expect("the session lives")
        };
        let consume = || {
            let mut queue = world.queue(&world.server.connect());
            move || only(block_on(queue.take_or_wait()).expect("the session lives"))
        };
        let other = loom::thread::spawn(consume());
        let mine = together!(produce("a"), produce("b"); consume()());
        let taken = sorted(vec![mine, other.join().expect("no panic")]);
        assert_eq!(taken, ["a", "b"], "every item once");
        waited_in.add(world.server.wake_ups() > 0);
        raced_in.add(world.server.wake_ups() > 1);
        assert!(world.items().is_empty(), "an item is left");
        world.assert_clean(5);
    });
    waited.assert_reached("a consumer waits");
    raced.assert_reached("both consumers wake");
}

#[test]
fn two_producers_two_consumers() {
    producers_and_consumers("two_producers_two_consumers", sound);
}

/// The watch is left after the list has been found empty, and nobody looks again.
fn wait_without_looking(client: &LoomClient, request: Request) -> Response {
    let is_wait = matches!(&request, Request::GetChildren(children) if children.watch);
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let (true, Reply::Children(names, _)) = (is_wait, &mut answer.reply) {
            names.clear();
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_wait_without_looking() {
    producers_and_consumers("planted_wait_without_looking", wait_without_looking);
}

/// Two consumers of two items that are there: each takes one, also where both try the same first.
fn consumers(name: &'static str, tamper: Tamper) {
    let raced = Count::default();
    let raced_in = raced.clone();
    Model::new(name).check(move || {
        let world = World::new(tamper).holding(&["a", "b"]);
        let mut other = world.queue(&world.server.connect());
        let mut queue = world.queue(&world.server.connect());
        let other = loom::thread::spawn(move || block_on(other.take()).expect("the session lives").map(only));
        let mine = block_on(queue.take()).expect("the session lives").map(only);
        let taken = [mine, other.join().expect("no panic")];
        raced_in.add(taken[0] > taken[1]);
        let taken = sorted(taken.into_iter().flatten().collect());
        assert_eq!(taken, ["a", "b"], "every item once");
        world.assert_clean(4);
    });
    raced.assert_reached("the later one takes the first");
}

#[test]
fn two_consumers() {
    consumers("two_consumers", sound);
}

/// The refusal of a delete is taken for success.
fn trust_refused_delete(client: &LoomClient, request: Request) -> Response {
    client.submit(request).map(|outcome| match outcome {
        Err(Error::MultiRefused { .. }) => Ok(Reply::Multi(vec![MultiReply::Set(Stat::default())]).into()),
        outcome => outcome,
    })
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_trust_refused_delete() {
    consumers("planted_trust_refused_delete", trust_refused_delete);
}

/// What somebody does on a queue: what it took.
type Work = fn(&mut ForeignQueue<Tampered>) -> Vec<Bytes>;

fn take(queue: &mut ForeignQueue<Tampered>) -> Vec<Bytes> {
    block_on(queue.take()).expect("the session lives").map(only).into_iter().collect()
}

fn put(queue: &mut ForeignQueue<Tampered>) -> Vec<Bytes> {
    block_on(queue.put("c")).expect("the session lives");
    Vec::new()
}

/// The k-th answer is lost, its request carried out: to a put or a take, with another consumer beside it. Every item is
/// put once and taken once.
fn reply_lost(name: &'static str, tamper: Tamper, work: Work, expected: &'static [&'static str]) {
    let lost = Count::default();
    for replies in 0..=5 {
        let lost_in = lost.clone();
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(tamper).holding(&["a", "b"]);
            let client = world.server.connect();
            let (mut queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
            world.server.lose_reply_after(&client, replies);
            let other = loom::thread::spawn(move || take(&mut other));
            let mut items = work(&mut queue);
            items.extend(other.join().expect("no panic"));
            lost_in.add(client.session().revision() > 1);
            items.extend(world.items());
            assert_eq!(sorted(items), expected, "every item once");
            world.assert_clean(4);
        });
    }
    lost.assert_reached("an answer is lost");
}

#[test]
fn reply_to_take_lost_at_any_point() {
    reply_lost("reply_to_take_lost_at_any_point", sound, take, &["a", "b"]);
}

#[test]
fn reply_to_put_lost_at_any_point() {
    reply_lost("reply_to_put_lost_at_any_point", sound, put, &["a", "b", "c"]);
}

/// What was lost is sent again without a look for its receipt.
fn repeat_blindly(client: &LoomClient, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_repeat_delete_blindly() {
    reply_lost("planted_repeat_delete_blindly", repeat_blindly, take, &["a", "b"]);
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_repeat_put_blindly() {
    reply_lost("planted_repeat_put_blindly", repeat_blindly, put, &["a", "b", "c"]);
}

/// A receipt is not taken away.
fn keep_receipt(client: &LoomClient, request: Request) -> Response {
    match request {
        Request::Release(_) => Response::ready(Ok(Reply::Released(true).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "receipts left")]
fn planted_keep_receipt() {
    reply_lost("planted_keep_receipt", keep_receipt, put, &["a", "b", "c"]);
}

/// A connection is cut and made again by another thread at any two points: every item is put once and taken once.
fn connection_lost(name: &'static str, tamper: Tamper) {
    for (step, work, expected) in [("take", take as Work, &["a", "b"][..]), ("put", put, &["a", "b", "c"])] {
        Model::new(format!("{name}/{step}")).preemption_bound(3).check(move || {
            let world = World::new(tamper).holding(&["a", "b"]);
            let client = world.server.connect();
            let (mut queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
            let (server, victim) = (world.server.clone(), client);
            let other = loom::thread::spawn(move || take(&mut other));
            let mut items =
                together!(move || { server.disconnect(&victim); server.reconnect(&victim) }; work(&mut queue));
            items.extend(other.join().expect("no panic"));
            items.extend(world.items());
            assert_eq!(sorted(items), expected, "every item once");
            world.assert_clean(4);
        });
    }
}

#[test]
fn connection_lost_at_any_point() {
    connection_lost("connection_lost_at_any_point", sound);
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_trust_refused_delete_while_disconnected() {
    connection_lost("planted_trust_refused_delete_while_disconnected", trust_refused_delete);
}

/// A session ends at any point, the k-th answer before it lost: no item is taken twice or put twice, one may be missing
/// only where the outcome is said to be open, and nothing is left but items.
fn session_expires(name: &'static str, tamper: Tamper) {
    let (open, gone, there, settled) = (Count::default(), Count::default(), Count::default(), Count::default());
    // The reads before are covered by `reply_to_take_lost_at_any_point`.
    for replies in 4..=6 {
        let counts = [open.clone(), gone.clone(), there.clone(), settled.clone()];
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(tamper).holding(&["a", "b"]);
            let client = world.server.connect();
            let (mut queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
            world.server.lose_reply_after(&client, replies);
            let (server, victim) = (world.server.clone(), client);
            let other = loom::thread::spawn(move || take(&mut other));
            let (taken, was_put) = together!(move || server.expire(&victim); {
                (block_on(queue.take()), block_on(queue.put("c")))
            });
            let mut items = other.join().expect("no panic");
            items.extend(taken.iter().flatten().cloned().map(only));
            items.extend(world.items());
            let of = |item: &str| items.iter().filter(|other| *other == item).count();
            let [open, gone, there, settled] = &counts;
            match &was_put {
                Ok(()) => assert_eq!(of("c"), 1, "put once"),
                Err(error) => {
                    assert_eq!(*error, Error::SessionExpired);
                    there.add(of("c") == 1);
                    assert!(of("c") <= 1, "put once at most");
                }
            }
            assert!(of("a") <= 1 && of("b") <= 1, "taken once at most");
            match &taken {
                Ok(_) => assert_eq!(of("a") + of("b"), 2, "every item once"),
                Err(error) => {
                    assert_eq!(*error, Error::SessionExpired);
                    gone.add(of("a") + of("b") == 1);
                    assert!(of("a") + of("b") >= 1, "one item is open");
                }
            }
            open.add(taken.is_err());
            settled.add(taken.is_ok() && was_put.is_ok());
            world.assert_clean(4);
        });
    }
    open.assert_reached("the outcome of a take is open");
    gone.assert_reached("an item went with the session");
    there.assert_reached("an item whose put is open is there");
    settled.assert_reached("all is known");
}

#[test]
fn session_expires_at_any_point() {
    session_expires("session_expires_at_any_point", sound);
}

/// A lost reply is taken for another consumer's work, as by Curator.
fn trust_lost_reply(client: &LoomClient, request: Request) -> Response {
    let is_multi = matches!(request, Request::Multi(_));
    client.submit(request).map(move |outcome| match outcome {
        Err(Error::ConnectionLost) if is_multi => Err(Error::MultiRefused { index: 0, refusal: Refusal::NoNode }),
        outcome => outcome,
    })
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_trust_lost_reply() {
    session_expires("planted_trust_lost_reply", trust_lost_reply);
}

/// A take or a put is dropped at its k-th poll, each answer there one poll late and the j-th lost: every item is in the
/// queue or was taken by another, and no receipt is left.
fn dropped_at_every_poll(name: &'static str, tamper: Tamper) {
    let (dropped, taken) = (Count::default(), Count::default());
    for polls in 0..=6 {
        for replies in [2, 3, 4, 9] {
            let (dropped_in, taken_in) = (dropped.clone(), taken.clone());
            Model::new(format!("{name}/{polls}/{replies}")).preemption_bound(3).check(move || {
                let world = World::new(tamper).holding(&["a", "b"]);
                let client = world.server.connect();
                let (mut queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
                world.server.delay_replies(&client);
                world.server.lose_reply_after(&client, replies);
                let other = loom::thread::spawn(move || take(&mut other));
                let outcome = poll_times(polls, queue.take());
                dropped_in.add(outcome.is_none());
                taken_in.add(outcome.is_some());
                let mut items: Vec<_> =
                    outcome.and_then(|outcome| outcome.expect("the session lives")).map(only).into_iter().collect();
                items.extend(other.join().expect("no panic"));
                items.extend(world.items());
                assert_eq!(sorted(items), ["a", "b"], "every item once");
                world.assert_clean(4);
            });
        }
    }
    dropped.assert_reached("dropped before it has an item");
    taken.assert_reached("granted before it was dropped");
}

#[test]
fn take_cancelled_at_every_poll() {
    dropped_at_every_poll("take_cancelled_at_every_poll", sound);
}

/// The item of a take that was dropped is not put back.
fn put_nothing_back(client: &LoomClient, request: Request) -> Response {
    match &request {
        Request::Multi(multi) if matches!(multi.operations[..], [MultiOp::Delete(_), MultiOp::Create(ref create)] if !create.mode.is_ephemeral()) => {
            Response::ready(Ok(Reply::Multi(Vec::new()).into()))
        }
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_put_nothing_back() {
    dropped_at_every_poll("planted_put_nothing_back", put_nothing_back);
}

/// A put that is dropped at its k-th poll, the first answer lost or not: the item is there once or not at all, and no
/// receipt is left.
fn put_dropped(name: &'static str, tamper: Tamper) {
    for (polls, replies) in (0..=4).flat_map(|polls| [(polls, 0), (polls, 9)]) {
        Model::new(format!("{name}/{polls}/{replies}")).check(move || {
            let world = World::new(tamper);
            let client = world.server.connect();
            let (queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
            world.server.delay_replies(&client);
            world.server.lose_reply_after(&client, replies);
            let other = loom::thread::spawn(move || take(&mut other));
            drop(poll_times(polls, queue.put("c")));
            let mut items = other.join().expect("no panic");
            items.extend(world.items());
            assert!(items.len() <= 1, "put once at most");
            world.assert_clean(4);
        });
    }
}

#[test]
fn put_cancelled_at_every_poll() {
    put_dropped("put_cancelled_at_every_poll", sound);
}

#[test]
#[should_panic(expected = "receipts left")]
fn planted_keep_receipt_of_a_dropped_put() {
    put_dropped("planted_keep_receipt_of_a_dropped_put", keep_receipt);
}

/// A consumer that waits is cancelled by another thread at any point, with a producer and another consumer beside it:
/// the item goes to one of them.
fn wait_cancelled(name: &'static str, tamper: Tamper) {
    let (cancelled, taken) = (Count::default(), Count::default());
    let (cancelled_in, taken_in) = (cancelled.clone(), taken.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(tamper);
        let client = world.server.connect();
        let (mut queue, mut other) = (world.queue(&client), world.queue(&world.server.connect()));
        world.server.delay_replies(&client);
        let cancel = Arc::new(OneShot::<(), LoomLocks>::new());
        let canceller = cancel.clone();
        let producer = loom::thread::spawn(move || {
            put(&mut other);
            canceller.put(()).run();
        });
        let outcome = block_on(async {
            let mut take = pin!(queue.take_or_wait());
            std::future::poll_fn(|cx| match take.as_mut().poll(cx) {
                Poll::Ready(item) => Poll::Ready(Some(only(item.expect("the session lives")))),
                Poll::Pending => cancel.poll_take(cx).map(|()| None),
            })
            .await
        });
        producer.join().expect("no panic");
        cancelled_in.add(outcome.is_none());
        taken_in.add(outcome.is_some());
        let mut items: Vec<_> = outcome.into_iter().collect();
        items.extend(world.items());
        assert_eq!(items, ["c"], "every item once");
        world.assert_clean(4);
    });
    cancelled.assert_reached("cancelled while it waits or takes");
    taken.assert_reached("taken before it was cancelled");
}

#[test]
fn wait_cancelled_at_any_point() {
    wait_cancelled("wait_cancelled_at_any_point", sound);
}

#[test]
#[should_panic(expected = "every item once")]
fn planted_put_nothing_back_of_a_cancelled_wait() {
    wait_cancelled("planted_put_nothing_back_of_a_cancelled_wait", put_nothing_back);
}
