//! The recipes in tables, for what is the same for all of them.

use std::ops::Deref;
use std::time::Duration;

use futures::future::BoxFuture;
use herdless::core::Create;
use herdless::core::MultiReply;
use herdless::{
    Acl, Barrier, ClientExt, CounterFormat, CreateMode, DoubleBarrier, Election, ElectionLayout, Error, ForeignQueue,
    ForeignQueueLayout, Grant, Layout, LeaseGuard, LeaseLock, Lock, MultiOp, NodePath, Owner, Permissions, Queue,
    ReentrantLock, RwLock, SharedCounter, SharedValue, Token, TokioClient, TokioTime,
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

type Run<T> = fn(Setup) -> BoxFuture<'static, Result<T, Error>>;

/// A recipe with something to be held.
#[derive(Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) name: &'static str,
    pub(crate) hold: Run<Held>,
    /// Holds what nobody may hold at the same time.
    pub(crate) follow: Run<Held>,
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
        },
        Holding {
            name: "Lock-kazoo",
            hold: run!(setup => held(setup.lock(Layout::Kazoo).acquire().await?)),
            follow: run!(setup => held(setup.lock(Layout::Kazoo).acquire().await?)),
        },
        Holding {
            name: "ReentrantLock",
            hold: run!(setup => held(ReentrantLock::new(setup.lock(Layout::Curator)).acquire(Owner::new()).await?)),
            follow: run!(setup => held(ReentrantLock::new(setup.lock(Layout::Curator)).acquire(Owner::new()).await?)),
        },
        Holding {
            name: "RwLock-read",
            hold: run!(setup => held(setup.rw_lock(Layout::Curator).read().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Curator).write().await?)),
        },
        Holding {
            name: "RwLock-write",
            hold: run!(setup => held(setup.rw_lock(Layout::Curator).write().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Curator).read().await?)),
        },
        Holding {
            name: "RwLock-downgraded",
            hold: run!(setup => held(setup.rw_lock(Layout::Kazoo).write().await?.downgrade().await?)),
            follow: run!(setup => held(setup.rw_lock(Layout::Kazoo).write().await?)),
        },
        Holding {
            name: "LeaseLock",
            hold: |setup| Box::pin(lease(setup, LONG)),
            follow: |setup| Box::pin(lease(setup, LONG)),
        },
        Holding {
            name: "Election-latch",
            hold: run!(setup => held(setup.election(ElectionLayout::LeaderLatch).campaign().await?)),
            follow: run!(setup => held(setup.election(ElectionLayout::LeaderLatch).campaign().await?)),
        },
        Holding {
            name: "Election-selector",
            hold: run!(setup => held(setup.election(ElectionLayout::LeaderSelector).campaign().await?)),
            follow: run!(setup => held(setup.election(ElectionLayout::LeaderSelector).campaign().await?)),
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
        operation("ForeignQueue-simple", true, |setup| through_queue(setup, ForeignQueueLayout::CuratorSimple)),
        operation("ForeignQueue-curator", true, |setup| through_queue(setup, ForeignQueueLayout::Curator)),
        operation("ForeignQueue-kazoo", true, |setup| through_queue(setup, ForeignQueueLayout::Kazoo)),
    ]
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
