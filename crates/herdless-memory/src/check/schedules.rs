//! Random orders: shuttle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use herdless_core::{Locks, Mutex};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use super::exchange_panic_hook;
use super::report::{Coverage, Report};

/// The in-memory server on shuttle's locks.
pub type ShuttleServer = crate::Backend<ShuttleLocks>;

/// [shuttle](https://docs.rs/shuttle)'s locks.
#[derive(Clone, Copy, Debug)]
pub struct ShuttleLocks;

impl Locks for ShuttleLocks {
    type Mutex<T: Send + 'static> = ShuttleMutex<T>;

    fn is_usable() -> bool {
        // Taking a lock switches to another thread, and the failed one should unwind to its end.
        !std::thread::panicking()
    }
}

/// shuttle's mutex as a [`Mutex`].
#[derive(Debug)]
pub struct ShuttleMutex<T>(shuttle::sync::Mutex<T>);

impl<T: Send + 'static> Mutex<T> for ShuttleMutex<T> {
    fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().expect("a panic ends the model"))
    }
}

/// A model too large for every order: a closure that shuttle runs many times, in orders of its steps drawn at random.
///
/// Schedules have numbers, from 0 on. The number decides every choice in the run, those of `shuttle::rand` as well, so
/// the same program always runs the same schedules, and a failure names the one to [`replay`](Self::replay).
///
/// ```
/// use herdless_core::{ClientExt, CreateMode, NodePath};
/// use herdless_memory::check::shuttle::{future::block_on, thread};
/// use herdless_memory::check::{Schedules, ShuttleServer};
///
/// // Ten clients create the same node, and one of them has it.
/// Schedules::new("one_creator_of_ten").iterations(100).check(|| {
///     let server = ShuttleServer::with_locks();
///     let threads: Vec<_> = (0..10)
///         .map(|_| {
///             let (client, path) = (server.connect(), NodePath::parse("/leader").unwrap());
///             thread::spawn(move || block_on(client.create(&path, "", CreateMode::Ephemeral)).is_ok())
///         })
///         .collect();
///     assert_eq!(threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count(), 1);
/// });
/// ```
///
/// # Limits
///
/// A pass proves nothing: it says that no bad order was among those that were drawn. Where threads wait, wait with
/// `shuttle::future::block_on`. Randomness must come from `shuttle::rand`, or a schedule's number does not repeat it.
/// Assert with none of shuttle's locks held: giving it back is a step, so other threads run on half-way through the
/// panic, and the message of one of them may be told in its place.
#[derive(Clone, Debug)]
pub struct Schedules {
    name: String,
    first: u64,
    count: u64,
}

impl Schedules {
    /// The first 10,000 schedules.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), first: 0, count: 10_000 }
    }

    /// How many schedules are run.
    pub fn iterations(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Runs the schedule of this number alone: the one that a failure has named.
    pub fn replay(mut self, number: u64) -> Self {
        (self.first, self.count) = (number, 1);
        self
    }

    /// Runs the model, and prints a line with its name, executions and seconds.
    ///
    /// # Panics
    ///
    /// When an execution panics, deadlocks or takes more than a million steps; a line on standard error names its
    /// schedule. When there is none to run.
    #[track_caller]
    pub fn check(self, body: impl Fn() + Send + Sync + 'static) -> Report {
        assert!(self.count > 0, "a model without a schedule has shown nothing");
        let mut config = shuttle::Config::new();
        // A schedule's number says it shorter.
        config.failure_persistence = shuttle::FailurePersistence::None;
        config.stack_size = STACK_SIZE;
        keep_panic_hook(&config);
        let dice = Dice::new(self.first, self.count);
        let running = Running { name: self.name.clone(), first: self.first, begun: dice.begun.clone() };
        let report = Report::of(self.name, Coverage::Random, body, |body| {
            shuttle::Runner::new(dice, config).run(body);
        });
        drop(running);
        println!("{report}");
        report
    }
}

/// Of a thread of a model: what a test's code and the futures it polls need in an unoptimised build.
const STACK_SIZE: usize = 256 * 1024;

