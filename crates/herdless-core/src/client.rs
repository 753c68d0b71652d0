//! The narrow waist: one method that every backend has, and the typed methods on top of it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Delete, Error, Exists, Follow, GetAcl,
    GetAllChildrenNumber, GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodePath,
    Operation, ReadOp, Reconfig, RemoveWatches, Request, Response, Secret, Session, SessionId, SetAcl, SetData, Stat,
    Sync as SyncOp, Version, Watched, WatcherType, WhoAmI,
};

/// Somebody who carries requests out: the transport, the in-memory backend, or a wrapper around one.
///
/// Implementers keep the five points of the [contract](crate#the-contract-of-every-backend). Users call the methods of
/// [`ClientExt`]. The trait can be made into an object: `Arc<dyn Client>` is a `Client`.
pub trait Client: Send + Sync {
    /// Gives `request` its place behind everything submitted before it on this session, and returns the future of its
    /// answer. Never blocks; may be called from a `Drop`.
    fn submit(&self, request: Request) -> Response;

    /// The current session. After an expiry it is another one; a handle obtained earlier goes on to speak for the old.
    fn session(&self) -> Session;
}

macro_rules! forward {
    ($($pointer:ty)*) => {
        $(impl<C: Client + ?Sized> Client for $pointer {
            fn submit(&self, request: Request) -> Response {
                (**self).submit(request)
            }

            fn session(&self) -> Session {
                (**self).session()
            }
        })*
    };
}

forward! { &C Box<C> Arc<C> }

/// The operations, typed. Implemented for every [`Client`].
///
/// # Ordering
///
/// The request of every method takes its place in the session's order **when the method is called**, not when its
/// future is first polled.
///
/// # Cancel safety
///
/// Dropping a returned future stops listening; the request is carried out all the same.
///
/// # Errors
///
/// All methods yield an [`Error`], whose variant says what is known of the effect.
///
/// # Examples
///
/// ```
/// use herdless_core::{Client, ClientExt, CreateMode, Error, NodePath};
///
/// async fn remember(client: &impl Client, path: &NodePath) -> Result<i32, Error> {
///     // Both leave in one go: the read sees the node, because a session's requests are carried out in order.
///     let created = client.create(path, "hello", CreateMode::Persistent);
///     let read = client.get(path);
///     created.await?;
///     let (data, stat) = read.await?;
///     assert_eq!(data, "hello");
///     Ok(stat.version)
/// }
/// ```
pub trait ClientExt: Client {
    /// Submits any [`Operation`].
    fn call<O: Operation>(&self, operation: O) -> Call<O> {
        Call { response: self.submit(operation.into_request()), operation: PhantomData }
    }

    /// Creates a node open to anyone; yields its path (with its digits, if sequential) and Stat. 1 round trip.
    ///
    /// Refused with `NodeExists`, `NoNode` (no parent), `NoChildrenForEphemerals`.
    fn create(&self, path: &NodePath, data: impl Into<Bytes>, mode: CreateMode) -> Call<Create> {
        self.call(Create { path: path.clone(), data: data.into().into(), acl: Acl::open(), mode })
    }

    /// As [`create`](Self::create), with an access control list. Refused with `InvalidAcl` as well.
    fn create_with_acl(
        &self,
        path: &NodePath,
        data: impl Into<Bytes>,
        mode: CreateMode,
        acl: impl Into<Arc<[Acl]>>,
    ) -> Call<Create> {
        self.call(Create { path: path.clone(), data: data.into().into(), acl: acl.into(), mode })
    }

    /// Deletes a node without children. 1 round trip. Refused with `NoNode`, `BadVersion`, `NotEmpty`.
    fn delete(&self, path: &NodePath, version: Version) -> Call<Delete> {
        self.call(Delete { path: path.clone(), version })
    }

    /// The node's Stat, or `None`. 1 round trip.
    fn exists(&self, path: &NodePath) -> Call<Exists> {
        self.call(Exists { path: path.clone(), watch: false })
    }

    /// As [`exists`](Self::exists), and a watch for the node's creation, change or deletion.
    fn exists_and_watch(&self, path: &NodePath) -> Call<Watched<Exists>> {
        self.call(Watched(Exists { path: path.clone(), watch: true }))
    }

    /// The node's data and Stat. 1 round trip. Refused with `NoNode`.
    fn get(&self, path: &NodePath) -> Call<GetData> {
        self.call(GetData { path: path.clone(), watch: false })
    }

