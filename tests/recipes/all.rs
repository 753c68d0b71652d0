//! The recipes in tables, for what is the same for all of them.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use futures::future::BoxFuture;
use herdless::core::Create;
use herdless::core::MultiReply;
use herdless::{
    Acl, Barrier, ClientExt, CounterFormat, CreateMode, DelayQueue, DoubleBarrier, Election, ElectionLayout, Error,
    ForeignQueue, ForeignQueueLayout, Grant, Layout, LeaseGuard, LeaseLock, Lock, MultiGuard, MultiLock, MultiOp,
    NodePath, Owner, Permissions, PriorityQueue, Queue, ReentrantLock, RwLock, Semaphore, SharedCounter, SharedValue,
    Stat, Token, TokioClient, TokioTime,
};

/// Where a recipe is to work, and with what.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) client: TokioClient,
    pub(crate) path: NodePath,
    /// What the recipe writes: its owner, its value, or an item.
    pub(crate) text: String,
}

impl Setup {
    pub(crate) fn new(client: &TokioClient, path: NodePath) -> Self {
        Self { client: client.clone(), path, text: "some text".into() }
    }

    fn lock(self, layout: Layout) -> Lock<TokioClient> {
        Lock::builder(self.client, self.path).owner(self.text).layout(layout).build()
    }

    fn rw_lock(self, layout: Layout) -> RwLock<TokioClient> {
        RwLock::builder(self.client, self.path).owner(self.text).layout(layout).build()
    }

    /// Of three permits.
    fn semaphore(self, is_split: bool) -> Result<Semaphore<TokioClient>, Error> {
        Semaphore::builder(self.client, self.path, 3).owner(self.text).one_node_per_permit(is_split).build()
    }

    fn multi_lock(self, names: [&str; 2]) -> Result<MultiLock<TokioClient>, Error> {
        let paths = names.map(|name| self.path.child(name).unwrap());
        MultiLock::builder(self.client, paths).owner(self.text).build()
    }

    fn election(self, layout: ElectionLayout) -> Election<TokioClient> {
        Election::builder(self.client, self.path).id(self.text).layout(layout).build()
    }
}

/// Any guard. Dropping it releases.
pub(crate) type Held = Box<dyn Guard>;

/// What all guards can do.
pub(crate) trait Guard: Send + Sync {
    fn token(&self) -> Token;
    fn path(&self) -> &NodePath;
    fn is_valid(&self) -> bool;
    fn lost(&self) -> BoxFuture<'static, ()>;
    fn multi(&self, operations: Vec<MultiOp>) -> BoxFuture<'_, Result<Vec<MultiReply>, Error>>;
}

struct Granted<G>(G);

impl<G: Deref<Target = Grant<TokioClient>> + Send + Sync> Guard for Granted<G> {
    fn token(&self) -> Token {
        self.0.token()
    }

    fn path(&self) -> &NodePath {
        self.0.path()
    }

    fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.0.lost())
    }

    fn multi(&self, operations: Vec<MultiOp>) -> BoxFuture<'_, Result<Vec<MultiReply>, Error>> {
        Box::pin(self.0.multi(operations))
    }
}

impl Guard for LeaseGuard<TokioClient, TokioTime> {
    fn token(&self) -> Token {
        self.token()
    }

    fn path(&self) -> &NodePath {
        self.path()
    }

    fn is_valid(&self) -> bool {
        self.is_valid()
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.lost())
    }

    fn multi(&self, operations: Vec<MultiOp>) -> BoxFuture<'_, Result<Vec<MultiReply>, Error>> {
        Box::pin(self.multi(operations))
    }
}

/// Locks on two paths. The guard is known by one of them.
struct Several {
    guard: MultiGuard<TokioClient>,
    token: Token,
    path: NodePath,
}

