//! Models of the queue with due times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{Bytes, Client as _, ClientExt, GetChildren, MultiOp, NodePath, Request, Response, Sleep, Time};
use herdless_memory::ManualTime;
use herdless_memory::check::Schedules;
use herdless_memory::check::shuttle::thread;
use herdless_recipes::DelayQueue;

use crate::harness::{Client, Count, Tamper, Tampered, contenders, dice, disturb, impatient, linger, one_in, sound};
use crate::queue::{self, World, node};

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 3;
const CLIENTS: usize = PRODUCERS + CONSUMERS;
const ITEMS: usize = 2;
const SECOND: Duration = Duration::from_secs(1);

/// The clock of a model; who looks at it lets others come before.
#[derive(Clone)]
struct Clock(ManualTime);

impl Time for Clock {
    fn now(&self) -> Duration {
        thread::yield_now();
        self.0.now()
    }

    fn unix_millis(&self) -> u64 {
        thread::yield_now();
        self.0.unix_millis()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        thread::yield_now();
        self.0.sleep(duration)
    }
}

/// What has happened besides what happens with every queue.
#[derive(Clone, Default)]
struct Counts {
    all: queue::Counts,
    slept: Count,
    late: Count,
    remade: Count,
}

/// A handle. Replies to its client may come late, and one may be lost, of those behind the making of the directories too.
fn delayed(world: &World, client: &Client) -> DelayQueue<Tampered, Clock> {
    if one_in(2) {
        world.server.delay_replies(client);
    }
    if one_in(2) {
        world.server.lose_reply_after(client, dice(16) as u64);
    }
    DelayQueue::new(Tampered::new(client.clone(), world.tamper), node("/q"), Clock(world.time.clone()))
}

fn produce(world: &World, client: &Client, number: usize, counts: &Counts) {
    let queue = delayed(world, client);
    for item in 0..ITEMS {
        linger(10);
        let now = world.time.unix_millis();
        let is_after = one_in(2);
        let delay = SECOND * dice(3) as u32;
        let due = delay.as_millis() as u64 + if is_after { now } else { 0 };
        let item = Bytes::from(format!("{number}-{item}@{due}"));
        world.known(|known| known.put.insert(item.clone(), false));
        let put = match is_after {
            true => impatient(5, queue.put_after(delay, item.clone())),
            false => impatient(5, queue.put_at(due, item.clone())),
        };
        counts.late.add(due < now);
        world.was_put(item, put, &counts.all);
    }
    world.known(|known| known.producers_done += 1);
}

fn consume(world: &World, client: &Client, counts: &Counts) {
    let consumer = delayed(world, client).consumer().prefetch(1 + dice(3)).max_attempts(3).build();
    world.consume(client, consumer, &counts.all);
}

/// Time passes, and goes on until everything that was put is due.
fn pass(world: &World, counts: &Counts) {
    for _ in 0..3 {
        linger(60);
        counts.slept.add(world.time.sleepers() > 0);
        world.time.advance(SECOND);
    }
    while world.known(|known| known.producers_done < PRODUCERS) {
        thread::yield_now();
    }
    world.time.advance(SECOND * 3);
}

/// Two producers put for three due times, and three consumers take, while time passes; they acknowledge, give back, drop and
/// give up at random points, over replies that are late and lost and connections that are cut; sessions end where `expires`.
/// Nothing is handed out before its time, and everything when it has come; otherwise as for the queue.
fn delay_queue(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..CLIENTS).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let counts_of = counts.clone();
        contenders(&world, CLIENTS + 2, move |world, number| match clients.get(number) {
            Some(client) if number < PRODUCERS => produce(world, client, number, &counts_of),
            Some(client) => consume(world, client, &counts_of),
            None if number == CLIENTS => pass(world, &counts_of),
            None => {
                disturb(&world.server, &clients, 4, expires);
                world.referee(PRODUCERS);
            }
        });
        let buckets = world.server.inspect(|tree| tree.stat(&node("/q/due")).expect("it stays").cversion);
        let dues = world.known(|known| known.put.keys().map(queue::due).collect::<BTreeSet<_>>().len());
        // Each was made and removed.
        counts.remade.add(buckets as usize > 2 * dues);
        assert_eq!(world.time.sleepers(), 0, "nobody sleeps on");
        let queue = DelayQueue::new(world.server.connect(), node("/q"), world.time.clone());
        world.assert_accounted(queue.consumer().build(), &counts.all);
    });
    counts.all.assert_reached(expires);
    counts.slept.assert_reached("a consumer sleeps until an item is due");
    counts.late.assert_reached("an item is due already when it is put");
    counts.remade.assert_reached("a bucket is made again");
}

#[test]
fn delay_queue_of_five() {
    delay_queue("delay_queue_of_five", false, sound);
}

#[test]
fn delay_queue_expiring_of_five() {
    delay_queue("delay_queue_expiring_of_five", true, sound);
}

/// The consumers do not watch the due times.
fn due_not_watched(client: &Client, mut request: Request) -> Response {
    if let Request::GetChildren(GetChildren { path, watch: true, .. }) = &mut request
        && path.as_str() == "/q/due"
    {
        *path = node("/q/dead");
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "exceeded max_steps")]
fn planted_delay_queue_due_not_watched() {
    delay_queue("planted_delay_queue_due_not_watched", false, due_not_watched);
}

/// Every item is due at once.
fn early(client: &Client, mut request: Request) -> Response {
    if let Request::Create(create) = &mut request
        && let Some(rest) = create.path.as_str().strip_prefix("/q/due/")
    {
        let item = rest.split_once('/').map_or(String::new(), |(_, item)| format!("/{item}"));
        create.path = node(&format!("/q/due/{:013}{item}", 0));
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "before its time")]
fn planted_delay_queue_early() {
    delay_queue("planted_delay_queue_early", false, early);
}

/// Items are taken out of their bucket first, and put into the lane when that is known to have happened.
fn move_in_two_steps(client: &Client, mut request: Request) -> Response {
    let Request::Multi(multi) = &mut request else { return client.submit(request) };
    let is_in_bucket = |path: &NodePath| path.as_str().starts_with("/q/due/");
    if !multi
        .operations
        .iter()
        .any(|operation| matches!(operation, MultiOp::Delete(delete) if is_in_bucket(&delete.path)))
    {
        return client.submit(request);
    }
    let is_create = |operation: &mut MultiOp| matches!(operation, MultiOp::Create(_));
    let creates: Vec<_> = multi.operations.extract_if(.., is_create).collect();
    let client_behind = client.clone();
    client.submit(request).map(move |outcome| {
        let answer = outcome?;
        drop(client_behind.multi(creates));
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "is missing")]
fn planted_delay_queue_move_in_two_steps() {
    delay_queue("planted_delay_queue_move_in_two_steps", false, move_in_two_steps);
}
