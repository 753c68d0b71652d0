//! Whose processes the peers are, in the tests of one recipe with both kinds.

use herdless::Layout;

use crate::support::{Peer, World};

/// Another library with the same recipe on the same paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theirs {
    Curator,
    Kazoo,
}

impl Theirs {
    /// A process of it; `None` where there is none.
    pub(crate) async fn start(self, world: &World) -> Option<Peer> {
        match self {
            Self::Curator => Peer::curator(world).await,
            Self::Kazoo => Peer::kazoo(world).await,
        }
    }

    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::Curator => Layout::Curator,
            Self::Kazoo => Layout::Kazoo,
        }
    }
}

/// Asks for what is to be answered by "ok".
pub(crate) async fn ok(peer: &Peer, command: &str) {
    assert_eq!(peer.ask(command).await, "ok", "{command}");
}

/// Makes tests of the scenarios, each an `async fn(&World, &Peer, Theirs)` of the surrounding module, with the libraries
/// that are named for it: `curator::NAME` and `kazoo::NAME`.
macro_rules! beside {
    ($($module:ident $theirs:ident: $($name:ident)*;)*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let name = concat!(stringify!($module), "-", stringify!($name));
                let Some(world) = crate::support::World::zookeeper(name) else {
                    return;
                };
                let theirs = crate::theirs::Theirs::$theirs;
                let Some(peer) = theirs.start(&world).await else {
                    return;
                };
                crate::support::run(&world, async |world: &crate::support::World| {
                    super::$name(world, &peer, theirs).await;
                    peer.quit().await;
                })
                .await;
            })*
        })*
    };
}

pub(crate) use beside;
