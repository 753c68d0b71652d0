//! Access control lists and identities.
//!
//! Whether `exists` needs the permission `READ` depends on the version of the server, so no case asks.

use std::collections::BTreeSet;

use herdless_core::{
    Acl, ClientExt, CreateMode, Error, Identity, MultiOp, NodePath, Permissions, Refusal, Stat, Version,
};

use crate::expect::{expect_multi_refused, expect_quiet, expect_refused, poll_once};
use crate::{Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

fn anyone(permissions: Permissions) -> Acl {
    Acl { permissions, ..Acl::open()[0].clone() }
}

fn entry(scheme: &str, id: &str) -> Acl {
    Acl { permissions: Permissions::ALL, scheme: scheme.into(), id: id.into() }
}

async fn create<B: Backend>(
    scene: &Scene<'_, B>,
    client: &B::Client,
    below: &str,
    acl: impl Into<Vec<Acl>>,
) -> NodePath {
    client.create_with_acl(&scene.path(below), "x", PERSISTENT, acl.into()).await.unwrap().path
}

pub(crate) async fn a_node_is_open_unless_it_is_said_otherwise<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, stat) = scene.node(&client, "a").await;
    assert_eq!(client.acl(&path).await.unwrap(), (Acl::open().to_vec(), stat));
}

pub(crate) async fn a_list_is_kept_as_it_was_given<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let list = [anyone(Permissions::ALL), anyone(Permissions::READ | Permissions::ADMIN)];
    let path = create(scene, &client, "a", list.clone()).await;
    assert_eq!(client.acl(&path).await.unwrap().0, list);
    let list = [entry("ip", "10.0.0.0/8"), anyone(Permissions::ALL)];
    client.set_acl(&path, list.clone(), Version::ANY).await.unwrap();
    assert_eq!(client.acl(&path).await.unwrap().0, list);
}

pub(crate) async fn a_new_list_counts_in_a_version_of_its_own<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, before) = scene.node(&client, "a").await;
    for version in 0..3 {
        let stat = client.set_acl(&path, Acl::open(), Version(version)).await.unwrap();
        assert_eq!(stat, Stat { aversion: version + 1, ..before }, "and nothing else");
        assert_eq!(client.exists(&path).await.unwrap(), Some(stat));
        expect_refused(client.set_acl(&path, Acl::open(), Version(version)).await, Refusal::BadVersion);
    }
    // The version of the data is another.
    client.set(&path, "", Version(0)).await.unwrap();
    assert_eq!(client.set_acl(&path, Acl::open(), Version(3)).await.unwrap().version, 1);
}

pub(crate) async fn reading_needs_read<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let others = Permissions::WRITE | Permissions::CREATE | Permissions::DELETE;
    let path = create(scene, &client, "a", [anyone(others)]).await;
    expect_refused(client.get(&path).await, Refusal::NoAuth);
    expect_refused(client.get_and_watch(&path).await, Refusal::NoAuth);
    expect_refused(client.children(&path).await, Refusal::NoAuth);
    expect_refused(client.acl(&path).await, Refusal::NoAuth);
    expect_multi_refused(client.multi(vec![MultiOp::check(&path, Version::ANY)]).await, 0, Refusal::NoAuth);
    client.set(&path, "", Version::ANY).await.unwrap();
}

pub(crate) async fn writing_needs_write<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let others = Permissions::READ | Permissions::CREATE | Permissions::DELETE | Permissions::ADMIN;
    let path = create(scene, &client, "a", [anyone(others)]).await;
    expect_refused(client.set(&path, "", Version::ANY).await, Refusal::NoAuth);
    assert_eq!(client.get(&path).await.unwrap().0, "x");
    let set = vec![MultiOp::set(&path, "", Version::ANY)];
    expect_multi_refused(client.multi(set).await, 0, Refusal::NoAuth);
}

