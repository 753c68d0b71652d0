//! The directories above a recipe's nodes.

use std::sync::Arc;

use herdless_core::{Acl, Client, ClientExt, Create, CreateMode, Error, NodeData, NodePath, Refusal};

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
    let create = |path| Create { path, data: NodeData::default(), acl: acl.clone(), mode };
    make_all(client, directory.levels().map(create)).await
}

/// Makes those of these nodes that are missing, parents before children. That the server has removed an empty one again
/// meanwhile shows when what it is for is made.
///
/// 1 round trip. What is lost with the connection is made again, and only that: however soon connections break, each of them
/// makes some.
pub(crate) async fn make_all<C: Client>(client: &C, nodes: impl IntoIterator<Item = Create>) -> Result<(), Error> {
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    loop {
        // All leave together.
        let making: Vec<_> = nodes.drain(..).map(|node| (client.call(node.clone()), node)).collect();
        let mut was_lost = false;
        for (making, node) in making {
            match making.await {
                Ok(_) | Err(Error::Refused(Refusal::NodeExists)) => {}
                // Its parent was lost, or removed by somebody else.
                Err(Error::Refused(Refusal::NoNode)) => nodes.push(node),
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {
                    was_lost = true;
                    nodes.push(node);
                }
                Err(error) => return Err(error),
            }
        }
        if !was_lost {
            return Ok(());
        }
    }
}