impl Several {
    async fn hold(setup: Setup, names: [&str; 2], known_by: &str) -> Result<Held, Error> {
        let lock = Lock::new(setup.client.clone(), setup.path.child(known_by).unwrap());
        let guard = setup.multi_lock(names)?.acquire().await?;
        let token = guard.token(lock.path()).unwrap();
        let holder = lock.holders().await?.into_iter().find(|holder| holder.token == token);
        let path = holder.ok_or(Error::SessionExpired)?.path;
        Ok(Box::new(Self { guard, token, path }))
    }
}

impl Guard for Several {
    fn token(&self) -> Token {
        self.token
    }

    fn path(&self) -> &NodePath {
        &self.path
    }

    fn is_valid(&self) -> bool {
        self.guard.is_valid()
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.guard.lost())
    }

    fn multi(&self, operations: Vec<MultiOp>) -> BoxFuture<'_, Result<Vec<MultiReply>, Error>> {
        Box::pin(self.guard.multi(operations))
    }
}

type Run<T> = fn(Setup) -> BoxFuture<'static, Result<T, Error>>;

/// A recipe with something to be held.
#[derive(Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) name: &'static str,
    pub(crate) hold: Run<Held>,
    /// Holds what nobody may hold at the same time.
    pub(crate) follow: Run<Held>,
    pub(crate) shape: Shape,
}

/// Where the nodes of those are who hold or wait.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The directories below the path that they are in; none where they are in the path itself.
    below: &'static [&'static str],
    /// How many one has that holds.
    pub(crate) nodes: usize,
}

const FLAT: Shape = Shape { below: &[], nodes: 1 };

impl Holding {
    /// All directories, those first that are in others.
    pub(crate) fn directories(&self, path: &NodePath) -> Vec<NodePath> {
        let below = self.shape.below.iter().map(|name| path.child(name).unwrap());
        below.chain([path.clone()]).collect()
    }

    /// The nodes of those who hold and wait.
    pub(crate) async fn contenders(&self, client: &TokioClient, path: &NodePath) -> Vec<(NodePath, Stat)> {
        let mut contenders = Vec::new();
        for directory in self.directories(path) {
            let names = client.children(&directory).await.map(|(names, _)| names).unwrap_or_default();
            for node in names.iter().filter(|name| !self.shape.below.contains(&&***name)) {
                let node = directory.child(node).unwrap();
                if let Some(stat) = client.exists(&node).await.unwrap() {
                    contenders.push((node, stat));
                }
            }
        }
        contenders
    }

    /// The sessions of those who hold and wait.
    pub(crate) async fn sessions(&self, client: &TokioClient, path: &NodePath) -> BTreeSet<i64> {
        self.contenders(client, path).await.into_iter().map(|(_, stat)| stat.ephemeral_owner).collect()
    }
}

fn held(guard: impl Deref<Target = Grant<TokioClient>> + Send + Sync + 'static) -> Held {
    Box::new(Granted(guard))
}

async fn lease(setup: Setup, max_hold: Duration) -> Result<Held, Error> {
    let lock = LeaseLock::builder(setup.client, setup.path, TokioTime::new(), max_hold)?.owner(setup.text).build();
    Ok(Box::new(lock.acquire().await?))
}

/// Whose holder renews in time, or is removed while its session lives.
pub(crate) fn lease_that_ends() -> Holding {
    const MAX_HOLD: Duration = Duration::from_secs(2);
    Holding {
        name: "LeaseLock-silent",
        hold: |setup| Box::pin(lease(setup, MAX_HOLD)),
        follow: |setup| Box::pin(lease(setup, MAX_HOLD)),
        shape: FLAT,
    }
}

/// Longer than any test here.
const LONG: Duration = Duration::from_secs(600);

macro_rules! run {
    ($setup:ident => $body:expr) => {
        |$setup| Box::pin(async move { Ok($body) })
    };
}