pub(crate) async fn creating_needs_create_on_the_parent<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let others = Permissions::READ | Permissions::WRITE | Permissions::DELETE | Permissions::ADMIN;
    create(scene, &client, "a", [anyone(others)]).await;
    expect_refused(client.create(&scene.path("a/b"), "", PERSISTENT).await, Refusal::NoAuth);
    expect_refused(client.create(&scene.path("a/b"), "", CreateMode::EphemeralSequential).await, Refusal::NoAuth);
    assert_eq!(client.exists(&scene.path("a")).await.unwrap().unwrap().cversion, 0);
}

pub(crate) async fn deleting_needs_delete_on_the_parent<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let others = Permissions::READ | Permissions::WRITE | Permissions::CREATE | Permissions::ADMIN;
    let parent = create(scene, &client, "a", [anyone(others)]).await;
    // The child's own list says nothing of it.
    let child = create(scene, &client, "a/b", [anyone(Permissions::ALL)]).await;
    expect_refused(client.delete(&child, Version::ANY).await, Refusal::NoAuth);
    expect_refused(client.delete(&child, Version(9)).await, Refusal::NoAuth);
    client.set_acl(&child, [anyone(Permissions::READ)], Version::ANY).await.unwrap();
    client.set_acl(&parent, Acl::open(), Version::ANY).await.unwrap();
    scene.judged_anew(Refusal::NoAuth, async || client.delete(&child, Version::ANY).await).await.unwrap();
}

pub(crate) async fn a_new_list_needs_admin<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let others = Permissions::READ | Permissions::WRITE | Permissions::CREATE | Permissions::DELETE;
    let path = create(scene, &client, "a", [anyone(others)]).await;
    expect_refused(client.set_acl(&path, Acl::open(), Version::ANY).await, Refusal::NoAuth);
    expect_refused(client.set_acl(&path, Acl::open(), Version(9)).await, Refusal::NoAuth);
    let (list, stat) = client.acl(&path).await.unwrap();
    assert_eq!((list, stat.aversion), (vec![anyone(others)], 0));
}

pub(crate) async fn who_may_change_a_list_may_read_it<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = create(scene, &client, "a", [anyone(Permissions::ADMIN)]).await;
    assert_eq!(client.acl(&path).await.unwrap().0, [anyone(Permissions::ADMIN)]);
    expect_refused(client.get(&path).await, Refusal::NoAuth);
    client.set_acl(&path, Acl::open(), Version(0)).await.unwrap();
    client.get(&path).await.unwrap();
}

pub(crate) async fn permissions_are_not_inherited<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let parent = create(scene, &client, "a", [anyone(Permissions::ALL)]).await;
    let child = create(scene, &client, "a/b", [anyone(Permissions::ALL)]).await;
    client.set_acl(&parent, [anyone(Permissions::ADMIN)], Version::ANY).await.unwrap();
    client.set(&child, "y", Version::ANY).await.unwrap();
    assert_eq!(client.get(&child).await.unwrap().0, "y");
    client.set_acl(&parent, Acl::open(), Version::ANY).await.unwrap();
}

pub(crate) async fn lists_that_mean_nobody_are_refused<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, stat) = scene.node(&client, "a").await;
    let wrong = [
        vec![],
        vec![entry("world", "somebody")],
        vec![entry("nobody-knows-this-scheme", "x")],
        vec![entry("ip", "not-an-address")],
        vec![entry("ip", "10.0.0.1/99")],
        vec![anyone(Permissions::ALL), entry("ip", "")],
    ];
    for list in wrong {
        let create = client.create_with_acl(&scene.path("new"), "", PERSISTENT, list.clone()).await;
        assert_eq!(create, Err(Error::Refused(Refusal::InvalidAcl)), "{list:?}");
        let set = client.set_acl(&path, list.clone(), Version::ANY).await;
        assert_eq!(set, Err(Error::Refused(Refusal::InvalidAcl)), "{list:?}");
    }
    assert_eq!(client.acl(&path).await.unwrap(), (Acl::open().to_vec(), stat));
}

