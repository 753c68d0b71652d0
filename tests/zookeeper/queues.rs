//! The same queues, of others and of ours.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use herdless::{ForeignQueue, ForeignQueueLayout, TokioClient};

use crate::support::{Peer, World, is_pending, until};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: we_put_they_take they_put_we_take both_put_and_take several_items_in_one_node;
    kazoo Kazoo: we_put_they_take they_put_we_take both_put_and_take priorities_are_those_of_the_other;
}

/// A kind of queue of theirs.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    layout: ForeignQueueLayout,
}

fn kinds(theirs: Theirs) -> Vec<Kind> {
    match theirs {
        Theirs::Curator => vec![
            Kind { name: "queue", layout: ForeignQueueLayout::Curator },
            Kind { name: "simplequeue", layout: ForeignQueueLayout::CuratorSimple },
        ],
        Theirs::Kazoo => vec![Kind { name: "queue", layout: ForeignQueueLayout::Kazoo }],
    }
}

/// One queue, and the peer that works on it too.
struct Both<'a> {
    kind: Kind,
    world: &'a World,
    peer: &'a Peer,
}

impl Both<'_> {
    async fn ours(&self) -> ForeignQueue<TokioClient> {
        ForeignQueue::new(self.world.connect().await, self.world.beside(self.kind.name), self.kind.layout)
    }

    async fn they_put(&self, item: &str) {
        let verb = if self.kind.name == "queue" { "put" } else { "offer" };
        let path = self.world.beside(self.kind.name);
        ok(self.peer, &format!("{} {verb} {path} {}", self.kind.name, hexadecimal(item))).await;
    }

    /// Waits for an item.
    async fn they_take(&self) -> String {
        let rest = if self.kind.name == "queue" { "1" } else { "60000" };
        let verb = if self.kind.name == "queue" { "take" } else { "poll" };
        let path = self.world.beside(self.kind.name);
        let answer = self.peer.ask(&format!("{} {verb} {path} {rest}", self.kind.name)).await;
        let digits = answer.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
        String::from_utf8(bytes.collect()).unwrap()
    }
}

fn hexadecimal(item: &str) -> String {
    item.bytes().map(|byte| format!("{byte:02x}")).collect()
}

async fn we_take(queue: &mut ForeignQueue<TokioClient>) -> String {
    let [data] = queue.take_or_wait().await.unwrap().data.try_into().expect("one item in one node");
    String::from_utf8(data.to_vec()).unwrap()
}

async fn we_put_they_take(world: &World, peer: &Peer, theirs: Theirs) {
    for kind in kinds(theirs) {
        let both = Both { kind, world, peer };
        let mut queue = both.ours().await;
        for number in 0..50 {
            queue.put(format!("item {number}")).await.unwrap();
        }
        for number in 0..50 {
            assert_eq!(both.they_take().await, format!("item {number}"), "{}", kind.name);
        }
        assert!(queue.take().await.unwrap().is_none(), "{}", kind.name);
        // One that waits for it.
        let mut waiting = Box::pin(both.they_take());
        assert!(is_pending(&mut waiting).await);
        queue.put("late").await.unwrap();
        assert_eq!(waiting.await, "late");
    }
}

async fn they_put_we_take(world: &World, peer: &Peer, theirs: Theirs) {
    for kind in kinds(theirs) {
        let both = Both { kind, world, peer };
        let mut queue = both.ours().await;
        for number in 0..50 {
            both.they_put(&format!("item {number}")).await;
        }
        assert_eq!(queue.len().await.unwrap(), 50, "{}", kind.name);
        for number in 0..50 {
            assert_eq!(we_take(&mut queue).await, format!("item {number}"), "{}", kind.name);
        }
        assert!(queue.take().await.unwrap().is_none(), "{}", kind.name);
        let mut waiting = Box::pin(we_take(&mut queue));
        assert!(is_pending(&mut waiting).await);
        both.they_put("late").await;
        assert_eq!(waiting.await, "late");
    }
}

