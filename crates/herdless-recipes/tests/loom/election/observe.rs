//! Models of those who follow the leader.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use herdless_core::{
    Answer, Bytes, Client, Exists, GetChildren, GetData, Mutex, OneShot, Reply, Request, Response, StdMutex, Watch,
    WatchOutcome, WatchSource,
};
use herdless_memory::check::{LoomLocks, Model, block_on, loom};
use herdless_recipes::{Election, Leader, Leadership};

use super::{Inner, LATCH, SOUND, Wrap, assert_clean, at_once, election};
use crate::harness::Count;
use crate::models::flaw::Flaw;
use crate::world::{World, path};

/// What happens to the observer meanwhile.
#[derive(Clone, Copy)]
enum Trouble {
    None,
    Expiry,
    Cut,
}

/// Two leaders after each other, each proclaiming its own value, and nobody in between: the observer never goes back,
/// shows nobody's value in another's term, and ends with the last value of the last leader.
fn observe<W: Wrap>(name: &'static str, trouble: Trouble, bound: Option<usize>, wrap: W) {
    let (all, some, nobody) = (Count::default(), Count::default(), Count::default());
    let (all_in, some_in, nobody_in) = (all.clone(), some.clone(), nobody.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(Flaw::None);
        let (observing, standing) = (world.connect(), world.connect());
        let (server, victim) = (world.server.clone(), observing.clone());
        let troubles = move || match trouble {
            Trouble::None => {}
            Trouble::Expiry => server.expire(&victim),
            Trouble::Cut => {
                server.disconnect(&victim);
                server.reconnect(&victim);
            }
        };
        let troubling = (!matches!(trouble, Trouble::None)).then(|| loom::thread::spawn(troubles));
        let thread = loom::thread::spawn(move || {
            let election = election(&standing, LATCH, SOUND);
            let first = block_on(election.campaign()).expect("the session lives");
            block_on(first.proclaim(own_value("first", &first))).expect("the session lives");
            drop(first);
            let second = block_on(election.campaign()).expect("the session lives");
            block_on(second.proclaim(own_value("second", &second))).expect("the session lives");
            second
        });
        let shown = follow(&election(&observing, LATCH, wrap));
        let last: Leadership<_> = thread.join().expect("no panic");
        troubling.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let terms: Vec<_> = shown.iter().flatten().map(|leader| leader.term).collect();
        assert_eq!(terms.last(), Some(&last.term()), "it ends with the last leader");
        all_in.add(terms.first() != terms.last());
        some_in.add(shown.len() == 1);
        nobody_in.add(shown.iter().skip(1).any(Option::is_none));
        drop(last);
        // On the data of the election's node: it stays until that is written again.
        assert_clean(&world, 1);
    });
    all.assert_reached("both leaders are shown");
    some.assert_reached("only the last is shown");
    nobody.assert_reached("that there is nobody in between is shown");
}

/// What a leader of these models proclaims.
fn own_value<C: Client + Clone + 'static>(name: &str, leadership: &Leadership<C>) -> String {
    format!("{name} of {}", leadership.term())
}

/// Everything that an observer is shown until the value of the last leader.
fn follow<C: Client + Clone + 'static>(election: &Election<C>) -> Vec<Option<Leader>> {
    let mut leaders = election.observe();
    let mut shown: Vec<Option<Leader>> = Vec::new();
    let mut highest = None;
    loop {
        let item = block_on(leaders.next()).expect("it goes on").expect("the client lives");
        assert!(shown.last() != Some(&item), "shown twice");
        shown.push(item.clone());
        let Some(Leader { term, value, .. }) = item else { continue };
        assert!(highest <= Some((term, value.is_some())), "it goes back");
        highest = Some((term, value.is_some()));
        let Some(value) = value else { continue };
        let value = String::from_utf8_lossy(&value).into_owned();
        assert!(value.ends_with(&format!(" of {term}")), "{value}: a value of an earlier term");
        if value.starts_with("second") {
            return shown;
        }
    }
}

#[test]
fn observe_ends_with_the_last_leader() {
    observe("observe_ends_with_the_last_leader", Trouble::None, Some(4), SOUND);
}

#[test]
fn observe_with_expiry_at_any_point() {
    observe("observe_with_expiry_at_any_point", Trouble::Expiry, Some(3), SOUND);
}

#[test]
fn observe_with_connection_lost_at_any_point() {
    observe("observe_with_connection_lost_at_any_point", Trouble::Cut, Some(3), SOUND);
}

/// The observer begins before there is a directory, or while it is made.
fn observe_from_nothing<W: Wrap>(name: &'static str, wrap: W) {
    let (before, after) = (Count::default(), Count::default());
    let (before_in, after_in) = (before.clone(), after.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(Flaw::None);
        let fresh = path().child("fresh").expect("a valid name");
        let (observing, standing) = (world.connect(), world.connect());
        let stands_at = fresh.clone();
        let thread = loom::thread::spawn(move || {
            let leadership = block_on(Election::new(standing, stands_at).campaign()).expect("the session lives");
            block_on(leadership.proclaim(own_value("second", &leadership))).expect("the session lives");
            leadership
        });
        let shown = follow(&Election::new(wrap.wrap(&observing), fresh));
        drop(thread.join().expect("no panic"));
        before_in.add(shown.first() == Some(&None));
        after_in.add(shown.first() != Some(&None));
    });
    before.assert_reached("it begins before anybody stands");
    after.assert_reached("it begins later");
}

