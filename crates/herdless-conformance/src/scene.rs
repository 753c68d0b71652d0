//! Where a case takes place.

use std::cell::RefCell;
use std::time::Duration;

use herdless_core::{Client, ClientExt, CreateMode, Error, NodePath, Refusal, Stat, Version};

use crate::{Ability, Backend};

/// A fresh node for one case, and the clients that it has had.
pub(crate) struct Scene<'a, B: Backend> {
    backend: &'a B,
    root: NodePath,
    clients: RefCell<Vec<B::Client>>,
}

impl<'a, B: Backend> Scene<'a, B> {
    /// Makes the node.
    pub(crate) async fn open(backend: &'a B, name: &str) -> Self {
        let client = backend.connect().await;
        // No other attempt of anybody has this number, so that several runs can share a server.
        let attempt = client.session().next_attempt();
        let session = client.session().id();
        let root = NodePath::parse(&format!("/{name}-{session}-{attempt}")).expect("a name and numbers");
        client.create(&root, "", CreateMode::Persistent).await.expect("a node for the case");
        Self { backend, root, clients: RefCell::new(vec![client]) }
    }

    /// Ends all sessions and removes what is left of the nodes.
    pub(crate) async fn close(self) {
        for client in self.clients.take() {
            // A case may have closed it, or lost it for good.
            let _ = client.close().await;
        }
        let client = self.backend.connect().await;
        self.remove(&client).await;
        client.close().await.expect("the end of the session");
    }

    /// A client with a session of its own.
    pub(crate) async fn connect(&self) -> B::Client {
        self.keep(self.backend.connect().await)
    }

    pub(crate) async fn connect_mortal(&self) -> B::Client {
        self.keep(self.backend.connect_mortal().await)
    }

    pub(crate) async fn connect_limited(&self, in_flight: usize) -> B::Client {
        self.keep(self.backend.connect_limited(in_flight).await)
    }

    pub(crate) async fn disconnect(&self, client: &B::Client) {
        self.backend.disconnect(client).await;
    }

    pub(crate) async fn reconnect(&self, client: &B::Client) {
        self.backend.reconnect(client).await;
    }

    pub(crate) async fn expire(&self, client: &B::Client) {
        self.backend.expire(client).await;
    }

    pub(crate) async fn lose_next_reply(&self, client: &B::Client) {
        self.backend.lose_next_reply(client).await;
    }

    pub(crate) async fn pass_time(&self, time: Duration) {
        self.backend.pass_time(time).await;
    }

    pub(crate) async fn lose_leader(&self) {
        self.backend.lose_leader().await;
    }

    pub(crate) async fn connect_elsewhere(&self, client: &B::Client) -> B::Client {
        self.keep(self.backend.connect_elsewhere(client).await)
    }

    /// Whether the backend can do this.
    pub(crate) fn has(&self, ability: Ability) -> bool {
        self.backend.has(ability)
    }

    /// The case's own node.
    pub(crate) fn root(&self) -> NodePath {
        self.root.clone()
    }

    /// A path below the case's own node.
    pub(crate) fn path(&self, below: &str) -> NodePath {
        NodePath::parse_sequential(&format!("{}/{below}", self.root)).expect("a path")
    }

    /// Creates a persistent node that holds `x`.
    pub(crate) async fn node(&self, client: &B::Client, below: &str) -> (NodePath, Stat) {
        let created = client.create(&self.path(below), "x", CreateMode::Persistent).await.expect("a new node");
        (created.path, created.stat)
    }

    fn keep(&self, client: B::Client) -> B::Client {
        self.clients.borrow_mut().push(client.clone());
        client
    }

    /// What is answered once writes are judged by a list that the node was just given. The leader of an ensemble may judge by
    /// the one before for a moment, also those who know of the new one: of what it has not applied itself yet it knows the
    /// versions and not the lists (`PrepRequestProcessor` of 3.8). `before` is what the old list comes to.
    pub(crate) async fn judged_anew<T>(
        &self,
        before: Refusal,
        mut ask: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            match ask().await {
                Err(Error::Refused(refusal)) if refusal == before && self.has(Ability::LoseLeader) => {}
                answer => return answer,
            }
        }
    }

    /// Deletes the case's node and what is below it. A server may still be about to end a session that owns some of it.
    async fn remove(&self, client: &B::Client) {
        let mut left = vec![self.root()];
        while let Some(path) = left.pop() {
            // Whose list a case has closed it has opened again.
            match self.judged_anew(Refusal::NoAuth, async || client.delete(&path, Version::ANY).await).await {
                Ok(()) | Err(Error::Refused(Refusal::NoNode)) => {}
                Err(Error::Refused(Refusal::NotEmpty)) => {
                    let names = match client.children(&path).await {
                        Ok((names, _)) => names,
                        Err(Error::Refused(Refusal::NoNode)) => Vec::new(),
                        Err(error) => panic!("what is below {path} cannot be removed: {error}"),
                    };
                    left.push(path.clone());
                    left.extend(names.iter().map(|name| path.child(name).expect("a name that the server has")));
                }
                Err(error) => panic!("{path} cannot be removed: {error}"),
            }
        }
    }
}
