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
        for client in self.clients.into_inner() {
            // A case may have closed it, or lost it for good.
            let _ = client.close().await;
        }
        let client = self.backend.connect().await;
        remove(&client, &self.root).await;
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
}

/// Deletes a node and what is below it. A server may still be about to end a session that owns some of it.
async fn remove<C: Client>(client: &C, root: &NodePath) {
    let mut left = vec![root.clone()];
    while let Some(path) = left.pop() {
        match client.delete(&path, Version::ANY).await {
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
