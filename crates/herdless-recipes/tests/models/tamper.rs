//! Planted bugs of single recipes, for both checkers.

use herdless_core::{Client, Exists, MultiOp, MultiReply, Refusal, Reply, Request, Response};

/// Who waits for a barrier leaves its watch with `exists`, also where there is no node.
pub(crate) fn watch_an_open_gate<C: Client>(client: &C, request: Request) -> Response {
    match request {
        Request::GetData(get) if get.watch => {
            client.submit(Request::Exists(Exists { path: get.path, watch: true })).map(|outcome| {
                let mut answer = outcome?;
                let Reply::Exists(Some(stat)) = answer.reply else { return Err(Refusal::NoNode.into()) };
                answer.reply = Reply::Data(Default::default(), stat);
                Ok(answer)
            })
        }
        request => client.submit(request),
    }
}

/// A semaphore grants without a check of the number.
pub(crate) fn grant_unchecked<C: Client>(client: &C, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request {
        multi.operations.retain(|operation| !matches!(operation, MultiOp::Check { .. }));
    }
    client.submit(request).map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Multi(replies) = &mut answer.reply {
            replies.push(MultiReply::Checked);
        }
        Ok(answer)
    })
}
