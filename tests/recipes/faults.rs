//! Connections, sessions, futures and nodes that go away under a recipe.

use std::pin::pin;
use std::time::Duration;

use futures::future::join_all;
use herdless::{Client, ClientExt, Error, NodePath, Refusal, TokioClient, Version};

use crate::all::{Holding, Setup, holdings, operations};
use crate::support::{Dice, Place, World, is_pending, scenarios, until, until_suspended};

scenarios! {
    several_clients_hold_in_turns
    who_waits_outlives_a_lost_connection
    who_waits_holds_when_the_session_of_the_holder_expires
    who_waits_is_behind_the_others_when_its_own_session_expires
    who_waits_is_told_when_its_directory_is_deleted
    who_gives_up_leaves_nothing_and_blocks_nobody
    operations_that_are_given_up_leave_nothing_ephemeral
    connections_that_break_anywhere_are_no_error
}

/// Runs a scenario for every recipe that can be held, all at once: they are on paths of their own.
async fn for_each(world: &World, scenario: impl AsyncFn(Holding, NodePath)) {
    let all = holdings().into_iter().map(|holding| scenario(holding, world.beside(holding.name)));
    join_all(all).await;
}

/// Waits until so many sessions hold or wait.
async fn until_in_line(holding: Holding, client: &TokioClient, path: &NodePath, count: usize) {
    until(&format!("{count} in {path}"), async || (holding.sessions(client, path).await.len() == count).then_some(()))
        .await;
}

async fn several_clients_hold_in_turns(world: &World) {
    const CLIENTS: u64 = 3;
    const ROUNDS: u64 = 20;
    for holding in holdings() {
        let path = world.beside(holding.name);
        let place = Place::of(world, holding.name).await;
        // Of a read-write lock one kind shares: the one that follows a writer, or holds what a writer follows.
        let shares = |follows: bool| match holding.name {
            "RwLock-write" => follows,
            name => name.starts_with("RwLock") && !follows,
        };
        let tasks = (0..CLIENTS).flat_map(|_| [false, true]).map(|follows| {
            let (place, path) = (place.clone(), path.clone());
            async move {
                let client = world.connect().await;
                for _ in 0..ROUNDS {
                    let take = if follows { holding.follow } else { holding.hold };
                    let grant = take(Setup::new(&client, path.clone())).await.unwrap();
                    assert!(grant.is_valid());
                    match shares(follows) {
                        true => _ = place.visit_shared(CLIENTS as usize).await,
                        false => place.visit_alone().await,
                    }
                    drop(grant);
                }
            }
        });
        join_all(tasks).await;
        let alone = [false, true].into_iter().filter(|follows| !shares(*follows)).count() as u64;
        assert_eq!(place.tally().await.0, alone * CLIENTS * ROUNDS, "{}", holding.name);
        until_in_line(holding, &world.connect().await, &path, 0).await;
    }
}