pub(crate) async fn a_list_is_judged_before_the_node_is_looked_for<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let wrong = || [entry("world", "somebody")];
    let missing = scene.path("missing");
    expect_refused(client.set_acl(&missing, wrong(), Version::ANY).await, Refusal::InvalidAcl);
    let create = client.create_with_acl(&scene.path("missing/a"), "", PERSISTENT, wrong()).await;
    expect_refused(create, Refusal::InvalidAcl);
    let path = create_closed(scene, &client).await;
    expect_refused(client.set_acl(&path, wrong(), Version(9)).await, Refusal::InvalidAcl);
    let again = client.create_with_acl(&path, "", PERSISTENT, wrong()).await;
    expect_refused(again, Refusal::InvalidAcl);
}

async fn create_closed<B: Backend>(scene: &Scene<'_, B>, client: &B::Client) -> NodePath {
    create(scene, client, "closed", [anyone(Permissions::READ)]).await
}

pub(crate) async fn the_creator_is_nobody_without_an_identity<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let list = [Acl::creator(Permissions::ALL)];
    let create = client.create_with_acl(&scene.path("a"), "", PERSISTENT, list).await;
    expect_refused(create, Refusal::InvalidAcl);
}

pub(crate) async fn a_node_for_one_user_is_closed_to_others<B: Backend>(scene: &Scene<'_, B>) {
    let (owner, other) = (scene.connect().await, scene.connect().await);
    owner.authenticate("digest", "ann:secret").await.unwrap();
    other.authenticate("digest", "ann:wrong").await.unwrap();
    let path = create(scene, &owner, "a", [Acl::digest(Permissions::ALL, "ann", "secret")]).await;
    owner.set(&path, "y", Version::ANY).await.unwrap();
    other.settle(&path).await.unwrap();
    expect_refused(other.get(&path).await, Refusal::NoAuth);
    expect_refused(other.set(&path, "z", Version::ANY).await, Refusal::NoAuth);
    expect_refused(other.create(&scene.path("a/b"), "", PERSISTENT).await, Refusal::NoAuth);
    expect_refused(other.set_acl(&path, Acl::open(), Version::ANY).await, Refusal::NoAuth);
    // An identity is added to those that were there.
    other.authenticate("digest", "ann:secret").await.unwrap();
    assert_eq!(other.get(&path).await.unwrap().0, "y");
}

pub(crate) async fn several_identities_all_count<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    for user in ["ann:1", "bob:2"] {
        client.authenticate("digest", user).await.unwrap();
    }
    let path = create(scene, &client, "a", [Acl::creator(Permissions::READ | Permissions::ADMIN)]).await;
    let list = ["ann", "bob"].map(|user| {
        let password = if user == "ann" { "1" } else { "2" };
        Acl::digest(Permissions::READ | Permissions::ADMIN, user, password)
    });
    let mut found = client.acl(&path).await.unwrap().0;
    found.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(found, list, "the creator is everybody whom it has proven to be");
    other.authenticate("digest", "bob:2").await.unwrap();
    other.settle(&path).await.unwrap();
    other.get(&path).await.unwrap();
}

pub(crate) async fn an_identity_counts_for_what_comes_behind_it<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let authenticated = client.authenticate("digest", "ann:secret");
    let list = [Acl::creator(Permissions::ALL)];
    let created = client.create_with_acl(&scene.path("a"), "x", PERSISTENT, list);
    let read = client.get(&scene.path("a"));
    authenticated.await.unwrap();
    created.await.unwrap();
    assert_eq!(read.await.unwrap().0, "x");
}