/// shuttle's first execution in a process puts in a panic hook that prints lines for every panic there is, also for
/// those by which loom ends its threads. What it has to say of ours, [`Running`] says.
fn keep_panic_hook(config: &shuttle::Config) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        exchange_panic_hook(|| {
            let hook = std::panic::take_hook();
            shuttle::Runner::new(Dice::new(0, 1), config.clone()).run(|| {});
            std::panic::set_hook(hook);
        });
    });
}

/// Tells which schedule ran when a panic ends the model.
struct Running {
    name: String,
    first: u64,
    begun: Arc<AtomicU64>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let number = self.first + self.begun.load(Ordering::Relaxed).saturating_sub(1);
            eprintln!("model {}: schedule {number} failed; to run it alone: Schedules::replay({number})", self.name);
        }
    }
}

/// Chooses the next thread, every runnable one as likely as another. All choices of a schedule follow from its number.
#[derive(Debug)]
struct Dice {
    first: u64,
    count: u64,
    begun: Arc<AtomicU64>,
    state: u64,
}

impl Dice {
    fn new(first: u64, count: u64) -> Self {
        Self { first, count, begun: Arc::default(), state: 0 }
    }

    /// SplitMix64, which makes neighbouring numbers into streams that have nothing in common.
    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Scheduler for Dice {
    fn new_execution(&mut self) -> Option<Schedule> {
        let begun = self.begun.load(Ordering::Relaxed);
        if begun == self.count {
            return None;
        }
        self.begun.store(begun + 1, Ordering::Relaxed);
        self.state = self.first + begun;
        // One roll as the seed: the streams of two schedules would otherwise be one stream, shifted.
        self.state = self.roll();
        Some(Schedule::new(self.first + begun))
    }

    fn next_task(&mut self, runnable: &[&Task], _current: Option<TaskId>, _is_yielding: bool) -> Option<TaskId> {
        let choice = self.roll() % runnable.len() as u64;
        Some(runnable[usize::try_from(choice).expect("less than a length")].id())
    }

    fn next_u64(&mut self) -> u64 {
        self.roll()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use shuttle::rand::{RngCore, thread_rng};

    use super::*;

    /// The order in which three threads come by, and a random number, for each execution.
    fn traces(schedules: Schedules) -> Vec<(Vec<u32>, u64)> {
        let traces = Arc::new(Mutex::new(Vec::new()));
        let traces_in = traces.clone();
        schedules.check(move || {
            let order = Arc::new(Mutex::new(Vec::new()));
            let threads: Vec<_> = (0..3)
                .map(|number| {
                    let order = order.clone();
                    shuttle::thread::spawn(move || order.lock().unwrap().push(number))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let order = std::mem::take(&mut *order.lock().unwrap());
            traces_in.lock().unwrap().push((order, thread_rng().next_u64()));
        });
        std::mem::take(&mut traces.lock().unwrap())
    }

    #[test]
    fn a_number_is_a_schedule() {
        let all = traces(Schedules::new("all").iterations(100));
        assert_eq!(all.len(), 100);
        for number in [0, 7, 99] {
            assert_eq!(traces(Schedules::new("one").replay(number)), all[number as usize..][..1]);
        }
    }

    #[test]
    fn schedules_differ() {
        let all = traces(Schedules::new("all").iterations(1_000));
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert!(all.iter().any(|(other, _)| *other == order), "never {order:?}");
        }
        let numbers: std::collections::BTreeSet<_> = all.iter().map(|(_, number)| number).collect();
        assert_eq!(numbers.len(), 1_000);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_lost_wake_up_fails() {
        Schedules::new("lost").check(|| shuttle::future::block_on(std::future::pending()));
    }

    #[test]
    #[should_panic(expected = "met")]
    fn a_message_is_that_of_the_panic() {
        Schedules::new("met").check(|| {
            let server = ShuttleServer::with_locks();
            let clients = [server.connect(), server.connect()];
            let threads = clients.map(|client| {
                shuttle::thread::spawn(move || {
                    let path = herdless_core::NodePath::parse("/node").unwrap();
                    let mode = herdless_core::CreateMode::Ephemeral;
                    let call = herdless_core::ClientExt::create(&client, &path, "", mode);
                    assert!(shuttle::future::block_on(call).is_ok(), "they met");
                })
            });
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
    }
}
