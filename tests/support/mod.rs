//! What the scenarios share: servers to run on, faults to inject, and waiting without luck.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(unused_imports, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

mod certificates;
mod dice;
mod disk;
mod ensemble;
mod meter;
mod peer;
mod place;
pub(crate) mod process;
mod proxy;
pub(crate) mod raw;
mod wait;
mod world;
mod zookeeper;

pub(crate) use certificates::{Authority, Issued, openssl};
pub(crate) use dice::Dice;
pub(crate) use disk::FakeDisk;
pub(crate) use ensemble::Ensemble;
pub(crate) use meter::Meter;
pub(crate) use peer::{Peer, source};
pub(crate) use place::Place;
pub(crate) use process::{Itself, Java, Scratch, mortal};
pub(crate) use proxy::Proxy;
pub(crate) use raw::{Raw, buffer};
pub(crate) use wait::{GENEROUS, is_pending, let_pass, refused, until, until_suspended, until_watching};
pub(crate) use world::{NO_ZOOKEEPER, World, announce, connector, run, skipped};
pub(crate) use zookeeper::{ZooKeeper, ZooKeeperProcess, four_letter_word, free_port};

/// Makes a test of each scenario, an `async fn(&World)` of the surrounding module, for each server it can run on:
/// `embedded::NAME` and `zookeeper::NAME`. A scenario that is forgotten here is dead code, which the compiler reports.
#[allow(unused_macros, reason = "each test program uses its own part of this")]
macro_rules! scenarios {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = crate::support::World::embedded(stringify!($name)).await;
                crate::support::run(&world, super::$name).await;
            })*
        }

        mod zookeeper {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = crate::support::World::zookeeper(stringify!($name)) {
                    crate::support::run(&world, super::$name).await;
                }
            })*
        }
    };
}

pub(crate) use scenarios;
