//! Playing a script on one server.

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use herdless::core::{Request, Watch, WatchStream};
use herdless::{Client, ClientExt, CreateMode, Error, NodePath, TokioClient};

use super::draw::{Action, CLIENTS, Script};
use super::support::connector;
use super::transcript::Transcript;

/// One who takes part, and what it waits for.
struct Player {
    client: TokioClient,
    watches: Vec<(usize, Watch)>,
    streams: Vec<(usize, WatchStream)>,
}

impl Player {
    async fn join(address: &str) -> Self {
        let client = connector(address).connect().await.unwrap();
        Self { client, watches: Vec::new(), streams: Vec::new() }
    }

    /// What has been told since the last look: by watches, then by streams, each in the order in which they were begun.
    fn hear(&mut self, who: usize, transcript: &mut Transcript) {
        self.watches.retain_mut(|(step, watch)| match watch.now_or_never() {
            None => true,
            Some(outcome) => {
                transcript.told(who, *step, &outcome);
                false
            }
        });
        self.streams.retain_mut(|(step, stream)| {
            loop {
                match stream.next().now_or_never() {
                    None => return true,
                    Some(None) => return false,
                    Some(Some(notice)) => transcript.told(who, *step, &notice),
                }
            }
        });
    }

    /// How everything that it waited for ends with its session.
    async fn hear_to_the_end(&mut self, who: usize, transcript: &mut Transcript) {
        for (step, watch) in self.watches.drain(..) {
            transcript.told(who, step, &watch.await);
        }
        for (step, mut stream) in self.streams.drain(..) {
            while let Some(notice) = stream.next().await {
                transcript.told(who, step, &notice);
            }
        }
    }
}

/// Plays all of it below `root`, which is made for it, and reads the tree in the end.
pub(crate) async fn play(script: &Script, address: &str, root: &NodePath) -> Transcript {
    let address_below = format!("{address}{root}");
    let mut transcript = Transcript::default();
    let outside = connector(address).connect().await.unwrap();
    outside.create(root, "", CreateMode::Persistent).await.unwrap();
    let mut players = join_all((0..CLIENTS).map(|_| Player::join(&address_below))).await;
    for (number, step) in script.0.iter().enumerate() {
        let player = &mut players[step.client];
        let (mark, mut is_unordered) = (transcript.mark(), false);
        match &step.action {
            Action::Request(request) => {
                let outcome = player.client.submit(request.clone()).await;
                transcript.replied(number, request, &outcome);
                if let Ok(answer) = outcome {
                    player.watches.extend(answer.watch.map(|watch| (number, watch)));
                    player.streams.extend(answer.stream.map(|stream| (number, *stream)));
                }
            }
            Action::Renew => {
                let closed = player.client.close().await;
                transcript.renewed(number, &closed);
                player.hear_to_the_end(step.client, &mut transcript).await;
                *player = Player::join(&address_below).await;
                is_unordered = true;
            }
            Action::DropStream if !player.streams.is_empty() => drop(player.streams.remove(0)),
            Action::DropStream => {}
        }
        // What the step has told anybody comes before the answers to these.
        let answers = join_all(players.iter().map(|player| player.client.exists(&NodePath::root()))).await;
        for (who, player) in players.iter_mut().enumerate() {
            if matches!(answers[who], Err(Error::Refused(_) | Error::Closed)) {
                // Not believed who it is, it is no client any more.
                player.hear_to_the_end(who, &mut transcript).await;
                *player = Player::join(&address_below).await;
            }
            player.hear(who, &mut transcript);
        }
        if is_unordered {
            // Apache ZooKeeper keeps a session's nodes in a hash set, and tells of their end in its order.
            transcript.sort_from(mark);
        }
    }
    read(&players[0].client, NodePath::root(), &mut transcript).await;
    join_all(players.iter().map(|player| player.client.close())).await;
    outside.close().await.unwrap();
    transcript
}

/// Everything on a server.
pub(crate) async fn tree(address: &str) -> Transcript {
    let mut transcript = Transcript::default();
    let client = connector(address).connect().await.unwrap();
    read(&client, NodePath::root(), &mut transcript).await;
    client.close().await.unwrap();
    transcript
}

/// All that this client can see.
async fn read(client: &TokioClient, path: NodePath, transcript: &mut Transcript) {
    let requests = [
        Request::Exists(herdless::core::Exists { path: path.clone(), watch: false }),
        Request::GetData(herdless::core::GetData { path: path.clone(), watch: false }),
        Request::GetAcl(herdless::core::GetAcl { path: path.clone() }),
        Request::GetChildren(herdless::core::GetChildren { path: path.clone(), watch: false }),
    ];
    for request in requests {
        let outcome = client.submit(request.clone()).await;
        transcript.replied(usize::MAX, &request, &outcome);
    }
    let Ok((mut names, _)) = client.children(&path).await else {
        return;
    };
    names.sort();
    for name in names {
        Box::pin(read(client, path.child(&name).unwrap(), transcript)).await;
    }
}
