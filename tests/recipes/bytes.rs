//! How many bytes an operation costs, on the wire and in both directions.

use futures::future::try_join_all;
use herdless::{
    Barrier, ClientExt, CounterFormat, DelayQueue, DoubleBarrier, Election, ForeignQueue, ForeignQueueLayout,
    LeaseLock, Lock, MultiLock, NodePath, PriorityQueue, Queue, RwLock, Semaphore, SharedCounter, SharedValue,
    TokioClient, TokioTime,
};

use crate::support::{World, scenarios};

scenarios! {
    an_operation_costs_the_bytes_that_are_documented
}

/// What docs/PERFORMANCE.md says, for a path of 64 characters and an owner of 8. The two that have a change's number in their
/// data are between those of the embedded server, whose numbers are longer, and those of ZooKeeper; hence two in a hundred.
const DOCUMENTED: [(&str, u64); 22] = [
    ("Lock: acquire and release", 863),
    ("RwLock: read and release", 668),
    ("RwLock: write and release", 865),
    ("RwLock: write, downgrade and release", 1_269),
    ("LeaseLock: acquire, renew and release", 1_800),
    ("MultiLock of 3: acquire and release", 2_547),
    ("Semaphore: acquire and release", 1_572),
    ("Election: campaign and resign", 884),
    ("Election: proclaim 10 bytes", 366),
    ("Barrier: close and open", 778),
    ("Barrier: wait, open", 302),
    ("DoubleBarrier of 2: a round, each", 1_858),
    ("SharedValue: set 10 bytes", 449),
    ("SharedCounter: increment", 451),
    ("Queue: put 10 bytes", 334),
    ("Queue: put_once 10 bytes", 1_169),
    ("Queue: take and ack, each of 100", 1_174),
    ("Queue: take at most once, each of 100", 356),
    ("PriorityQueue: take and ack, each of 100", 1_196),
    ("DelayQueue: put 10 bytes", 360),
    ("ForeignQueue of Curator: put 10 bytes", 943),
    ("ForeignQueue of Curator: take, each of 100", 1_050),
];

const ITEMS: u64 = 100;

/// Everything that was sent and received so far. What nobody waited for is answered by then.
async fn bytes(client: &TokioClient) -> u64 {
    client.exists(&NodePath::root()).await.unwrap();
    let counters = client.counters();
    counters.bytes_in + counters.bytes_out
}

/// The bytes of `operation`, which has been done before, without those of the look that ends it.
async fn cost(client: &TokioClient, operation: impl AsyncFn()) -> u64 {
    operation().await;
    let (before, look) = (bytes(client).await, bytes(client).await);
    let look_alone = look - before;
    operation().await;
    bytes(client).await - look - look_alone
}

