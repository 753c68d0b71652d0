//! Another list of servers.

use herdless::transport::AddressError;
use herdless::{Client, ClientExt, ConnectError, CreateMode, NodePath, TokioClient};

use crate::support::{Proxy, World, connector, scenarios, until, until_suspended};

scenarios! {
    a_client_whose_server_leaves_the_list_moves_and_keeps_its_session
    a_client_whose_server_stays_in_the_list_stays
    a_list_that_is_given_while_no_server_can_be_reached_is_used
    a_list_that_is_none_changes_nothing
}

async fn moved(client: &TokioClient, connects: u64) {
    until("the next connection", async || (client.counters().connects == connects).then_some(())).await;
}

async fn a_client_whose_server_leaves_the_list_moves_and_keeps_its_session(world: &World) {
    let (old, new) = (world.proxy().await, world.proxy().await);
    let client = old.connector().connect().await.unwrap();
    let (session, node) = (client.session(), world.beside("node"));
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let (_, watch) = client.get_and_watch(&node).await.unwrap();

    client.update_hosts(&new.address()).unwrap();
    moved(&client, 2).await;
    old.down();
    assert!(client.exists(&node).await.unwrap().is_some());
    assert_eq!(client.session().id(), session.id());
    assert!(session.is_valid());
    // The watch has moved as well.
    world.connect().await.delete(&node, herdless::Version::ANY).await.unwrap();
    watch.await.unwrap();
    assert_eq!(client.counters().connects, 2);
}

async fn a_client_whose_server_stays_in_the_list_stays(world: &World) {
    let (own, other) = (world.proxy().await, world.proxy().await);
    let both = format!("{},{}", own.address(), other.address());
    let client = connector(&both).connect().await.unwrap();
    // From two to one: where it is not at that one, it has to move.
    client.update_hosts(&own.address()).unwrap();
    other.down();
    until("a connection to the one", async || client.exists(&NodePath::root()).await.ok()).await;
    let connects = client.counters().connects;
    other.up();
    for list in [own.address(), format!("{}/", own.address())] {
        client.update_hosts(&list).unwrap();
        client.exists(&NodePath::root()).await.unwrap();
    }
    assert_eq!(client.counters().connects, connects);
    // Where it goes from there, if it does, is by chance; that it can use both is not.
    client.update_hosts(&both).unwrap();
    own.down();
    until("the other one", async || client.exists(&NodePath::root()).await.ok()).await;
}

async fn a_list_that_is_given_while_no_server_can_be_reached_is_used(world: &World) {
    let (old, new) = (world.proxy().await, world.proxy().await);
    let client = old.connector().connect().await.unwrap();
    let session = client.session();
    old.down();
    until_suspended(&client).await;
    let call = client.exists(&NodePath::root());
    client.update_hosts(&new.address()).unwrap();
    call.await.unwrap();
    assert_eq!(client.session().id(), session.id());
}

async fn a_list_that_is_none_changes_nothing(world: &World) {
    let proxy = Proxy::to(&world.address).await;
    let client = connector(&format!("{}/app", proxy.address())).connect().await.unwrap();
    let refused = |list: &str| match client.update_hosts(list) {
        Err(ConnectError::Address(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(""), AddressError::NoHost("".into()));
    assert_eq!(refused("127.0.0.1:1/other"), AddressError::OtherChroot(NodePath::parse("/other").unwrap()));
    // There is no TLS to speak.
    assert!(matches!(client.update_hosts("tls://127.0.0.1:1"), Err(ConnectError::NoTls { .. })));
    client.sync(&NodePath::root()).await.unwrap();
    assert_eq!(client.counters().connects, 1);
    client.update_hosts(&format!("{}/app", proxy.address())).unwrap();
    client.sync(&NodePath::root()).await.unwrap();
    assert_eq!(client.counters().connects, 1);
}
