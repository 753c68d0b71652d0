//! What each operation asks and what it yields: the typed layer over [`Request`] and [`Reply`].

use bytes::Bytes;

use crate::{
    Acl, AddWatch, Answer, Auth, CheckWatches, Create, Created, Delete, Error, Exists, FindOwn, GetAcl,
    GetAllChildrenNumber, GetChildren, GetConfig, GetData, GetEphemerals, Identity, Multi, MultiRead, MultiReply,
    NodePath, ReadReply, Reconfig, Release, RemoveWatches, Reply, Request, SetAcl, SetData, Stat, Sync, Watch,
    WatchStream, WhoAmI,
};

/// An operation: a request that knows the type of its own outcome.
pub trait Operation {
    /// What it yields.
    type Output;

    /// The request to submit.
    fn into_request(self) -> Request;

    /// The outcome in an answer.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] where the answer is that of another operation.
    fn output(answer: Answer) -> Result<Self::Output, Error>;
}

macro_rules! operations {
    ($($name:ident => $output:ty, $pattern:pat => $value:expr;)*) => {
        $(impl Operation for $name {
            type Output = $output;

            fn into_request(self) -> Request {
                Request::$name(self)
            }

            fn output(answer: Answer) -> Result<$output, Error> {
                match answer.reply {
                    $pattern => Ok($value),
                    _ => Err(Error::mismatch(stringify!($name))),
                }
            }
        })*
    };
}

operations! {
    Create => Created, Reply::Created(created) => created;
    Delete => (), Reply::Deleted => ();
    Exists => Option<Stat>, Reply::Exists(stat) => stat;
    GetData => (Bytes, Stat), Reply::Data(data, stat) => (data.into_bytes(), stat);
    SetData => Stat, Reply::Set(stat) => stat;
    GetChildren => (Vec<String>, Stat), Reply::Children(names, stat) => (names, stat);
    GetEphemerals => Vec<NodePath>, Reply::Ephemerals(paths) => paths;
    CheckWatches => (), Reply::Watched => ();
    RemoveWatches => (), Reply::WatchesRemoved => ();
    GetAllChildrenNumber => u32, Reply::AllChildrenNumber(count) => count;
    GetAcl => (Vec<Acl>, Stat), Reply::Acl(acl, stat) => (acl, stat);
    SetAcl => Stat, Reply::Set(stat) => stat;
    Sync => (), Reply::Synced(_) => ();
    Multi => Vec<MultiReply>, Reply::Multi(replies) => replies;
    MultiRead => Vec<Result<ReadReply, Error>>, Reply::MultiRead(replies) => replies;
    Auth => (), Reply::Authenticated => ();
    WhoAmI => Vec<Identity>, Reply::Identities(identities) => identities;
    GetConfig => (Bytes, Stat), Reply::Data(data, stat) => (data.into_bytes(), stat);
    Reconfig => (Bytes, Stat), Reply::Data(data, stat) => (data.into_bytes(), stat);
    Release => bool, Reply::Released(was_there) => was_there;
    FindOwn => Option<Created>, Reply::Found(found) => found;
}

impl Operation for AddWatch {
    type Output = WatchStream;

    fn into_request(self) -> Request {
        Request::AddWatch(self)
    }

    fn output(answer: Answer) -> Result<WatchStream, Error> {
        answer.stream.map(|stream| *stream).ok_or_else(|| Error::mismatch("AddWatch"))
    }
}

/// A read that leaves a watch: yields what the read yields, and the [`Watch`].
#[derive(Clone, Debug)]
pub struct Watched<O>(pub O);

macro_rules! watched {
    ($($name:ident)*) => {
        $(impl Operation for Watched<$name> {
            type Output = (<$name as Operation>::Output, Watch);

            fn into_request(mut self) -> Request {
                self.0.watch = true;
                self.0.into_request()
            }

            fn output(mut answer: Answer) -> Result<Self::Output, Error> {
                let watch = answer.watch.take().ok_or_else(|| Error::mismatch("a read with a watch"))?;
                Ok(($name::output(answer)?, watch))
            }
        })*
    };
}

watched! { Exists GetData GetChildren }