pub(crate) async fn passwords_are_told_to_nobody_who_may_not_change_them<B: Backend>(scene: &Scene<'_, B>) {
    let (owner, other) = (scene.connect().await, scene.connect().await);
    owner.authenticate("digest", "ann:secret").await.unwrap();
    let list = [Acl::digest(Permissions::ALL, "ann", "secret"), anyone(Permissions::READ)];
    let path = create(scene, &owner, "a", list.clone()).await;
    assert_eq!(owner.acl(&path).await.unwrap().0, list);
    other.settle(&path).await.unwrap();
    let redacted = Acl { id: "ann:x".into(), ..list[0].clone() };
    assert_eq!(other.acl(&path).await.unwrap().0, [redacted, list[1].clone()]);
}

pub(crate) async fn one_is_told_who_one_is<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let ann = Identity { scheme: "digest".into(), id: "ann".into() };
    assert!(!client.who_am_i().await.unwrap().contains(&ann));
    client.authenticate("digest", "ann:secret").await.unwrap();
    let found = client.who_am_i().await.unwrap();
    assert!(found.contains(&ann), "{found:?}");
    assert!(!format!("{found:?}").contains("secret"));
    assert!(!scene.connect().await.who_am_i().await.unwrap().contains(&ann), "others are not");
}

pub(crate) async fn the_same_identity_twice_is_one<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for _ in 0..2 {
        client.authenticate("digest", "ann:secret").await.unwrap();
    }
    let path = create(scene, &client, "a", [Acl::creator(Permissions::ALL), Acl::creator(Permissions::ALL)]).await;
    assert_eq!(client.acl(&path).await.unwrap().0, [Acl::digest(Permissions::ALL, "ann", "secret")]);
    let identities = client.who_am_i().await.unwrap();
    assert_eq!(identities.iter().filter(|identity| identity.scheme == "digest").count(), 1);
}

pub(crate) async fn a_digest_without_a_user_is_no_list<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for id in ["", "ann", "ann:hash:more"] {
        let create = client.create_with_acl(&scene.path("a"), "", PERSISTENT, [entry("digest", id)]).await;
        assert_eq!(create, Err(Error::Refused(Refusal::InvalidAcl)), "{id:?}");
    }
}

pub(crate) async fn an_identity_that_is_not_accepted_ends_the_client<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    let (_, watch) = client.get_and_watch(&path).await.unwrap();
    let failed = client.authenticate("nobody-knows-this-scheme", "x").await;
    expect_refused(failed, Refusal::AuthFailed);
    assert_eq!(watch.await, Err(Error::Refused(Refusal::AuthFailed)));
    expect_refused(client.exists(&path).await, Refusal::AuthFailed);
}

pub(crate) async fn identities_are_proven_again_after_a_reconnect<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    client.authenticate("digest", "ann:secret").await.unwrap();
    let path = create(scene, &client, "a", [Acl::creator(Permissions::ALL)]).await;
    let (_, mut watch) = client.get_and_watch(&path).await.unwrap();
    scene.disconnect(&client).await;
    // Even what waits for the connection comes behind them.
    let waiting = client.get(&path);
    scene.reconnect(&client).await;
    assert_eq!(waiting.await.unwrap().0, "x");
    assert!(poll_once(&mut watch).await.is_none());
    client.set(&path, "y", Version::ANY).await.unwrap();
    assert!(poll_once(&mut watch).await.is_some());
}

pub(crate) async fn identities_outlive_the_session<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    client.authenticate("digest", "ann:secret").await.unwrap();
    let path = create(scene, &client, "a", [Acl::creator(Permissions::ALL)]).await;
    scene.expire(&client).await;
    assert_eq!(client.get(&path).await.unwrap().0, "x");
}

pub(crate) async fn one_stays_who_one_is<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    for user in ["ann:secret", "bob:secret"] {
        client.authenticate("digest", user).await.unwrap();
    }
    let users = async || {
        let identities = client.who_am_i().await.unwrap();
        let users = identities.into_iter().filter(|identity| identity.scheme == "digest").map(|identity| identity.id);
        users.collect::<BTreeSet<_>>()
    };
    let before = users().await;
    assert_eq!(before.len(), 2);
    scene.disconnect(&client).await;
    scene.reconnect(&client).await;
    assert_eq!(users().await, before);
    scene.expire(&client).await;
    assert_eq!(users().await, before);
}

