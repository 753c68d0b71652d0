//! What all models use: contenders on threads, dice, faults at random points.
//!
//! A model makes its world (server and what is protected), gives each contender a client, and lets them contend:
//!
//! ```text
//! Schedules::new(name).check(move || {
//!     let world = World::new();
//!     contenders(&world, 10, |world, number| { .. });
//!     world.assert_clean();
//! });
//! ```

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use herdless_memory::MemoryClient;
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::shuttle::rand::{Rng, thread_rng};
use herdless_memory::check::shuttle::thread;
use herdless_memory::check::{self, ShuttleLocks, ShuttleServer};

pub(crate) use herdless_memory::check::{Count, sound};

pub(crate) type Client = MemoryClient<ShuttleLocks>;

/// A client with a planted bug.
pub(crate) type Tampered = check::Tampered<Client>;

/// Carries out a request, or something else in its place.
pub(crate) type Tamper = check::Tamper<Client>;

/// Runs `body` for each of `count` contenders, on a thread each, and waits until all have done.
pub(crate) fn contenders<W, B>(world: &W, count: usize, body: B)
where
    W: Clone + Send + 'static,
    B: Fn(&W, usize) + Clone + Send + 'static,
{
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let (world, body) = (world.clone(), body.clone());
            thread::spawn(move || body(&world, number))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

/// One of the numbers below `sides`, at random.
pub(crate) fn dice(sides: usize) -> usize {
    thread_rng().gen_range(0..sides)
}

/// True once in so many times.
pub(crate) fn one_in(times: usize) -> bool {
    dice(times) == 0
}

/// Lets the others run for a while: up to `steps` steps of theirs.
pub(crate) fn linger(steps: usize) {
    (0..dice(steps + 1)).for_each(|_| thread::yield_now());
}

/// Runs a future, and drops it at a random point unless it has come to its end before.
///
/// It is polled again and again meanwhile, not only when it is woken: somebody who gives up has a timer of his own.
pub(crate) fn cancelled_somewhere<F: Future>(steps: usize, future: F) -> Option<F::Output> {
    let mut patience = dice(steps + 1);
    let mut future = pin!(future);
    block_on(poll_fn(|cx| {
        if patience == 0 {
            return Poll::Ready(None);
        }
        patience -= 1;
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    }))
}

/// Runs a future to its end, or, once in so many times, drops it at a random point.
pub(crate) fn impatient<F: Future>(times: usize, future: F) -> Option<F::Output> {
    match one_in(times) {
        true => cancelled_somewhere(40, future),
        false => Some(block_on(future)),
    }
}

/// Says once to everybody who waits that it is over.
#[derive(Clone, Default)]
pub(crate) struct Whistle(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Whistle {
    pub(crate) fn blow(&self) {
        let waiting = {
            let mut whistle = self.0.lock().expect("no panic");
            whistle.0 = true;
            std::mem::take(&mut whistle.1)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.0.lock().expect("no panic").0
    }

    /// Runs a future until it is over; `None` if it was dropped for that.
    pub(crate) fn unless_blown<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        block_on(poll_fn(|cx| {
            {
                let mut whistle = self.0.lock().expect("no panic");
                match whistle.0 {
                    true => return Poll::Ready(None),
                    false => whistle.1.push(cx.waker().clone()),
                }
            }
            future.as_mut().poll(cx).map(Some)
        }))
    }
}

/// What is done to clients, again and again, at random points, to clients drawn at random: their connections are cut and
/// made again, and, where `expires`, their sessions ended. Empty containers are removed, as a server does when it likes.
pub(crate) fn disturb(server: &ShuttleServer, clients: &[Client], times: usize, expires: bool) {
    for _ in 0..times {
        let client = &clients[dice(clients.len())];
        linger(20);
        if one_in(2) {
            server.reap_containers();
        }
        if expires && one_in(2) {
            server.expire(client);
        } else if one_in(2) {
            server.disconnect(client);
            linger(10);
            server.reconnect(client);
        }
    }
}

/// Replies to the client may come late, and one of the first may be lost.
pub(crate) fn unreliable(server: &ShuttleServer, client: &Client) {
    if one_in(2) {
        server.delay_replies(client);
    }
    if one_in(4) {
        server.lose_reply_after(client, dice(5) as u64);
    }
}