    /// As [`get`](Self::get), and a watch for the node's change or deletion.
    fn get_and_watch(&self, path: &NodePath) -> Call<Watched<GetData>> {
        self.call(Watched(GetData { path: path.clone(), watch: true }))
    }

    /// Sets the node's data; yields the new Stat. 1 round trip. Refused with `NoNode`, `BadVersion`.
    fn set(&self, path: &NodePath, data: impl Into<Bytes>, version: Version) -> Call<SetData> {
        self.call(SetData { path: path.clone(), data: data.into().into(), version })
    }

    /// The names of the node's children, in no order, and the node's Stat. 1 round trip. Refused with `NoNode`.
    fn children(&self, path: &NodePath) -> Call<GetChildren> {
        self.call(GetChildren { path: path.clone(), watch: false })
    }

    /// As [`children`](Self::children), and a watch for a child's creation or deletion.
    fn children_and_watch(&self, path: &NodePath) -> Call<Watched<GetChildren>> {
        self.call(Watched(GetChildren { path: path.clone(), watch: true }))
    }

    /// The paths of this session's ephemeral nodes that begin with `prefix`. 1 round trip.
    fn ephemerals(&self, prefix: &NodePath) -> Call<GetEphemerals> {
        self.call(GetEphemerals { prefix: prefix.clone() })
    }

    /// Leaves a watch that stays: the stream of what happens to the node, or to everything below it, from now on. 1 round trip.
    ///
    /// Read what is there *after* this has been answered: then no change is missed. Refused with `Unimplemented` before
    /// ZooKeeper 3.6.
    fn add_watch(&self, path: &NodePath, mode: AddWatchMode) -> Call<AddWatch> {
        self.call(AddWatch { path: path.clone(), mode })
    }

    /// The node's data and Stat from now on: a stream of the latest, read anew after each change, and over sessions. 1 round trip for
    /// each, and the event. See [`Follow`] for what it never misses and what it may.
    fn follow_data(&self, path: &NodePath) -> Follow<(Bytes, Stat)>
    where
        Self: Clone + Sized + 'static,
    {
        Follow::new(self.clone(), path.clone())
    }

    /// As [`follow_data`](Self::follow_data), of whether the node exists: its Stat as found when it had been made. That its data is
    /// set is not told, though it costs a read.
    fn follow_existence(&self, path: &NodePath) -> Follow<Stat>
    where
        Self: Clone + Sized + 'static,
    {
        Follow::new(self.clone(), path.clone())
    }

    /// As [`follow_data`](Self::follow_data), of the names of the node's children, in no order, and the node's Stat.
    fn follow_children(&self, path: &NodePath) -> Follow<(Vec<String>, Stat)>
    where
        Self: Clone + Sized + 'static,
    {
        Follow::new(self.clone(), path.clone())
    }

    /// Whether the server has a watch of this client on the node: refused with `NoWatcher` if not. 1 round trip.
    fn check_watches(&self, path: &NodePath, kind: WatcherType) -> Call<CheckWatches> {
        self.call(CheckWatches { path: path.clone(), kind })
    }

    /// Takes this client's watches on the node away, whoever waits for them: see [`RemoveWatches`]. 1 round trip.
    fn remove_watches(&self, path: &NodePath, kind: WatcherType) -> Call<RemoveWatches> {
        self.call(RemoveWatches { path: path.clone(), kind })
    }

    /// How many descendants the node has. 1 round trip; the server walks through its whole tree. Refused with `NoNode`.
    fn all_children_number(&self, path: &NodePath) -> Call<GetAllChildrenNumber> {
        self.call(GetAllChildrenNumber { path: path.clone() })
    }

    /// The node's access control list and Stat. 1 round trip. Refused with `NoNode`, `NoAuth`.
    fn acl(&self, path: &NodePath) -> Call<GetAcl> {
        self.call(GetAcl { path: path.clone() })
    }

    /// Sets the node's access control list, if its version ([`Stat::aversion`](crate::Stat::aversion)) is this; yields the new
    /// Stat. 1 round trip. Refused with `NoNode`, `NoAuth`, `BadVersion`, `InvalidAcl`.
    ///
    /// Changes are judged by the new list from the reply on; but an ensemble's leader (Apache ZooKeeper 3.8) may for a moment judge
    /// by the old one, until it has applied itself what its followers have acknowledged.
    fn set_acl(&self, path: &NodePath, acl: impl Into<Arc<[Acl]>>, version: Version) -> Call<SetAcl> {
        self.call(SetAcl { path: path.clone(), acl: acl.into(), version })
    }

