//! The directories above a recipe's nodes.

use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Acl, Client, ClientExt, Create, CreateMode, Error, NodePath, Refusal};

/// How often missing parents are made before the server's "no node" is believed: a busy server that removes empty containers
/// takes one level at a time.
pub(crate) const ATTEMPTS: u32 = 8;

/// Makes the missing levels of `directory` as containers, which the server removes again when they are empty. One round trip
/// for all of them: those that are there answer "exists", in order.
pub(crate) async fn make<C: Client>(client: &C, directory: &NodePath, acl: &Arc<[Acl]>) -> Result<(), Error> {
    match make_levels(client, directory, acl, CreateMode::Container).await {
        // A server without containers.
        Err(Error::Refused(Refusal::Unimplemented)) => {
            make_levels(client, directory, acl, CreateMode::Persistent).await
        }
        made => made,
    }
}

/// Makes the missing levels of `directory` in this mode. One round trip, as [`make`].
pub(crate) async fn make_levels<C: Client>(
    client: &C,
    directory: &NodePath,
    acl: &Arc<[Acl]>,
    mode: CreateMode,
) -> Result<(), Error> {
    let create = |path| client.call(Create { path, data: Bytes::new(), acl: acl.clone(), mode });
    let levels: Vec<_> = directory.levels().map(create).collect();
    for level in levels {
        match level.await {
            // Whether a lost one was made shows when the recipe's own node is; so does whether the server has removed an empty
            // level again meanwhile.
            Ok(_) | Err(Error::Refused(Refusal::NodeExists | Refusal::NoNode) | Error::ConnectionLost) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
