//! A release as it is on the wire: where nothing speaks against it, the first step is a deletion by name. The in-memory backend
//! compares and deletes in one step, and would not show whose node it is that goes.

use herdless_core::{Client, Error, Multi, MultiOp, Refusal, Reply, Request, Response, Version};

pub(crate) fn by_name<C: Client>(client: &C, request: Request) -> Response {
    let Request::Release(release) = request else {
        return client.submit(request);
    };
    if release.may_be_gone {
        return client.submit(Request::Release(release));
    }
    let mut operations = vec![MultiOp::delete(&release.path, Version::ANY)];
    if release.hand_over {
        operations.insert(0, MultiOp::set(&release.path, "", Version::ANY));
    }
    let multi = Multi { operations, session: Some(release.session) };
    client.submit(Request::Multi(multi)).map(|outcome| match outcome {
        Ok(_) => Ok(Reply::Released(true).into()),
        Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) => Ok(Reply::Released(false).into()),
        Err(error) => Err(error),
    })
}