/// All that can be held.
pub(crate) fn holdings() -> Vec<Holding> {
    vec![
        Holding {
            name: "Lock",
            hold: run!(setup => held(setup.lock(Layout::Curator).acquire().await?)),
            follow: run!(setup => held(setup.lock(Layout::Curator).acquire().await?)),
            shape: FLAT,
        },
        Holding {
            name: "Lock-kazoo",
            hold: run!(setup => held(setup.lock(Layout::Kazoo).acquire().await?)),
            follow: run!(setup => held(setup.lock(Layout::Kazoo).acquire().await?)),
            shape: FLAT,
        },
        Holding {
            name: "ReentrantLock",
            hold: run!(setup => held(ReentrantLock::new(setup.lock(Layout::Curator)).acquire(Owner::new()).await?)),
            follow: run!(setup => held(ReentrantLock::new(setup.lock(Layout::Curator)).acquire(Owner::new()).await?)),
            shape: FLAT,
        },
        Holding {
            name: "RwLock-read",
            hold: run!(setup => held(setup.rw_lock(Layout::Curator).read().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Curator).write().await?)),
            shape: FLAT,
        },
        Holding {
            name: "RwLock-write",
            hold: run!(setup => held(setup.rw_lock(Layout::Curator).write().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Curator).read().await?)),
            shape: FLAT,
        },
        Holding {
            name: "RwLock-downgraded",
            hold: run!(setup => held(setup.rw_lock(Layout::Kazoo).write().await?.downgrade().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Kazoo).write().await?)),
            shape: FLAT,
        },
        Holding {
            name: "LeaseLock",
            hold: |setup| Box::pin(lease(setup, LONG)),
            follow: |setup| Box::pin(lease(setup, LONG)),
            shape: FLAT,
        },
        Holding {
            name: "Election-latch",
            hold: run!(setup => held(setup.election(ElectionLayout::LeaderLatch).campaign().await?)),
            follow: run!(setup => held(setup.election(ElectionLayout::LeaderLatch).campaign().await?)),
            shape: FLAT,
        },
        Holding {
            name: "Election-selector",
            hold: run!(setup => held(setup.election(ElectionLayout::LeaderSelector).campaign().await?)),
            follow: run!(setup => held(setup.election(ElectionLayout::LeaderSelector).campaign().await?)),
            shape: FLAT,
        },
        // Of three permits, two and two do not fit together.
        Holding {
            name: "Semaphore",
            hold: run!(setup => held(setup.semaphore(false)?.acquire(2).await?)),
            follow: run!(setup => held(setup.semaphore(false)?.acquire(2).await?)),
            shape: Shape { below: &["locks", "leases"], nodes: 1 },
        },
        Holding {
            name: "Semaphore-nodes",
            hold: run!(setup => held(setup.semaphore(true)?.acquire(2).await?)),
            follow: run!(setup => held(setup.semaphore(true)?.acquire(2).await?)),
            shape: Shape { below: &["locks", "leases"], nodes: 2 },
        },
        // They have one of two in common.
        Holding {
            name: "MultiLock",
            hold: |setup| Box::pin(Several::hold(setup, ["a", "b"], "b")),
            follow: |setup| Box::pin(Several::hold(setup, ["c", "b"], "b")),
            shape: Shape { below: &["a", "b", "c"], nodes: 2 },
        },
    ]
}

/// Something that a recipe does alone, from beginning to end.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: Run<()>,
    /// Whether the text is written.
    pub(crate) has_text: bool,
}

