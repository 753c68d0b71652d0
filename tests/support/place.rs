//! Where those who hold a lock meet, if it does not exclude.

use herdless::{ClientExt, CreateMode, NodePath, TokioClient, Version};

use super::World;

/// A node that every holder visits, ours and the peers', as the comment in `CuratorPeer.java` has it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    client: TokioClient,
    path: NodePath,
}

impl Place {
    /// A place where nobody has been.
    pub(crate) async fn new(world: &World) -> Self {
        Self::of(world, "").await
    }

    /// One of several places.
    pub(crate) async fn of(world: &World, what: &str) -> Self {
        let (client, path) = (world.connect().await, world.beside(&format!("place{what}")));
        client.create(&path, "0 0 nobody", CreateMode::Persistent).await.unwrap();
        Self { client, path }
    }

    /// For the commands of peers.
    pub(crate) fn path(&self) -> &NodePath {
        &self.path
    }

    /// A visit by one who is to be alone.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub(crate) async fn visit_alone(&self) {
        let (own, inside) = self.enter("alone").await;
        assert_eq!(inside.len(), 1, "{own} among {inside:?}");
        let (visits, turns, last) = self.read().await;
        let turns = turns + u64::from(last != WHO);
        // Without a condition: it is lost if anybody else writes as well.
        self.client.set(&self.path, format!("{} {turns} {WHO}", visits + 1), Version::ANY).await.unwrap();
        self.client.delete(&own, Version::ANY).await.unwrap();
    }

    /// A visit by one of up to `max` who share. Whether there was another.
    ///
    /// # Panics
    ///
    /// When there are more, or one who is to be alone.
    pub(crate) async fn visit_shared(&self, max: usize) -> bool {
        let (own, inside) = self.enter("shared").await;
        assert!(inside.len() <= max, "{own} among {inside:?}");
        assert!(inside.iter().all(|name| name.starts_with("shared-")), "{own} among {inside:?}");
        assert_eq!(self.read().await, self.read().await, "somebody has written");
        self.client.delete(&own, Version::ANY).await.unwrap();
        inside.len() > 1
    }

    /// How many visits there were by those who were alone, and how many of them were not by the same as the one before.
    pub(crate) async fn tally(&self) -> (u64, u64) {
        let (visits, turns, _) = self.read().await;
        (visits, turns)
    }

    /// Own node, and the names of all.
    async fn enter(&self, kind: &str) -> (NodePath, Vec<String>) {
        let prefix = self.path.child(&format!("{kind}-")).unwrap();
        let created = self.client.create(&prefix, "", CreateMode::EphemeralSequential).await.unwrap();
        let (inside, _) = self.client.children(&self.path).await.unwrap();
        (created.path, inside)
    }

    async fn read(&self) -> (u64, u64, String) {
        let (data, _) = self.client.get(&self.path).await.unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap();
        (word().parse().unwrap(), word().parse().unwrap(), word().to_owned())
    }
}

const WHO: &str = "herdless";
