//! Queues in the layouts of others.

use std::cell::{Cell, RefCell};

use futures::future::join_all;
use herdless::{ClientExt, ForeignQueue, ForeignQueueLayout, Version};

use crate::support::{Meter, World, is_pending, scenarios};

scenarios! {
    each_item_is_taken_once
    putting_and_taking_cost_what_is_documented
    who_waits_outlives_a_queue_that_is_deleted
}

const LAYOUTS: [ForeignQueueLayout; 3] =
    [ForeignQueueLayout::CuratorSimple, ForeignQueueLayout::Curator, ForeignQueueLayout::Kazoo];

async fn each_item_is_taken_once(world: &World) {
    const CLIENTS: usize = 3; // that put, and that take
    const ITEMS: usize = 50; // of each
    for layout in LAYOUTS {
        let path = world.beside(&format!("{layout:?}"));
        let taken = RefCell::new(Vec::new());
        let left = Cell::new(CLIENTS * ITEMS);
        let putting = join_all((0..CLIENTS).map(|producer| {
            let path = path.clone();
            async move {
                let queue = ForeignQueue::new(world.connect().await, path, layout);
                for number in 0..ITEMS {
                    queue.put(format!("{producer}-{number:02}")).await.unwrap();
                }
            }
        }));
        let (all_taken, heard) = tokio::sync::oneshot::channel();
        let all_taken = Cell::new(Some(all_taken));
        let taking = join_all((0..CLIENTS).map(|_| {
            let (taken, left, all_taken, path) = (&taken, &left, &all_taken, path.clone());
            async move {
                let mut queue = ForeignQueue::new(world.connect().await, path, layout);
                loop {
                    let item = queue.take_or_wait().await.unwrap();
                    taken.borrow_mut().push(item.data[0].clone());
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        all_taken.take().expect("once").send(()).unwrap();
                    }
                }
            }
        }));
        tokio::select! {
            _ = async { tokio::join!(putting, taking) } => unreachable!("who takes takes for ever"),
            heard = heard => heard.unwrap(),
        }
        let mut taken = taken.into_inner();
        taken.sort_unstable();
        let all = (0..CLIENTS).flat_map(|producer| (0..ITEMS).map(move |number| format!("{producer}-{number:02}")));
        assert!(taken.iter().eq(all.collect::<Vec<_>>().iter()), "{layout:?}: {taken:?}");
        let client = world.connect().await;
        assert_eq!(ForeignQueue::new(client.clone(), path.clone(), layout).take().await, Ok(None));
        assert_eq!(client.children(&path).await.unwrap().0, [""; 0], "{layout:?}");
    }
}

async fn putting_and_taking_cost_what_is_documented(world: &World) {
    let client = world.connect().await;
    for layout in LAYOUTS {
        let path = world.beside(&format!("{layout:?}"));
        let mut queue = ForeignQueue::new(client.clone(), path, layout);
        queue.put("first").await.unwrap();
        queue.take().await.unwrap().expect("it is there");
        let meter = Meter::start(&client);
        for number in 0..16 {
            queue.put(format!("{number}")).await.unwrap();
        }
        // A multi, and one that nobody waits for.
        assert_eq!(meter.read().await, (32, 0), "{layout:?}");
        let meter = Meter::start(&client);
        for _ in 0..16 {
            queue.take().await.unwrap().expect("it is there");
        }
        // A list, 16 reads, and for each a multi and one that nobody waits for.
        assert_eq!(meter.read().await, (1 + 16 + 32, 0), "{layout:?}");
        let meter = Meter::start(&client);
        assert_eq!(queue.take().await, Ok(None));
        assert_eq!(meter.read().await, (1, 0), "{layout:?}");
    }
}

async fn who_waits_outlives_a_queue_that_is_deleted(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    for layout in LAYOUTS {
        let path = world.beside(&format!("{layout:?}"));
        let mut queue = ForeignQueue::new(client.clone(), path.clone(), layout);
        let mut waiting = Box::pin(queue.take_or_wait());
        for _ in 0..6 {
            assert!(is_pending(&mut waiting).await);
            client.sync(&path).await.unwrap();
        }
        other.delete(&path, Version::ANY).await.unwrap();
        let putting = ForeignQueue::new(other.clone(), path.clone(), layout);
        putting.put("late").await.unwrap();
        assert_eq!(waiting.await.unwrap().data, ["late"], "{layout:?}");
    }
}