/// What each recipe does.
pub(crate) fn operations() -> Vec<Operation> {
    let operation = |name, has_text, run| Operation { name, run, has_text };
    vec![
        operation("Lock", true, run!(setup => setup.lock(Layout::Curator).acquire().await?.release().await?)),
        operation("RwLock-read", true, run!(setup => setup.rw_lock(Layout::Curator).read().await?.release().await?)),
        operation(
            "RwLock-write",
            true,
            run!(setup => setup.rw_lock(Layout::Kazoo).write().await?.downgrade().await?.release().await?),
        ),
        operation("Semaphore", true, run!(setup => permits(setup.semaphore(false)?).await?)),
        operation("Semaphore-nodes", true, run!(setup => permits(setup.semaphore(true)?).await?)),
        operation(
            "Semaphore-shared",
            true,
            run!(setup => {
                permits(Semaphore::builder(setup.client, setup.path, 3).owner(setup.text).shared().build()?).await?;
            }),
        ),
        operation(
            "MultiLock",
            true,
            run!(setup => {
                let locks = setup.multi_lock(["b", "a"])?;
                locks.acquire().await?.release().await?;
                drop(locks.try_acquire().await?);
            }),
        ),
        operation(
            "Election",
            true,
            run!(setup => {
                let leadership = setup.election(ElectionLayout::LeaderLatch).campaign().await?;
                leadership.proclaim("here").await?;
                leadership.resign().await?;
            }),
        ),
        operation(
            "Barrier",
            false,
            run!(setup => {
                let barrier = Barrier::new(setup.client, setup.path);
                barrier.close().await?;
                barrier.open().await?;
                barrier.wait().await?;
            }),
        ),
        operation(
            "DoubleBarrier",
            false,
            run!(setup => DoubleBarrier::new(setup.client, setup.path, 1)?.enter().await?.leave().await?),
        ),
        operation(
            "SharedValue",
            true,
            run!(setup => SharedValue::new(setup.client, setup.path).set(setup.text).await?),
        ),
        operation(
            "SharedCounter",
            false,
            run!(setup => {
                let counter = SharedCounter::builder(setup.client, setup.path).format(CounterFormat::Kazoo).build();
                counter.increment().await?;
            }),
        ),
        operation("LeaseLock", true, |setup| {
            Box::pin(async move {
                lease(setup, LONG).await?;
                Ok(())
            })
        }),
        operation(
            "Queue",
            true,
            run!(setup => {
                let queue = Queue::new(setup.client, setup.path);
                // The put that knows whether it happened, where the connection is lost.
                queue.put_once("it", setup.text).await?;
                queue.consumer().build().take().await?.ack().await?;
            }),
        ),
        operation("PriorityQueue", true, |setup| through_priorities(setup)),
        operation("DelayQueue", true, |setup| through_time(setup)),
        operation("ForeignQueue-simple", true, |setup| through_queue(setup, ForeignQueueLayout::CuratorSimple)),
        operation("ForeignQueue-curator", true, |setup| through_queue(setup, ForeignQueueLayout::Curator)),
        operation("ForeignQueue-kazoo", true, |setup| through_queue(setup, ForeignQueueLayout::Kazoo)),
    ]
}

async fn permits(semaphore: Semaphore<TokioClient>) -> Result<(), Error> {
    semaphore.acquire(2).await?.release().await?;
    drop(semaphore.acquire(3).await?);
    Ok(())
}

fn through_priorities(setup: Setup) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let queue = PriorityQueue::new(setup.client, setup.path, 2)?;
        queue.put_once(1, "it", setup.text.clone()).await?;
        queue.put_once(0, "urgent", setup.text).await?;
        let mut consumer = queue.consumer().build();
        consumer.take().await?.ack().await?;
        consumer.take().await?.ack().await
    })
}

fn through_time(setup: Setup) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let queue = DelayQueue::new(setup.client, setup.path, TokioTime::new());
        loop {
            match queue.put_at(1, setup.text.clone()).await {
                // Perhaps there are two of it then.
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {}
                outcome => break outcome?,
            }
        }
        queue.consumer().build().take().await?.ack().await
    })
}

fn through_queue(setup: Setup, layout: ForeignQueueLayout) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let mut queue = ForeignQueue::new(setup.client, setup.path, layout);
        queue.put(setup.text).await?;
        queue.take().await?;
        Ok(())
    })
}

/// A persistent node that allows this to anyone.
pub(crate) async fn create_with(client: &TokioClient, path: &NodePath, permissions: Permissions) {
    let acl = [Acl { permissions, scheme: "world".into(), id: "anyone".into() }];
    let mode = CreateMode::Persistent;
    client.call(Create { path: path.clone(), data: "".into(), acl: acl.into(), mode }).await.unwrap();
}