pub(crate) async fn addresses_are_identities<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let identities = client.who_am_i().await.unwrap();
    assert!(identities.contains(&Identity { scheme: "ip".into(), id: "127.0.0.1".into() }), "{identities:?}");
    for (i, (address, is_in)) in [
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
        ("127.0.0.1/32", true),
        ("0.0.0.0/0", true),
        ("127.0.0.2", false),
        ("10.0.0.0/8", false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = create(scene, &client, &format!("n{i}"), [entry("ip", address)]).await;
        match client.get(&path).await {
            Ok(_) => assert!(is_in, "{address}"),
            Err(error) => assert_eq!((error.refusal(), is_in), (Some(Refusal::NoAuth), false), "{address}"),
        }
    }
}

pub(crate) async fn an_entry_twice_says_nothing_more<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (all, address) = (anyone(Permissions::ALL), entry("ip", "10.0.0.0/8"));
    let path = create(scene, &client, "a", [all.clone(), all.clone()]).await;
    assert_eq!(client.acl(&path).await.unwrap().0, std::slice::from_ref(&all));
    let list = [address.clone(), all.clone(), address.clone(), all.clone()];
    client.set_acl(&path, list, Version::ANY).await.unwrap();
    assert_eq!(client.acl(&path).await.unwrap().0, [address, all]);
    // Two entries that come to mean the same were two.
    client.authenticate("digest", "one:secret").await.unwrap();
    client.set_acl(&path, [entry("auth", ""), entry("auth", "without a meaning")], Version::ANY).await.unwrap();
    let one = Acl::digest(Permissions::ALL, "one", "secret");
    assert_eq!(client.acl(&path).await.unwrap().0, [one.clone(), one]);
}

pub(crate) async fn permissions_that_mean_nothing_are_kept<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let list = [anyone(Permissions::from_bits(0)), anyone(Permissions::from_bits(31 | 64))];
    let path = create(scene, &client, "a", list.clone()).await;
    assert_eq!(client.acl(&path).await.unwrap().0, list);
}

pub(crate) async fn who_may_not_is_told_nothing_else<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = create(scene, &client, "a", [anyone(Permissions::ALL)]).await;
    scene.node(&client, "a/child").await;
    client.set_acl(&path, [anyone(Permissions::ADMIN)], Version::ANY).await.unwrap();
    let set = scene.judged_anew(Refusal::BadVersion, async || client.set(&path, "", Version(9)).await).await;
    expect_refused(set, Refusal::NoAuth);
    expect_refused(client.create(&scene.path("a/child"), "", PERSISTENT).await, Refusal::NoAuth);
    expect_refused(client.delete(&scene.path("a/missing"), Version::ANY).await, Refusal::NoAuth);
    let check = vec![MultiOp::check(&path, Version(9))];
    expect_multi_refused(client.multi(check).await, 0, Refusal::NoAuth);
    client.set_acl(&path, Acl::open(), Version::ANY).await.unwrap();
    let mine = [anyone(Permissions::READ)];
    let mine = client.create_with_acl(&scene.path("mine"), "", CreateMode::Ephemeral, mine).await.unwrap().path;
    expect_refused(client.create(&mine.child("a").unwrap(), "", PERSISTENT).await, Refusal::NoAuth);
}

pub(crate) async fn the_halves_of_a_digest<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    // As `String.split(":")` counts them: what is empty at the end is none.
    for (i, (id, is_valid)) in [("ann:hash", true), (":hash", true), ("ann:", false), (":", false), ("ann:hash:", true)]
        .into_iter()
        .enumerate()
    {
        let path = scene.path(&format!("n{i}"));
        let list = [entry("digest", id), anyone(Permissions::ALL)];
        match client.create_with_acl(&path, "", PERSISTENT, list.clone()).await {
            Ok(_) => {
                assert!(is_valid, "{id}");
                assert_eq!(client.acl(&path).await.unwrap().0, list);
            }
            Err(error) => assert_eq!((error.refusal(), is_valid), (Some(Refusal::InvalidAcl), false), "{id}"),
        }
    }
}

