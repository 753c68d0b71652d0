//! Leaders that are killed again and again, and how long nobody leads.
//!
//! ```text
//! cargo run --example leader_failover
//! cargo run --example leader_failover -- --connect localhost:2181 --kills 10 --processes 6
//! ```
//!
//! Of several candidates one leads, and writes to a store (the parent) that compares terms. The parent kills the leader
//! as `kill -9` does, starts another candidate in its place, and measures the time to the next leader's first write. In
//! turn with that it asks the leader to resign, which costs no session timeout.
//!
//! How an election is used is all in [`work`]; the parent looks on with `observe`, as any process may.

use std::time::Duration;

use clap::{Parser, value_parser};
use futures::StreamExt;
use herdless::{Election, Led};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run};
use tokio::sync::mpsc::unbounded_channel;

/// A real server ends a session at its next tick after the timeout: 2 s as it comes. The rest is for a busy machine.
const MARGIN: Duration = Duration::from_millis(3_500);
/// A store that has refused more writes than this is not asked any more.
const REFUSALS: usize = 100;
/// How often a leader writes before something happens to it.
const WRITES: u32 = 10;

/// Leaders are killed, or resign, and others follow
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many candidates there are at any time
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(2..=50))]
    processes: u32,
    /// How many leaders are killed
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=1_000))]
    kills: u32,
    /// How many leaders resign, between those
    #[arg(long, default_value_t = 6, value_parser = value_parser!(u32).range(..=1_000))]
    resignations: u32,
    /// How long a leader waits between two writes
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    #[command(flatten)]
    shared: Shared,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let work = async |worker| work(worker, &arguments).await;
    run(&arguments.shared, work, async |stage| supervise(stage, &arguments).await).await;
}

// ----- The worker

async fn work(mut worker: Worker, arguments: &Arguments) -> Result<(), AnyError> {
    let election = Election::builder(worker.client.clone(), worker.path.child("election")?).id(worker.name()).build();
    loop {
        worker.tell("stands", &[])?;
        let led = election.lead_once(async |leadership| -> Result<bool, AnyError> {
            let term = leadership.term().0.0;
            leadership.proclaim(format!("process {}", worker.number)).await?;
            // Stopped at any await as soon as the leadership is lost: nothing of this runs beside the next leader.
            loop {
                match worker.ask("writes", &[term]).await?.as_str() {
                    "resign" | "refused" => return Ok(true),
                    "end" => return Ok(false),
                    _ => tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await,
                }
            }
        });
        match led.await? {
            Led::Finished(stands_again) => {
                if !stands_again? {
                    return Ok(());
                }
            }
            Led::Lost => {
                worker.tell("lost", &[])?;
                // The parent may have answered a write that we did not wait for any more.
                while worker.hear().await != "noted" {}
            }
        }
    }
}

// ----- The parent

/// What the parent does to a leader that has written often enough.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Resigns,
    IsKilled,
    Ends,
}

/// The store, and what it knows of leaders. Times are in microseconds.
#[derive(Default)]
struct Store {
    /// Who led in which term, in the order of their first writes.
    terms: Vec<(i64, usize)>,
    /// Of the leader.
    writes: u32,
    refused: usize,
    /// Since when nobody leads, and why.
    vacant: Option<(i64, Fate)>,
    after_kill: Vec<i64>,
    after_resignation: Vec<i64>,
    /// Leaders that followed one that nothing was done to.
    usurped: usize,
    /// Leaders that nothing was done to, and that lost their session all the same.
    lost: usize,
}

impl Store {
    /// Whether the write is taken: a store that is protected by terms takes none that is older than one it has seen.
    fn take(&mut self, who: usize, term: i64) -> bool {
        match self.terms.last() {
            Some(&(newest, leader)) if term < newest || (term == newest && who != leader) => {
                self.refused += 1;
                return false;
            }
            Some(&(newest, _)) if term == newest => {}
            last => {
                match (self.vacant.take(), last) {
                    (Some((since, Fate::IsKilled)), _) => self.after_kill.push(micros() - since),
                    (Some((since, _)), _) => self.after_resignation.push(micros() - since),
                    (None, None) => {}
                    (None, Some(_)) => self.usurped += 1,
                }
                self.terms.push((term, who));
                self.writes = 0;
            }
        }
        self.writes += 1;
        true
    }

