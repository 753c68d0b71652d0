//! A history of changes that tells from any state how much of it has happened.

use std::collections::VecDeque;

use herdless::{ClientExt, CreateMode, Error, MultiOp, NodePath, TokioClient, Version};

/// So many of the newest nodes are there.
const KEPT: usize = 8;
/// So many changes are under way at a time.
const WINDOW: usize = 16;

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn node(number: usize) -> NodePath {
    path(&format!("/history/n{number:06}"))
}

/// Begins a history, where there is none.
pub(crate) async fn begin(client: &TokioClient) -> Result<(), Error> {
    client.create(&path("/history"), "0", CreateMode::Persistent).await.map(drop)
}

/// The change of this number: a new node, the number in its parent, and an old node's end.
fn change(client: &TokioClient, number: usize) -> impl Future<Output = Result<(), Error>> {
    let mut operations = vec![
        MultiOp::create(&node(number), vec![b'x'; 50 + number % 200], CreateMode::Persistent),
        // What a client that was given up sends late finds another version.
        MultiOp::set(&path("/history"), number.to_string(), Version(number as i32 - 1)),
    ];
    if number > KEPT {
        operations.push(MultiOp::delete(&node(number - KEPT), Version::ANY));
    }
    let changed = client.multi(operations);
    async { changed.await.map(drop) }
}

/// Makes the changes after `last` until there are enough or one fails, and tells each that is acknowledged. The last of them.
pub(crate) async fn go_on(
    client: &TokioClient,
    last: usize,
    changes: usize,
    mut acknowledged: impl FnMut(usize),
) -> Result<usize, Error> {
    let mut under_way = VecDeque::new();
    let mut done = last;
    for number in last + 1..=last + changes {
        if under_way.len() == WINDOW {
            let oldest: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>>>> = under_way.pop_front().unwrap();
            oldest.await?;
            done += 1;
            acknowledged(done);
        }
        under_way.push_back(Box::pin(change(client, number)));
    }
    for oldest in under_way {
        oldest.await?;
        done += 1;
        acknowledged(done);
    }
    Ok(done)
}

/// How many changes have happened; `None` where not even the history was begun.
///
/// # Panics
///
/// When what is there is not what there was after any number of changes.
pub(crate) async fn last(client: &TokioClient) -> Option<usize> {
    let history = path("/history");
    client.exists(&history).await.unwrap()?;
    loop {
        let (data, stat) = client.get(&history).await.unwrap();
        let last: usize = std::str::from_utf8(&data).unwrap().parse().unwrap();
        let first = last.saturating_sub(KEPT) + 1;
        let (mut names, children) = client.children(&history).await.unwrap();
        let mut sizes = Vec::new();
        for number in first..=last {
            sizes.push(client.get(&node(number)).await.ok().map(|(data, _)| data.len()));
        }
        // What a client that was given up had still to send may come between.
        if client.exists(&history).await.unwrap().expect("it is never deleted").mzxid != stat.mzxid {
            continue;
        }
        assert_eq!(stat.version as usize, last);
        names.sort();
        assert_eq!(names, (first..=last).map(|number| node(number).name().to_owned()).collect::<Vec<_>>());
        assert_eq!(children.cversion as usize, last + last.saturating_sub(KEPT), "creations and deletions");
        assert_eq!(sizes, (first..=last).map(|number| Some(50 + number % 200)).collect::<Vec<_>>());
        return Some(last);
    }
}
