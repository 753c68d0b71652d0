//! What all models use: threads, counters of reached branches, planted bugs.

use herdless_core::{Client, Reply, Request, Response};
use herdless_memory::MemoryClient;
use herdless_memory::check::{self, LoomLocks};

pub(crate) use herdless_memory::check::{Count, poll_times, sound};

/// Runs each closure on a thread of its own, the last one on this.
macro_rules! together {
    ($($each:expr),+ ; $last:expr) => {{
        let threads = [$(loom::thread::spawn($each)),+];
        let result = $last;
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        result
    }};
}
pub(crate) use together;

/// A client with a planted bug.
pub(crate) type Tampered = check::Tampered<MemoryClient<LoomLocks>>;

/// Carries out a request, or something else in its place.
pub(crate) type Tamper = check::Tamper<MemoryClient<LoomLocks>>;

/// After a lost reply the node is made again without a look for the first.
pub(crate) fn create_blindly(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

/// Who gives up leaves its node.
pub(crate) fn leave_node_on_giving_up(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match request {
        Request::Release(release) if !release.hand_over => Response::ready(Ok(Reply::Released(true).into())),
        request => client.submit(request),
    }
}
