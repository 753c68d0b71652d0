//! Waiting until one more request would be accepted.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use herdless_core::{Error, Mutex};

use crate::client::{Shared, State};

/// Those who wait for room among the requests in flight, in the order in which they came.
///
/// While there is room, one of them is awake: the driver wakes the first, and who has seen the room wakes the next, also
/// one that was woken and is dropped without a look. So nobody sleeps beside room that others leave unused, and a reply
/// wakes one task and not all.
#[derive(Debug, Default)]
pub(crate) struct Room {
    last: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl State {
    /// Who is to be woken because there is room, or because there never will be again.
    pub(crate) fn next_with_room(&mut self) -> Option<Waker> {
        if self.room.waiting.is_empty() || self.machine.has_room() == Ok(false) {
            return None;
        }
        self.room.waiting.pop_first().map(|(_, waker)| waker)
    }
}

/// One who waits. Its place in line is kept over all its polls.
pub(crate) struct Ready {
    shared: Arc<Shared>,
    place: Option<u64>,
}

impl Ready {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, place: None }
    }
}

impl Future for Ready {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, place } = &mut *self;
        let (poll, next, _replaced) = shared.state.with(|state| match state.machine.has_room() {
            Ok(false) => {
                let place = *place.get_or_insert_with(|| {
                    state.room.last += 1;
                    state.room.last
                });
                (Poll::Pending, None, state.room.waiting.insert(place, cx.waker().clone()))
            }
            outcome => {
                let own = place.take().and_then(|place| state.room.waiting.remove(&place));
                (Poll::Ready(outcome.map(drop)), state.next_with_room(), own)
            }
        });
        next.into_iter().for_each(Waker::wake);
        poll
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let (next, _own) = self.shared.state.with(|state| match state.room.waiting.remove(&place) {
            None => (state.next_with_room(), None),
            own => (None, own),
        });
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use herdless_core::{Exists, NodePath, Reply, Request};
    use herdless_proto::client::{Config, Machine};
    use herdless_proto::codec::ConnectResponse;
    use herdless_proto::server::{self, Incoming};

    use super::*;
    use crate::client::{Slot, now};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One who waits, and how often it was woken since it was last asked.
    struct Waiter {
        ready: Pin<Box<Ready>>,
        wakes: Arc<Wakes>,
    }

    impl Waiter {
        fn poll(&mut self) -> Poll<Result<(), Error>> {
            self.ready.as_mut().poll(&mut Context::from_waker(&Waker::from(self.wakes.clone())))
        }

        fn was_woken(&self) -> bool {
            self.wakes.0.swap(0, Ordering::Relaxed) > 0
        }
    }

    /// A client with a session and room for one request, and the server's end; the test is the driver.
    struct World {
        shared: Arc<Shared>,
        server: server::Machine,
    }

    impl World {
        fn new() -> Self {
            let long = Duration::from_secs(60);
            let machine = Machine::new(Config {
                hosts: 1,
                session_timeout: long,
                connect_timeout: long,
                max_backoff: long,
                max_in_flight: 1,
                request_timeout: None,
                max_reply: 1_000,
                read_only: false,
            });
            let mut world = Self { shared: Arc::new(Shared::new(machine)), server: server::Machine::new() };
            let server = &mut world.server;
            world.shared.state.with(|State { machine, .. }| {
                machine.connected(now());
                assert!(matches!(server.poll(machine.transmit(), 1), Ok(Some(Incoming::Connect(_)))));
                let password = [7; 16];
                server.accept(&ConnectResponse { timeout_ms: 60_000, session_id: 7, password, read_only: None });
                machine.receive(now(), server.transmit()).unwrap();
            });
            world
        }

        fn submit(&self) -> Result<(), Error> {
            let request = Request::Exists(Exists { path: NodePath::root(), watch: false });
            let submitted = self.shared.state.with(|state| state.machine.submit(now(), request, Slot::default()));
            submitted.map_err(|(_, error)| error)
        }

        /// Answers the request that is there, and does what the driver does after that.
        fn answer(&mut self) {
            let server = &mut self.server;
            let woken = self.shared.state.with(|state| {
                let Ok(Some(Incoming::Request { ticket, .. })) = server.poll(state.machine.transmit(), 1) else {
                    panic!("there is a request");
                };
                server.reply(&ticket, 1, &Ok(Reply::Exists(None)));
                state.machine.receive(now(), server.transmit()).unwrap();
                state.next_with_room()
            });
            woken.into_iter().for_each(Waker::wake);
        }

        fn waiter(&self) -> Waiter {
            let mut waiter = Waiter { ready: Box::pin(Ready::new(self.shared.clone())), wakes: Arc::default() };
            assert!(waiter.poll().is_pending());
            waiter
        }
    }

    #[test]
    fn room_that_is_there_is_seen_at_once() {
        let world = World::new();
        let mut ready = std::pin::pin!(Ready::new(world.shared.clone()));
        assert!(ready.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        world.submit().unwrap();
        assert_eq!(world.submit(), Err(Error::Overloaded));
    }

    #[test]
    fn one_is_woken_for_each_room_and_who_finds_it_taken_keeps_its_place() {
        let mut world = World::new();
        world.submit().unwrap();
        let (mut first, mut second) = (world.waiter(), world.waiter());
        world.answer();
        assert!(first.was_woken() && !second.was_woken());
        // Somebody else is faster.
        world.submit().unwrap();
        assert!(first.poll().is_pending());
        world.answer();
        assert!(first.was_woken() && !second.was_woken(), "it is still the first");
        assert_eq!(first.poll(), Poll::Ready(Ok(())));
        world.submit().unwrap();
        // Told that there may be more: there is not.
        assert!(second.was_woken() && second.poll().is_pending());
        world.answer();
        assert!(second.was_woken());
        assert_eq!(second.poll(), Poll::Ready(Ok(())));
    }

    #[test]
    fn room_that_is_left_unused_goes_to_the_next() {
        let mut world = World::new();
        world.submit().unwrap();
        let [dropped, mut idle, mut last] = [world.waiter(), world.waiter(), world.waiter()];
        world.answer();
        assert!(dropped.was_woken() && !idle.was_woken());
        drop(dropped);
        assert!(idle.was_woken(), "the one before it was woken and is gone");
        assert_eq!(idle.poll(), Poll::Ready(Ok(())));
        // It sends nothing, and no reply will ever come.
        assert!(last.was_woken());
        assert_eq!(last.poll(), Poll::Ready(Ok(())));
    }

    #[test]
    fn who_is_dropped_asleep_takes_no_wake_up_with_it() {
        let mut world = World::new();
        world.submit().unwrap();
        let (first, second) = (world.waiter(), world.waiter());
        drop(first);
        assert!(!second.was_woken(), "there is no room");
        world.answer();
        assert!(second.was_woken());
    }

    #[test]
    fn the_end_of_the_client_wakes_all() {
        let world = World::new();
        world.submit().unwrap();
        let mut waiters = [world.waiter(), world.waiter(), world.waiter()];
        let woken = world.shared.state.with(|state| {
            state.machine.abort();
            state.next_with_room()
        });
        woken.into_iter().for_each(Waker::wake);
        for waiter in &mut waiters {
            assert!(waiter.was_woken());
            assert_eq!(waiter.poll(), Poll::Ready(Err(Error::Closed)));
        }
    }
}
