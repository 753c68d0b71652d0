//! Models of the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use herdless_core::{ClientExt, CreateMode, NodePath};
use herdless_memory::MemoryClient;
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleLocks, ShuttleServer};
use herdless_recipes::{Lock, LockGuard, Token};

use crate::harness::{Count, cancelled_somewhere, contenders, linger, one_in, unreliable};
use crate::models::flaw::{Flaw, Flawed};
use crate::models::store::{Store, assert_clean};

type Client = MemoryClient<ShuttleLocks>;
type Guard = LockGuard<Flawed<Client>>;

/// One execution's server, and the resource that the lock protects. The resource is on locks of std, so that a failed
/// assertion is the last step; where others may come in between, it says [`linger`].
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    flaw: Flaw,
    is_inside: Arc<AtomicBool>,
    store: Arc<Mutex<Store>>,
}

impl World {
    fn new(flaw: Flaw) -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        Self { server, flaw, is_inside: Arc::default(), store: Arc::default() }
    }

    fn lock(&self, client: &Client) -> Lock<Flawed<Client>> {
        Lock::new(Flawed::new(client.clone(), self.flaw), path())
    }

    /// Takes the lock; one in three gives up at a random point, if it does not have it by then.
    fn acquire(&self, client: &Client) -> Option<Guard> {
        let lock = self.lock(client);
        let guard = match one_in(3) {
            true => cancelled_somewhere(40, lock.acquire())?,
            false => block_on(lock.acquire()),
        };
        Some(guard.expect("an acquire outlives its session"))
    }

    /// Exclusion and order where nobody's session ends.
    fn visit(&self, token: Token) {
        linger(1);
        assert!(!self.is_inside.swap(true, Ordering::Relaxed), "two holders at once");
        linger(10);
        self.store.lock().expect("no panic").visit(token);
        assert!(self.is_inside.swap(false, Ordering::Relaxed), "two holders at once");
    }

    /// Exclusion where sessions end.
    fn hold(&self, guard: &Guard) {
        linger(1);
        self.store.lock().expect("no panic").hold(guard);
        linger(10);
        self.store.lock().expect("no panic").let_go(guard.token());
    }
}

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

/// Exclusion, first come first served, no lost wake-up and nothing left, with acquires cancelled at random points and
/// replies late and lost.
fn cancelled(name: &'static str, count: usize, flaw: Flaw) {
    let (waited, gave_up) = (Count::default(), Count::default());
    let (waited_in, gave_up_in) = (waited.clone(), gave_up.clone());
    Schedules::new(name).check(move || {
        let world = World::new(flaw);
        let gave_up = gave_up_in.clone();
        contenders(&world, count, move |world, _| {
            let client = world.server.connect();
            unreliable(&world.server, &client);
            let guard = world.acquire(&client);
            gave_up.add(guard.is_none());
            if let Some(guard) = guard {
                world.visit(guard.token());
            }
        });
        waited_in.add(world.server.wake_ups() as usize >= count / 2);
        world.server.inspect(assert_clean);
    });
    waited.assert_reached("half of the contenders wait");
    gave_up.assert_reached("an acquire is cancelled");
}

#[test]
fn cancelled_of_five() {
    cancelled("cancelled_of_five", 5, Flaw::None);
}

#[test]
fn cancelled_of_ten() {
    cancelled("cancelled_of_ten", 10, Flaw::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_create_blindly() {
    cancelled("planted_create_blindly", 5, Flaw::CreateBlindly);
}

#[test]
#[should_panic(expected = "two holders at once")]
fn planted_trust_death() {
    cancelled("planted_trust_death", 10, Flaw::TrustDeath);
}

/// As above, and sessions end at random points: of two guards at most one is valid, no valid holder's write is refused,
/// nobody waits for ever, nothing is left. Where the first or the second fails, the message says "valid".
fn expiring(name: &'static str, count: usize, flaw: Flaw) {
    let (lost_while_held, expired) = (Count::default(), Count::default());
    let (lost_in, expired_in) = (lost_while_held.clone(), expired.clone());
    Schedules::new(name).check(move || {
        let world = World::new(flaw);
        let clients: Arc<[_]> = (0..count).map(|_| world.server.connect()).collect();
        let (lost, expired) = (lost_in.clone(), expired_in.clone());
        // The last one is no contender: it ends sessions of the others.
        contenders(&world, count + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                return clients.iter().filter(|_| one_in(3)).for_each(|client| {
                    linger(20);
                    world.server.expire(client);
                });
            };
            unreliable(&world.server, client);
            let first = herdless_core::Client::session(client);
            if let Some(guard) = world.acquire(client) {
                world.hold(&guard);
                lost.add(!guard.is_valid());
                expired.add(guard.session().id() != first.id());
            }
        });
        world.server.inspect(assert_clean);
    });
    lost_while_held.assert_reached("the session ends while the lock is held");
    expired.assert_reached("a waiter starts again with a new session");
}

#[test]
fn expiring_of_five() {
    expiring("expiring_of_five", 5, Flaw::None);
}

#[test]
fn expiring_of_ten() {
    expiring("expiring_of_ten", 10, Flaw::None);
}

#[test]
#[should_panic(expected = "valid")]
fn planted_trust_death_of_five() {
    expiring("planted_trust_death_of_five", 5, Flaw::TrustDeath);
}

#[test]
#[should_panic(expected = "valid")]
fn planted_hand_over_on_giving_up() {
    expiring("planted_hand_over_on_giving_up", 10, Flaw::HandOverOnGivingUp);
}