    /// Resignations and kills take turns, in proportion.
    fn fate(&self, arguments: &Arguments) -> Fate {
        let (resigned, killed) = (self.after_resignation.len() as u32, self.after_kill.len() as u32);
        let is_turn = resigned * arguments.kills <= killed * arguments.resignations;
        match (resigned < arguments.resignations, killed < arguments.kills) {
            (true, has_kills) if is_turn || !has_kills => Fate::Resigns,
            (_, true) => Fate::IsKilled,
            _ => Fate::Ends,
        }
    }
}

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    let all = arguments.kills + arguments.resignations + arguments.processes;
    println!("workers  {}, of which {} are killed", arguments.processes, arguments.kills);
    let election = Election::new(stage.client.clone(), stage.path.child("election")?);
    let (sender, mut sights) = unbounded_channel();
    let mut leaders = election.observe();
    let observer = tokio::spawn(async move {
        while let Some(Ok(leader)) = leaders.next().await {
            let _ = sender.send(leader);
        }
    });
    let mut states = Vec::new();
    for _ in 0..arguments.processes {
        stage.start(&[], all)?;
        states.push(State::Stands);
    }
    let mut store = Store::default();
    while let Some(event) = stage.next().await? {
        match event {
            Event::Tick => draw(stage, &store, &states),
            Event::Ended(who) if states[who] != State::Killed => states[who] = State::Ended,
            Event::Ended(_) => {}
            Event::Said(who, word, numbers) => match (word.as_str(), &numbers[..]) {
                ("stands", []) => states[who] = State::Stands,
                ("lost", []) => {
                    store.lost += 1;
                    stage.answer(who, "noted").await;
                }
                ("writes", _) if store.refused > REFUSALS => return Err("the store refuses write after write".into()),
                ("writes", &[term]) if !store.take(who, term) => stage.answer(who, "refused").await,
                ("writes", &[_]) if store.writes < WRITES => {
                    states[who] = State::Leads;
                    stage.answer(who, "stored").await;
                }
                ("writes", &[_]) => {
                    let fate = store.fate(arguments);
                    store.vacant = Some((micros(), fate));
                    match fate {
                        Fate::Resigns => stage.answer(who, "resign").await,
                        Fate::Ends => stage.answer(who, "end").await,
                        Fate::IsKilled => {
                            store.vacant = Some((stage.kill(who).await?, fate));
                            states[who] = State::Killed;
                            stage.say(format!("killed process {}, which led", who + 1));
                            stage.start(&[], all)?;
                            states.push(State::Stands);
                        }
                    }
                }
                _ => return Err(format!("process {} says {word} {numbers:?}", who + 1).into()),
            },
        }
    }
    draw(stage, &store, &states);
    observer.abort();

    // Who looks on may miss a short leadership, but sees none twice, and none under a wrong name.
    let (mut seen, mut last, mut mistaken) = (0, 0, 0);
    while let Ok(leader) = sights.try_recv() {
        let Some(leader) = leader else { continue };
        let term = leader.term.0.0;
        let who = store.terms.iter().find(|(one, _)| *one == term).map(|(_, who)| format!("process {}", who + 1));
        let is_named = leader.value.is_none() || leader.value.as_deref() == who.as_ref().map(|who| who.as_bytes());
        mistaken += usize::from(term < last || !is_named);
        seen += usize::from(term > last);
        last = last.max(term);
    }
    let terms = store.terms.len();
    let is_growing = store.terms.is_sorted_by(|one, next| one.0 < next.0);
    let allowed = stage.session_timeout() + MARGIN;
    let is_late = |gap: &&i64| **gap > allowed.as_micros() as i64;
    let late = store.after_kill.iter().filter(is_late).count();
    let planned = (store.after_kill.len() as u32, store.after_resignation.len() as u32);

    let mut summary = stage.summary(format!("{terms} leaders"));
    summary.check("terms", terms, "greater from leader to leader", is_growing);
    // Only a leader that is paused for longer than its session lasts can be followed without knowing it.
    let is_right = store.usurped <= store.lost;
    summary.check("usurped", store.usurped, "leaders that led on when another one led", is_right);
    let is_right = store.refused == 0 || store.lost > 0;
    summary.check("refused writes", store.refused, "of a term older than one that the store had seen", is_right);
    summary.show("lost", store.lost, "sessions that ended by themselves, on a machine that is too busy");
    let is_right = planned.0 == arguments.kills;
    summary.check("kills", planned.0, "of leaders, each followed by another leader", is_right);
    summary.zero("late", late, format!("followed later than {allowed:?} after the kill"));
    summary.zero("mistaken", mistaken, "sights of a leader out of order, or under the name of another");
    summary.check("seen", seen, "leaders by an observer", seen > 0 && seen <= terms);
    let remark = format!("without a leader after a kill; the session timeout is {:?}", stage.session_timeout());
    summary.times("killed", store.after_kill, remark);
    summary.times("resigned", store.after_resignation, "without a leader after a request to resign");
    Ok(summary.is_fine())
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Stands,
    Leads,
    Killed,
    Ended,
}

fn draw(stage: &mut Stage, store: &Store, states: &[State]) {
    let leader = store.terms.last().filter(|_| store.vacant.is_none());
    for (who, state) in states.iter().enumerate() {
        let led = store.terms.iter().filter(|(_, one)| *one == who).count();
        let (color, text) = match (state, leader) {
            (State::Killed, _) => ("red", "killed while it led".into()),
            (State::Ended, _) => ("dim", String::new()),
            (_, Some((term, one))) if *one == who => ("green.bold", format!("LEADS, term {term:#x}")),
            _ => ("yellow", "stands".into()),
        };
        stage.paint(who, led, color, text);
    }
    stage.plain(|| match leader {
        Some((term, who)) => format!("process {} leads, term {term:#x}", who + 1),
        None => "nobody leads".into(),
    });
}