#[test]
fn observe_while_the_directory_is_made() {
    observe_from_nothing("observe_while_the_directory_is_made", SOUND);
}

fn blind_to_the_directory(client: &Inner, request: Request) -> Response {
    match request {
        Request::Exists(Exists { path, watch: true }) => {
            without_watch(client, Request::Exists(Exists { path, watch: false }))
        }
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_observer_blind_to_the_directory() {
    let blind: fn(&Inner, Request) -> Response = blind_to_the_directory;
    observe_from_nothing("planted_observer_blind_to_the_directory", blind);
}

/// Carries the read out without leaving the watch, and gives one that never fires.
fn without_watch(client: &Inner, request: Request) -> Response {
    client.submit(request).map(|outcome| {
        Ok(Answer { watch: Some(Watch::new(Arc::new(OneShot::<WatchOutcome, LoomLocks>::new()))), ..outcome? })
    })
}

fn blind_to_values(client: &Inner, request: Request) -> Response {
    match request {
        Request::GetData(GetData { path: node, watch: true }) if node == path() => {
            without_watch(client, Request::GetData(GetData { path: node, watch: false }))
        }
        request => client.submit(request),
    }
}

fn blind_to_departures(client: &Inner, request: Request) -> Response {
    match request {
        Request::GetData(GetData { path: node, watch: true }) if node != path() => {
            without_watch(client, Request::GetData(GetData { path: node, watch: false }))
        }
        request => client.submit(request),
    }
}

fn blind_to_arrivals(client: &Inner, request: Request) -> Response {
    match request {
        Request::GetChildren(GetChildren { path, watch: true }) => {
            without_watch(client, Request::GetChildren(GetChildren { path, watch: false }))
        }
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_observer_blind_to_values() {
    let blind: fn(&Inner, Request) -> Response = blind_to_values;
    observe("planted_observer_blind_to_values", Trouble::None, Some(3), blind);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_observer_blind_to_departures() {
    let blind: fn(&Inner, Request) -> Response = blind_to_departures;
    observe("planted_observer_blind_to_departures", Trouble::None, Some(3), blind);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_observer_blind_to_arrivals() {
    let blind: fn(&Inner, Request) -> Response = blind_to_arrivals;
    observe("planted_observer_blind_to_arrivals", Trouble::None, Some(3), blind);
}

/// Whatever stands on the board is taken for the present leader's.
fn take_any_value(client: &Inner, request: Request) -> Response {
    let is_board = matches!(&request, Request::GetData(GetData { path: node, watch: true }) if *node == path());
    let response = client.submit(request);
    if !is_board {
        return response;
    }
    let Some(Ok(Answer { reply: Reply::Children(names, _), .. })) =
        at_once(client.submit(Request::GetChildren(GetChildren { path: path(), watch: false })))
    else {
        return response;
    };
    let Some(first) = names.iter().min().and_then(|name| path().child(name).ok()) else { return response };
    let Some(Ok(Answer { reply: Reply::Exists(Some(stat)), .. })) =
        at_once(client.submit(Request::Exists(Exists { path: first, watch: false })))
    else {
        return response;
    };
    response.map(move |outcome| {
        let answer = outcome?;
        let Reply::Data(data, board) = &answer.reply else { return Ok(answer) };
        let text = String::from_utf8_lossy(data);
        let Some((_, rest)) = text.split_once(' ') else { return Ok(answer) };
        let forged = Bytes::from(format!("{} {rest}", stat.czxid));
        Ok(Answer { reply: Reply::Data(forged.into(), *board), ..answer })
    })
}

#[test]
#[should_panic(expected = "a value of an earlier term")]
fn planted_observer_takes_any_value() {
    let forging: fn(&Inner, Request) -> Response = take_any_value;
    observe("planted_observer_takes_any_value", Trouble::None, Some(3), forging);
}

/// A watch that does not tell that its session has ended.
struct Deaf(StdMutex<Option<Watch>>);

impl WatchSource for Deaf {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        // Taken out while it is polled: a loom operation under a lock of std would hang the model.
        let Some(mut watch) = self.0.with(Option::take) else { return Poll::Pending };
        match Pin::new(&mut watch).poll(cx) {
            Poll::Ready(Err(_)) => Poll::Pending,
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => {
                self.0.with(|slot| *slot = Some(watch));
                Poll::Pending
            }
        }
    }

    fn abandon(&self) {
        drop(self.0.with(Option::take));
    }
}

fn deaf_to_expiry(client: &Inner, request: Request) -> Response {
    client.submit(request).map(|outcome| {
        let answer = outcome?;
        let watch = answer.watch.map(|watch| Watch::new(Arc::new(Deaf(StdMutex::new(Some(watch))))));
        Ok(Answer { watch, ..answer })
    })
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_observer_deaf_to_expiry() {
    let deaf: fn(&Inner, Request) -> Response = deaf_to_expiry;
    observe("planted_observer_deaf_to_expiry", Trouble::Expiry, Some(3), deaf);
}
