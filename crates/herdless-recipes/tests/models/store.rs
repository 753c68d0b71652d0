//! The resource that a lock protects, and the properties that are checked on it.

use herdless_core::{Client, Session};
use herdless_memory::Tree;
use herdless_recipes::{Grant, Token};

/// A store that compares tokens, and a list of who holds the lock.
#[derive(Default)]
pub(crate) struct Store {
    highest: Option<Token>,
    holders: Vec<(Token, Session)>,
}

impl Store {
    /// A write to the store; refused where a later holder has been here.
    fn write(&mut self, token: Token) -> Result<(), Token> {
        match self.highest {
            Some(highest) if highest >= token => Err(highest),
            _ => {
                self.highest = Some(token);
                Ok(())
            }
        }
    }

    /// Order where nobody's session ends: tokens come in the order of asking.
    pub(crate) fn visit(&mut self, token: Token) {
        self.write(token).expect("a later grant has a greater token");
    }

    /// Exclusion where sessions end: while a guard is valid, nobody else's is, and no valid holder's write is refused.
    pub(crate) fn hold<C: Client>(&mut self, guard: &Grant<C>) {
        for (token, session) in &self.holders {
            // Validity only ever ends, so a guard that is valid after the other was, was so at the same time.
            let both = session.is_valid() && guard.is_valid();
            assert!(!both, "{token} and {} are both valid", guard.token());
        }
        self.holders.push((guard.token(), guard.session().clone()));
        let was_written = self.write(guard.token()).is_ok();
        assert!(was_written || !guard.is_valid(), "the store refuses a valid holder");
    }

    /// The end of [`hold`](Self::hold), before the guard goes.
    pub(crate) fn let_go(&mut self, token: Token) {
        self.holders.retain(|(other, _)| *other != token);
    }
}

/// Nothing is left: no contender's node, no watch on the server.
pub(crate) fn assert_clean(tree: &Tree) {
    let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("lock-")).collect();
    assert!(left.is_empty(), "ghost nodes {left:?}");
    assert_eq!(tree.watch_count(), 0, "watches left");
}
