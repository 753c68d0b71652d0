//! What each operation asks and what it yields: the typed layer over [`Request`] and [`Reply`].

use bytes::Bytes;

use crate::{
    Answer, Create, Created, Delete, Error, Exists, FindOwn, GetChildren, GetData, GetEphemerals, Multi, MultiReply,
    NodePath, Release, Reply, Request, SetData, Stat, Sync, Watch,
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
    GetData => (Bytes, Stat), Reply::Data(data, stat) => (data, stat);
    SetData => Stat, Reply::Set(stat) => stat;
    GetChildren => (Vec<String>, Stat), Reply::Children(names, stat) => (names, stat);
    GetEphemerals => Vec<NodePath>, Reply::Ephemerals(paths) => paths;
    Sync => (), Reply::Synced(_) => ();
    Multi => Vec<MultiReply>, Reply::Multi(replies) => replies;
    Release => bool, Reply::Released(was_there) => was_there;
    FindOwn => Option<Created>, Reply::Found(found) => found;
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
