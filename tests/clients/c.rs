//! The C client: `c_client.c`.

use std::path::Path;

use crate::support::{Scratch, mortal, skipped, source};
use crate::transcript::{compare, whole};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_c_client_is_answered_as_by_zookeeper() {
    if !Path::new("/usr/include/zookeeper/zookeeper.h").exists() {
        skipped("skipped: no C client; install Debian's `libzookeeper-mt-dev` and `gcc`");
        return;
    }
    let scratch = Scratch::new("c-program");
    let program = scratch.file("c_client");
    let mut gcc = mortal("gcc");
    gcc.args(["-DTHREADED", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    let compiled = gcc.arg(source("c_client.c")).args(["-lzookeeper_mt", "-lpthread"]).output().await.unwrap();
    assert!(compiled.status.success(), "gcc: {}", String::from_utf8_lossy(&compiled.stderr));
    let program = |address: &str| {
        let mut program = mortal(program.to_str().unwrap());
        program.arg(address);
        program
    };
    compare("c-client", "", program, whole).await;
}