/// Both put and take at once, until each has taken from the other.
async fn both_put_and_take(world: &World, peer: &Peer, theirs: Theirs) {
    const ENOUGH: usize = 20;
    for kind in kinds(theirs) {
        let both = Both { kind, world, peer };
        let producer = both.ours().await;
        let mut consumers = [both.ours().await, both.ours().await];
        // Who took what, as "we" or "they" and the item, and how often.
        let taken = RefCell::new(BTreeMap::<(&str, String), usize>::new());
        let take = |who, item| *taken.borrow_mut().entry((who, item)).or_default() += 1;
        let is_putting = Cell::new(true);
        // Ours is the faster one, and would leave the others nothing.
        let our_turn = async || {
            until("our turn", async || {
                let by = |who| taken.borrow().keys().filter(|(taker, _)| *taker == who).count();
                (!is_putting.get() || by("we") <= by("they")).then_some(())
            })
            .await;
        };
        let crossed = |who, producer: &str| {
            let is_one = |(taker, item): &&(&str, String)| *taker == who && item.starts_with(producer);
            taken.borrow().keys().filter(is_one).count() >= ENOUGH
        };
        let put = async {
            let mut count = 0;
            while !(crossed("we", "they") && crossed("they", "we")) {
                producer.put(format!("we {count}")).await.unwrap();
                both.they_put(&format!("they {count}")).await;
                count += 1;
            }
            is_putting.set(false);
            count
        };
        let [one, other] = &mut consumers;
        let count = tokio::select! {
            count = async {
                let count = put.await;
                let all = || taken.borrow().values().sum::<usize>() >= 2 * count;
                until("the last items", async || all().then_some(())).await;
                count
            } => count,
            () = async { loop { our_turn().await; take("we", we_take(one).await); } } => unreachable!(),
            () = async { loop { our_turn().await; take("we", we_take(other).await); } } => unreachable!(),
            () = async { loop { take("they", both.they_take().await); } } => unreachable!(),
        };
        let taken = taken.into_inner();
        let by = |who: &str| taken.keys().filter(|(taker, _)| *taker == who).count();
        println!("{}: {count} items of each side; we took {}, they {}", kind.name, by("we"), by("they"));
        let mut items: Vec<_> = taken.iter().map(|((_, item), times)| (item.clone(), *times)).collect();
        let mut all: Vec<_> = ["we", "they"]
            .iter()
            .flat_map(|who| (0..count).map(move |number| (format!("{who} {number}"), 1)))
            .collect();
        items.sort_unstable();
        all.sort_unstable();
        assert_eq!(items, all, "{}: each item once", kind.name);
        assert!(both.ours().await.take().await.unwrap().is_none(), "{}", kind.name);
    }
}

/// What `putMulti` of Curator's `DistributedQueue` writes, which its consumers get one after the other.
async fn several_items_in_one_node(world: &World, peer: &Peer, _: Theirs) {
    let path = world.beside("queue");
    let queue = ForeignQueue::new(world.connect().await, path.clone(), ForeignQueueLayout::Curator);
    queue.put_many(["a".into(), "".into(), "b".into()]).await.unwrap();
    queue.put("c").await.unwrap();
    assert_eq!(peer.ask(&format!("queue take {path} 4")).await, "61 - 62 63");
}

async fn priorities_are_those_of_the_other(world: &World, peer: &Peer, _: Theirs) {
    let path = world.beside("queue");
    let mut queue = ForeignQueue::new(world.connect().await, path.clone(), ForeignQueueLayout::Kazoo);
    let put = async || {
        ok(peer, &format!("queue put {path} 61")).await;
        queue.put_with_priority("b", 5).await.unwrap();
        ok(peer, &format!("queue put {path} 63 5")).await;
        queue.put("d").await.unwrap();
        queue.put_with_priority("e", 999).await.unwrap();
        ok(peer, &format!("queue put {path} 66 0")).await;
    };
    put().await;
    assert_eq!(peer.ask(&format!("queue take {path} 6")).await, "66 62 63 61 64 65");
    put().await;
    let mut items = Vec::new();
    while let Some(item) = queue.take().await.unwrap() {
        items.push((item.priority.unwrap(), String::from_utf8(item.data[0].to_vec()).unwrap()));
    }
    let expected = [(0, "f"), (5, "b"), (5, "c"), (100, "a"), (100, "d"), (999, "e")];
    assert_eq!(items, expected.map(|(priority, item)| (priority, item.to_owned())));
}