async fn an_operation_costs_the_bytes_that_are_documented(world: &World) {
    let client = &world.connect().await;
    let path = |name: &str| {
        let path = format!("{}-{name}-", world.path());
        NodePath::parse(&format!("{path:x<64}")).unwrap()
    };
    let data = || "ten bytes.";
    let mut measured = Vec::new();

    let lock = Lock::builder(client.clone(), path("lock")).owner("somebody").build();
    measured.push(cost(client, async || lock.acquire().await.unwrap().release().await.unwrap()).await);

    let lock = RwLock::builder(client.clone(), path("rw")).owner("somebody").build();
    measured.push(cost(client, async || lock.read().await.unwrap().release().await.unwrap()).await);
    measured.push(cost(client, async || lock.write().await.unwrap().release().await.unwrap()).await);
    let downgrade = async || {
        let guard = lock.write().await.unwrap().downgrade().await.unwrap();
        guard.release().await.unwrap();
    };
    measured.push(cost(client, downgrade).await);

    let maximum = std::time::Duration::from_secs(60);
    let lock = LeaseLock::builder(client.clone(), path("lease"), TokioTime::new(), maximum);
    let lock = lock.unwrap().owner("somebody").build();
    let lease = async || {
        let guard = lock.acquire().await.unwrap();
        guard.renew().await.unwrap();
        guard.release().await.unwrap();
    };
    measured.push(cost(client, lease).await);

    let locks = MultiLock::builder(client.clone(), ["a", "b", "c"].map(path)).owner("somebody").build().unwrap();
    measured.push(cost(client, async || locks.acquire().await.unwrap().release().await.unwrap()).await);

    let semaphore = Semaphore::builder(client.clone(), path("semaphore"), 3).owner("somebody").build().unwrap();
    measured.push(cost(client, async || semaphore.acquire(1).await.unwrap().release().await.unwrap()).await);

    let election = Election::builder(client.clone(), path("election")).id("somebody").build();
    measured.push(cost(client, async || election.campaign().await.unwrap().resign().await.unwrap()).await);
    let leadership = election.campaign().await.unwrap();
    measured.push(cost(client, async || leadership.proclaim(data()).await.unwrap()).await);
    leadership.resign().await.unwrap();

    let barrier = Barrier::new(client.clone(), path("barrier"));
    let close_and_open = async || {
        barrier.close().await.unwrap();
        barrier.open().await.unwrap();
    };
    measured.push(cost(client, close_and_open).await);
    measured.push(cost(client, async || barrier.wait().await.unwrap()).await);

    let members =
        [(); 2].map(|()| DoubleBarrier::builder(client.clone(), path("double"), 2).unwrap().owner("somebody").build());
    let round = async || {
        let rounds = try_join_all(members.iter().map(DoubleBarrier::enter)).await.unwrap();
        try_join_all(rounds.into_iter().map(|round| round.leave())).await.unwrap();
    };
    measured.push(cost(client, round).await / 2);

    let value = SharedValue::new(client.clone(), path("value"));
    measured.push(cost(client, async || value.set(data()).await.unwrap()).await);
    let counter = SharedCounter::builder(client.clone(), path("counter")).format(CounterFormat::AtomicLong).build();
    counter.increment().await.unwrap();
    measured.push(cost(client, async || _ = counter.increment().await.unwrap()).await);

    let queue = Queue::new(client.clone(), path("queue"));
    measured.push(cost(client, async || queue.put(data()).await.unwrap()).await);
    let ids = std::sync::atomic::AtomicU64::new(1);
    let put_once = async || {
        let id = ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(queue.put_once(&id.to_string(), data()).await.unwrap());
    };
    measured.push(cost(client, put_once).await);
    let queue = Queue::new(client.clone(), path("claimed"));
    let fill = async || queue.put_all(vec![data(); ITEMS as usize]).await.unwrap();
    let through = async || {
        let mut consumer = queue.consumer().prefetch(ITEMS as usize).build();
        for _ in 0..ITEMS {
            consumer.take().await.unwrap().ack().await.unwrap();
        }
    };
    measured.push(cost_after(client, fill, through).await / ITEMS);
    let through = async || {
        let mut consumer = queue.at_most_once(ITEMS as usize);
        for _ in 0..ITEMS {
            consumer.take().await.unwrap();
        }
    };
    measured.push(cost_after(client, fill, through).await / ITEMS);
    let queue = PriorityQueue::new(client.clone(), path("priorities"), 2).unwrap();
    let fill = async || {
        for _ in 0..ITEMS {
            queue.put(1, data()).await.unwrap();
        }
    };
    let through = async || {
        let mut consumer = queue.consumer().prefetch(ITEMS as usize).build();
        for _ in 0..ITEMS {
            consumer.take().await.unwrap().ack().await.unwrap();
        }
    };
    measured.push(cost_after(client, fill, through).await / ITEMS);
    let queue = DelayQueue::new(client.clone(), path("delays"), TokioTime::new());
    measured.push(cost(client, async || queue.put_at(1, data()).await.unwrap()).await);

    let mut queue = ForeignQueue::new(client.clone(), path("foreign"), ForeignQueueLayout::Curator);
    queue.put(data()).await.unwrap();
    queue.take().await.unwrap();
    let before = bytes(client).await;
    for _ in 0..ITEMS {
        queue.put(data()).await.unwrap();
    }
    let between = bytes(client).await;
    for _ in 0..ITEMS {
        queue.take().await.unwrap();
    }
    let after = bytes(client).await;
    measured.extend([(between - before) / ITEMS, (after - between) / ITEMS]);

    assert_eq!(measured.len(), DOCUMENTED.len());
    let mut wrong = Vec::new();
    for ((name, documented), measured) in DOCUMENTED.into_iter().zip(measured) {
        println!("| {name} | {measured} |");
        if measured.abs_diff(documented) * 50 > documented {
            wrong.push((name, documented, measured));
        }
    }
    assert_eq!(wrong, []);
}

/// As [`cost`], with something that is done before and does not count.
async fn cost_after(client: &TokioClient, before: impl AsyncFn(), operation: impl AsyncFn()) -> u64 {
    before().await;
    operation().await;
    before().await;
    let (start, look) = (bytes(client).await, bytes(client).await);
    let look_alone = look - start;
    operation().await;
    bytes(client).await - look - look_alone
}
