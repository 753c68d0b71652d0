//! What the cases have in common to say.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use herdless_core::{Client, ClientExt, Error, EventKind, NodePath, Refusal, Watch, WatchOutcome};

/// Polls once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What comes of two futures that go on side by side.
pub(crate) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut of_one, mut of_other) = (None, None);
    poll_fn(|cx| {
        if of_one.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(cx)
        {
            of_one = Some(output);
        }
        if of_other.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(cx)
        {
            of_other = Some(output);
        }
        if of_one.is_none() || of_other.is_none() {
            return Poll::Pending;
        }
        Poll::Ready(of_one.take().zip(of_other.take()).expect("both are there"))
    })
    .await
}

/// How the watch has ended by now: after everything that was written before has reached this client. By the contract the event
/// is there before the reply, so there is nothing to wait for.
pub(crate) async fn outcome<C: Client>(client: &C, watch: &mut Watch) -> Option<WatchOutcome> {
    client.settle(&NodePath::root()).await.expect("a server that answers");
    poll_once(watch).await
}

/// The watch has fired, with this event.
#[track_caller]
pub(crate) fn expect_event<'a, C: Client>(
    client: &'a C,
    mut watch: Watch,
    kind: EventKind,
    path: &'a NodePath,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        match outcome(client, &mut watch).await {
            Some(Ok(event)) if event.kind == kind && event.path == *path => {}
            other => panic!("{caller}: {kind:?} of {path} expected, not {other:?}"),
        }
    }
}

/// The watch has not fired.
#[track_caller]
pub(crate) fn expect_quiet<'a, C: Client>(client: &'a C, watch: &'a mut Watch) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        if let Some(outcome) = outcome(client, watch).await {
            panic!("{caller}: no event expected, not {outcome:?}");
        }
    }
}

/// The server said no, for this reason.
#[track_caller]
pub(crate) fn expect_refused<T: Debug>(outcome: Result<T, Error>, refusal: Refusal) {
    match outcome {
        Err(Error::Refused(found)) if found == refusal => {}
        other => panic!("Refused({refusal:?}) expected, not {other:?}"),
    }
}

/// The server said no to this operation of a multi, for this reason.
#[track_caller]
pub(crate) fn expect_multi_refused<T: Debug>(outcome: Result<T, Error>, index: usize, refusal: Refusal) {
    match outcome {
        Err(error) if error == (Error::MultiRefused { index, refusal }) => {}
        other => panic!("operation {index} refused with {refusal:?} expected, not {other:?}"),
    }
}

/// These names in some order.
#[track_caller]
pub(crate) fn expect_names(mut found: Vec<String>, expected: &[&str]) {
    found.sort();
    assert_eq!(found, expected);
}