async fn who_waits_outlives_a_lost_connection(world: &World) {
    for_each(world, async |holding, path| {
        let proxy = world.proxy().await;
        let (client, holder) = (proxy.connector().connect().await.unwrap(), world.connect().await);
        let grant = (holding.hold)(Setup::new(&holder, path.clone())).await.unwrap();
        let mut wait = (holding.follow)(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until_in_line(holding, &holder, &path, 2).await;
        for _ in 0..3 {
            proxy.down();
            until_suspended(&client).await;
            assert!(is_pending(&mut wait).await, "{}", holding.name);
            proxy.up();
            client.sync(&path).await.unwrap_or_default();
            assert!(is_pending(&mut wait).await, "{}", holding.name);
        }
        // And while the connection is away the holder leaves.
        proxy.down();
        until_suspended(&client).await;
        let token = grant.token();
        drop(grant);
        until_in_line(holding, &holder, &path, 1).await;
        proxy.up();
        let grant = wait.await.unwrap();
        assert!(grant.is_valid() && grant.token() > token, "{}", holding.name);
        drop(grant);
        until_in_line(holding, &holder, &path, 0).await;
    })
    .await;
}

async fn who_waits_holds_when_the_session_of_the_holder_expires(world: &World) {
    for_each(world, async |holding, path| {
        let proxy = world.proxy().await;
        let (client, unlucky) = (world.connect().await, proxy.short_session().connect().await.unwrap());
        let grant = (holding.hold)(Setup::new(&unlucky, path.clone())).await.unwrap();
        let mut wait = (holding.follow)(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until_in_line(holding, &client, &path, 2).await;
        proxy.down();
        let next = wait.await.unwrap();
        assert!(!grant.is_valid(), "{}: two hold", holding.name);
        assert!(next.token() > grant.token(), "{}", holding.name);
        grant.lost().await;
        proxy.up();
        // Either says that it is lost: by this client's knowledge, or by the server's.
        let refused = grant.multi(Vec::new()).await.unwrap_err();
        let is_lost = matches!(refused, Error::SessionExpired | Error::Refused(Refusal::NoNode));
        assert!(is_lost, "{}: {refused}", holding.name);
        drop((grant, next));
        until_in_line(holding, &client, &path, 0).await;
    })
    .await;
}

async fn who_waits_is_behind_the_others_when_its_own_session_expires(world: &World) {
    for_each(world, async |holding, path| {
        let proxy = world.proxy().await;
        let (holder, other) = (world.connect().await, world.connect().await);
        let unlucky = proxy.short_session().connect().await.unwrap();
        let session = unlucky.session();
        let grant = (holding.hold)(Setup::new(&holder, path.clone())).await.unwrap();
        let setup = Setup::new(&unlucky, path.clone());
        let waiting = tokio::spawn(async move { (holding.follow)(setup).await });
        until_in_line(holding, &holder, &path, 2).await;
        // It wants what excludes what the unlucky one wants, and waits for the holder as well.
        let excluding = if holding.name == "RwLock-write" { holding.hold } else { holding.follow };
        let setup = Setup::new(&other, path.clone());
        let stays = tokio::spawn(async move { excluding(setup).await });
        until_in_line(holding, &holder, &path, 3).await;
        proxy.down();
        session.lost().await;
        proxy.up();
        until("its new place", async || {
            let sessions = holding.sessions(&holder, &path).await;
            (sessions.len() == 3 && !sessions.contains(&session.id().0)).then_some(())
        })
        .await;
        drop(grant);
        let first = stays.await.unwrap().unwrap();
        unlucky.sync(&path).await.unwrap();
        assert!(!waiting.is_finished(), "{}: two hold", holding.name);
        let token = first.token();
        drop(first);
        let last = waiting.await.unwrap().unwrap();
        assert!(last.is_valid() && last.token() > token, "{}", holding.name);
        drop(last);
        until_in_line(holding, &holder, &path, 0).await;
    })
    .await;
}

/// Removes directories that are there, and empty.
async fn remove(admin: &TokioClient, directories: &[NodePath]) {
    for directory in directories {
        match admin.delete(directory, Version::ANY).await {
            Ok(()) | Err(Error::Refused(Refusal::NoNode | Refusal::NotEmpty)) => {}
            Err(error) => panic!("{directory}: {error}"),
        }
    }
}

/// As `deleteall` of ZooKeeper's shell does, from the end of the line.
async fn who_waits_is_told_when_its_directory_is_deleted(world: &World) {
    for_each(world, async |holding, path| {
        let (holder, client) = (world.connect().await, world.connect().await);
        let grant = (holding.hold)(Setup::new(&holder, path.clone())).await.unwrap();
        let held_by = holder.session().id().0;
        let mut wait = (holding.follow)(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until_in_line(holding, &holder, &path, 2).await;
        // Its watch is there.
        for _ in 0..4 {
            client.sync(&path).await.unwrap();
            assert!(is_pending(&mut wait).await);
        }
        let admin = world.connect().await;
        let mut nodes = holding.contenders(&admin, &path).await;
        nodes.sort_by_key(|(_, stat)| stat.ephemeral_owner == held_by);
        for (node, _) in nodes {
            admin.delete(&node, Version::ANY).await.unwrap();
        }
        let directories = holding.directories(&path);
        remove(&admin, &directories).await;
        let error = wait.await.map(|grant| grant.token()).expect_err("its node is gone");
        // Whoever was about to hold may have found its directory missing before it found its node missing.
        remove(&admin, &directories).await;
        assert_eq!(error, Error::Refused(Refusal::NoNode), "{}", holding.name);
        assert_eq!(grant.multi(Vec::new()).await, Err(Error::Refused(Refusal::NoNode)), "{}", holding.name);
        drop(grant);
        holder.sync(&path).await.unwrap();
        assert!(admin.exists(&path).await.unwrap().is_none(), "{}", holding.name);
        // And anew.
        drop((holding.hold)(Setup::new(&holder, path.clone())).await.unwrap());
        until_in_line(holding, &holder, &path, 0).await;
    })
    .await;
}

/// Runs the future for a random while: some are not polled twice, some get to their first reply, some end.
async fn for_a_while<F: Future>(dice: &mut Dice, future: F) -> Option<F::Output> {
    if dice.within(0..3) == 0 {
        let pause = Duration::from_millis(dice.within(0..4) as u64);
        return tokio::time::timeout(pause, future).await.ok();
    }
    let turns = dice.within(0..40);
    let mut future = pin!(future);
    for _ in 0..turns {
        if let std::task::Poll::Ready(output) = futures::poll!(future.as_mut()) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn who_gives_up_leaves_nothing_and_blocks_nobody(world: &World) {
    for_each(world, async |holding, path| {
        let mut dice = Dice::new();
        let (holder, client) = (world.connect().await, world.connect().await);
        let grant = (holding.hold)(Setup::new(&holder, path.clone())).await.unwrap();
        for _ in 0..40 {
            let given_up = for_a_while(&mut dice, (holding.follow)(Setup::new(&client, path.clone()))).await;
            assert!(given_up.is_none(), "{}: two hold", holding.name);
        }
        until_in_line(holding, &holder, &path, 1).await;
        drop(grant);
        let mut done = 0;
        for _ in 0..40 {
            let take = if dice.within(0..2) == 0 { holding.hold } else { holding.follow };
            done += usize::from(for_a_while(&mut dice, take(Setup::new(&client, path.clone()))).await.is_some());
        }
        println!("{}: {done} of 40 were not given up", holding.name);
        until_in_line(holding, &holder, &path, 0).await;
        drop((holding.follow)(Setup::new(&holder, path.clone())).await.unwrap());
    })
    .await;
}

/// The names and owners of ephemeral nodes below the parent of `path` that belong to this session.
async fn ephemerals(client: &TokioClient, session: &TokioClient, base: &NodePath) -> Vec<NodePath> {
    let owner = session.session().id().0;
    let mut found = Vec::new();
    let mut paths = vec![base.clone()];
    while let Some(path) = paths.pop() {
        if let Ok((names, stat)) = client.children(&path).await {
            paths.extend(names.iter().map(|name| path.child(name).unwrap()));
            found.extend((stat.ephemeral_owner == owner).then_some(path));
        }
    }
    found
}

async fn operations_that_are_given_up_leave_nothing_ephemeral(world: &World) {
    let other = world.connect().await;
    for operation in operations() {
        let mut dice = Dice::new();
        let client = world.connect().await;
        let base = world.beside(operation.name);
        let path = base.child("it").unwrap();
        for _ in 0..40 {
            let done = for_a_while(&mut dice, (operation.run)(Setup::new(&client, path.clone()))).await;
            assert!(matches!(done, None | Some(Ok(()))), "{}: {done:?}", operation.name);
        }
        until(&format!("nothing of {}", operation.name), async || {
            ephemerals(&other, &client, &base).await.is_empty().then_some(())
        })
        .await;
        assert_eq!((operation.run)(Setup::new(&other, path)).await, Ok(()), "{}", operation.name);
    }
}

async fn connections_that_break_anywhere_are_no_error(world: &World) {
    let all = operations().into_iter().map(async |operation| {
        let other = world.connect().await;
        let proxy = world.proxy().await;
        proxy.break_after(Dice::new(), 300..2000);
        let client = proxy.connector().connect().await.unwrap();
        let base = world.beside(operation.name);
        let path = base.child("it").unwrap();
        // Until there was enough of it, however many bytes each of them costs.
        let mut count = 0;
        while proxy.breaks() < 25 {
            let done = (operation.run)(Setup::new(&client, path.clone())).await;
            assert_eq!(done, Ok(()), "{}", operation.name);
            count += 1;
        }
        println!("{}: {} connections broke in {count} operations", operation.name, proxy.breaks());
        proxy.stop_breaking();
        until(&format!("nothing of {}", operation.name), async || {
            ephemerals(&other, &client, &base).await.is_empty().then_some(())
        })
        .await;
    });
    join_all(all).await;
}
