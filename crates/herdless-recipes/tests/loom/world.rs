//! What the contenders of a model share, and the properties that are checked on it.

use std::sync::Arc;

use herdless_core::{Client, ClientExt, CreateMode, NodePath};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, block_on, loom};
use herdless_recipes::{Grant, Lock, Token};

use crate::models::flaw::{self, Flaw};
use crate::models::store::{Store, assert_clean};

/// A client with a flaw, on loom's locks.
pub(crate) type Flawed = flaw::Flawed<MemoryClient<LoomLocks>>;

/// One execution's server, and the resource that the lock protects.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) server: LoomServer,
    flaw: Flaw,
    confirm: bool,
    resource: Arc<Resource>,
}

struct Resource {
    /// loom sees two visits without an order between them even where they did not overlap in time. The lock of std
    /// around it is there for `Sync` alone; loom does not see it.
    critical: std::sync::Mutex<loom::cell::UnsafeCell<()>>,
    /// Must be loom's: an acquire and a write would be one step otherwise.
    store: loom::sync::Mutex<Store>,
}

impl World {
    pub(crate) fn new(flaw: Flaw) -> Self {
        let server = LoomServer::with_locks();
        let world = Self {
            server,
            flaw,
            confirm: false,
            resource: Arc::new(Resource {
                critical: std::sync::Mutex::new(loom::cell::UnsafeCell::new(())),
                store: loom::sync::Mutex::new(Store::default()),
            }),
        };
        // Made beforehand, so that the models are about contending and not about parents.
        let setup = world.server.connect();
        block_on(setup.create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        world
    }

    pub(crate) fn confirming(mut self) -> Self {
        self.confirm = true;
        self
    }

    pub(crate) fn connect(&self) -> MemoryClient<LoomLocks> {
        self.server.connect()
    }

    pub(crate) fn lock(&self, client: &MemoryClient<LoomLocks>) -> Lock<Flawed> {
        Lock::builder(Flawed::new(client.clone(), self.flaw), path()).confirm_hand_over(self.confirm).build()
    }

    /// Exclusion and order where nobody's session ends: visits never overlap, and tokens come in the order of asking.
    pub(crate) fn visit(&self, token: Token) {
        self.resource.critical.lock().expect("no panic").with_mut(|_| ());
        self.resource.store.lock().expect("no panic").visit(token);
    }

    /// Exclusion where sessions end: while a guard is valid, nobody else's is, and no valid holder's write is refused.
    pub(crate) fn hold<C: Client + Clone + 'static>(&self, guard: &Grant<C>) {
        self.resource.store.lock().expect("no panic").hold(guard);
    }

    /// The end of [`hold`](Self::hold), before the guard goes.
    pub(crate) fn let_go(&self, token: Token) {
        self.resource.store.lock().expect("no panic").let_go(token);
    }

    /// Nothing is left: no contender's node, no watch on the server.
    pub(crate) fn assert_clean(&self) {
        self.server.inspect(assert_clean);
    }
}

pub(crate) fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}
