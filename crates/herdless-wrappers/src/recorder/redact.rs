//! What must not be kept.

use std::sync::Arc;

use herdless_core::{Acl, Create, Multi, MultiOp, Reply, Request, Secret};

/// The request without credentials, and without the passwords' hashes of access control lists.
pub(super) fn request(request: &Request) -> Request {
    let mut request = request.clone();
    match &mut request {
        Request::Auth(auth) => auth.credentials = Secret::new(Vec::new()),
        Request::Create(Create { acl, .. }) => list(acl),
        Request::SetAcl(set) => list(&mut set.acl),
        Request::Multi(Multi { operations, .. }) => {
            for operation in operations {
                if let MultiOp::Create(Create { acl, .. }) = operation {
                    list(acl);
                }
            }
        }
        _ => {}
    }
    request
}

/// As [`request`], of a reply.
pub(super) fn reply(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    if let Reply::Acl(acl, _) = &mut reply {
        acl.iter_mut().for_each(entry);
    }
    reply
}

fn list(acl: &mut Arc<[Acl]>) {
    if acl.iter().any(|entry| entry.scheme == "digest") {
        Arc::make_mut(acl).iter_mut().for_each(entry);
    }
}

/// `user:hash` becomes `user:`.
fn entry(acl: &mut Acl) {
    if acl.scheme == "digest" {
        let user = acl.id.find(':').map_or(0, |colon| colon + 1);
        acl.id.truncate(user);
    }
}
