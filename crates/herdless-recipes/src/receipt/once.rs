//! Receipts for a single change, where the nodes that it is about have no room for whose change it was.

use std::sync::Arc;

use herdless_core::{Acl, Client, Create, Error, MultiOp, NodePath};

use super::{Attempt, Make};

/// Carries out `change` exactly once or not at all, with a receipt in `directory`. If the future is dropped, the change is
/// taken back by making the first node of `restore` whose name is not in use; with none it stays.
///
/// 1 round trip. The receipt's end is not waited for.
///
/// # Errors
///
/// `SessionExpired`: the receipt, if there was one, went with the session. The change may or may not have happened.
/// `ConnectionLost` or `Uncertain` likewise, where the receipt cannot be asked for.
pub(crate) async fn once<C: Client + Clone + 'static>(
    client: &C,
    directory: &NodePath,
    acl: &Arc<[Acl]>,
    change: &[MultiOp],
    restore: &[Create],
) -> Result<(), Error> {
    loop {
        let make = Make { acl: acl.clone(), restore: restore.to_vec() };
        let attempt = Attempt::making(&client.session(), directory, "", make);
        if let Some(done) = attempt.carry_out(client, change.iter().cloned()).await? {
            attempt.made(client, done.zxid).release(client);
            return Ok(());
        }
    }
}