pub(crate) async fn a_user_without_a_password_is_a_user<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    client.authenticate("digest", "ann").await.unwrap();
    let Identity { scheme, id } = Identity::digest(b"ann");
    let path = create(scene, &client, "a", [Acl::creator(Permissions::ALL)]).await;
    assert_eq!(client.acl(&path).await.unwrap().0, [Acl { permissions: Permissions::ALL, scheme, id }]);
}

pub(crate) async fn the_creator_stands_beside_others<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    client.authenticate("digest", "ann:secret").await.unwrap();
    let creator = Acl { id: "what stands here is not looked at".into(), ..Acl::creator(Permissions::ALL) };
    let path = create(scene, &client, "a", [anyone(Permissions::READ), creator]).await;
    let expected = [anyone(Permissions::READ), Acl::digest(Permissions::ALL, "ann", "secret")];
    assert_eq!(client.acl(&path).await.unwrap().0, expected);
}

/// Left out is where servers differ: ZooKeeper 3.8 knows no IPv6 (newer ones do), and reads `010` and `+1` as numbers.
pub(crate) async fn what_is_an_address<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let wrong = [
        "1.2.3",
        "1.2.3.4.",
        " 1.2.3.4",
        "1.2.3.256",
        "10.0.0.1/",
        "10.0.0.1/-1",
        "10.0.0.1/33",
        "10.0.0.1/8/8",
        "a/8",
    ];
    for id in wrong {
        let create = client.create_with_acl(&scene.path("a"), "", PERSISTENT, [entry("ip", id)]).await;
        assert_eq!(create, Err(Error::Refused(Refusal::InvalidAcl)), "{id}");
    }
    for (i, id) in ["1.2.3.4", "255.255.255.255", "0.0.0.0/0", "10.0.0.1/32", "10.0.0.1/08"].into_iter().enumerate() {
        let list = [entry("ip", id), anyone(Permissions::ALL)];
        let path = create(scene, &client, &format!("n{i}"), list.clone()).await;
        assert_eq!(client.acl(&path).await.unwrap().0, list, "as it was given");
    }
}

pub(crate) async fn who_may_not_read_is_not_told<B: Backend>(scene: &Scene<'_, B>) {
    let (owner, stranger) = (scene.connect().await, scene.connect().await);
    owner.authenticate("digest", "owner:secret").await.unwrap();
    let open = create(scene, &owner, "open", [anyone(Permissions::ALL)]).await;
    let (_, on_data) = stranger.get_and_watch(&open).await.unwrap();
    let (_, on_children) = stranger.children_and_watch(&open).await.unwrap();
    let (_, on_new) = stranger.exists_and_watch(&open.child("new").unwrap()).await.unwrap();
    let (_, told) = owner.get_and_watch(&open).await.unwrap();
    owner.set_acl(&open, vec![Acl::creator(Permissions::ALL)], Version::ANY).await.unwrap();
    owner.set(&open, "secret", Version::ANY).await.unwrap();
    told.await.unwrap();
    owner
        .create_with_acl(&open.child("new").unwrap(), "", PERSISTENT, vec![Acl::creator(Permissions::ALL)])
        .await
        .unwrap();
    for mut watch in [on_data, on_children, on_new] {
        expect_quiet(&stranger, &mut watch).await;
    }
    // So that whoever comes next can tidy up.
    owner.set_acl(&open, Acl::open(), Version::ANY).await.unwrap();
}

pub(crate) async fn an_address_needs_no_proof<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let before = client.who_am_i().await.unwrap();
    client.authenticate("ip", "").await.unwrap();
    assert_eq!(client.who_am_i().await.unwrap(), before, "it came with the connection");
}
