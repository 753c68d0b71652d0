//! The removal of somebody else's place in line.

use herdless_core::{Client, ClientExt, Error, MultiOp, NodePath, Refusal, Stat, Version};

use super::line::{Contender, Line, settled, synced};
use super::place::Place;
use super::token::Token;

impl Line {
    /// Removes the very node that `contender` was read from. Whether it was still there.
    ///
    /// 4 round trips. A node's name alone does not say whose it is: once a directory is empty it may be removed, made again, and
    /// the name given to somebody else. So a place is taken in the line first: while it is there the directory stays, and no name
    /// in it is given twice.
    pub(crate) async fn evict<C: Client + Clone + 'static>(
        &self,
        client: &C,
        contender: &Contender,
    ) -> Result<bool, Error> {
        if contender.path.parent().as_ref() != Some(self.directory()) {
            return Err(Error::invalid("a contender of another path"));
        }
        // Nothing is made where there is nothing to remove.
        if !is_there(client, &contender.path, contender.token).await? {
            return Ok(false);
        }
        let mut unobserved = self.clone();
        unobserved.observer = None;
        let (pin, ()) = Place::enter(&unobserved, client, |_| ()).await?;
        while is_there(client, &contender.path, contender.token).await? {
            let checks_pin = MultiOp::check(pin.path(), Version::ANY);
            let removed = pin.multi(vec![checks_pin, MultiOp::delete(&contender.path, Version::ANY)]);
            match removed.await {
                Ok(_) => return Ok(true),
                Err(Error::MultiRefused { index: 1, refusal: Refusal::NoNode }) => return Ok(false),
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {
                    // Behind a sync alone a removal that is still agreed on would be no removal, and the next one would meet
                    // its own. It is gone now, whoever did it; or it is done again, which nothing but this very node can
                    // suffer from.
                    let stat = settled(client, &contender.path, || client.exists(&contender.path)).await?;
                    if !is_of(stat, contender.token) {
                        return Ok(true);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Whether the node that was created by `token` is still there.
async fn is_there<C: Client>(client: &C, path: &NodePath, token: Token) -> Result<bool, Error> {
    let stat = synced(client, path, || client.exists(path)).await?;
    Ok(is_of(stat, token))
}

fn is_of(stat: Option<Stat>, token: Token) -> bool {
    stat.is_some_and(|stat| Token(stat.czxid) == token)
}