    /// Carries out several reads; each has an outcome of its own. 1 round trip.
    fn multi_read(&self, operations: Vec<ReadOp>) -> Call<MultiRead> {
        self.call(MultiRead { operations })
    }

    /// Proves an identity, on this connection and all later ones: see [`Auth`]. 1 round trip.
    fn authenticate(&self, scheme: impl Into<String>, credentials: impl Into<Secret>) -> Call<Auth> {
        self.call(Auth { scheme: scheme.into(), credentials: credentials.into() })
    }

    /// Who the server takes us for. 1 round trip.
    fn who_am_i(&self) -> Call<WhoAmI> {
        self.call(WhoAmI)
    }

    /// The configuration of the ensemble, a `server.<id>=..` in each line. 1 round trip.
    fn config(&self) -> Call<GetConfig> {
        self.call(GetConfig)
    }

    /// Changes the configuration of the ensemble; yields the new one. 1 round trip. Refused with `ReconfigDisabled`, `NoAuth`,
    /// `BadVersion`, `Unimplemented` by a server that stands alone.
    fn reconfigure(&self, reconfig: Reconfig) -> Call<Reconfig> {
        self.call(reconfig)
    }

    /// Carries out several writes and checks, all or none. 1 round trip. Refused with
    /// [`MultiRefused`](Error::MultiRefused), which names the operation.
    fn multi(&self, operations: Vec<MultiOp>) -> Call<Multi> {
        self.call(Multi { operations, session: None })
    }

    /// As [`multi`](Self::multi), only while `session` is the client's: [`SessionExpired`](Error::SessionExpired) otherwise, and
    /// nothing is sent.
    fn multi_in(&self, session: SessionId, operations: Vec<MultiOp>) -> Call<Multi> {
        self.call(Multi { operations, session: Some(session) })
    }

    /// Catches up: reads after it reflect the writes that were committed before it. 1 round trip, no write.
    ///
    /// A server that leads an ensemble does not wait for anything (`ProposalRequestProcessor`, seen on 3.8.0): what another
    /// server has just acknowledged may come to it a moment later, and what is on its way to be committed is not waited for.
    /// Where "not found" has to be certain, use [`settle`](Self::settle).
    fn sync(&self, path: &NodePath) -> Call<SyncOp> {
        self.call(SyncOp { path: path.clone() })
    }

    /// Waits until whatever was on its way before is over: reads after it reflect every write that was acknowledged to anybody
    /// before the call, and a write of one's own that ended as [`ConnectionLost`](Error::ConnectionLost) has happened by then, or
    /// never will. It is a write that changes nothing, so it stands in line with all others under every leader. 1 round trip;
    /// `path` names the part of the tree, and need not exist.
    ///
    /// # Errors
    ///
    /// As of any write; that the node does not exist, or may not be read, is none.
    fn settle(&self, path: &NodePath) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let call = self.call(Multi::settle(path));
        async { Multi::settled(call.await) }
    }

    /// Ends the session: its ephemeral nodes go at once, and the client accepts nothing more. 1 round trip.
    fn close(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let response = self.submit(Request::CloseSession);
        async move { response.await.map(drop) }
    }
}

impl<C: Client + ?Sized> ClientExt for C {}

/// The future of one operation's outcome.
#[must_use = "the request has been sent, but its outcome is not known until the call is awaited"]
pub struct Call<O> {
    response: Response,
    operation: PhantomData<fn() -> O>,
}

impl<O: Operation> Call<O> {
    /// If this call is dropped before it has yielded, its outcome goes to `undo`; see [`Response::on_abandon`].
    pub fn on_abandon(self, undo: impl FnOnce(Result<O::Output, Error>) + Send + 'static) -> Self {
        let response = self.response.on_abandon(move |outcome| undo(outcome.and_then(O::output)));
        Self { response, operation: PhantomData }
    }
}

impl<O: Operation> Future for Call<O> {
    type Output = Result<O::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.response).poll(cx).map(|outcome| outcome.and_then(O::output))
    }
}

impl<O> fmt::Debug for Call<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
