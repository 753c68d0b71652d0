//! What the service manager hears, and the unit that is for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::{Process, program};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn heard(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = timeout(Duration::from_secs(30), manager.recv(&mut bytes)).await.expect("it says more").unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let scratch = Scratch::new("notify");
    let socket = scratch.0.join("socket");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = program(&["serve", "--in-memory", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "100000");
    let mut process = Process::start(command);
    let address = process.told("ready").await;
    assert_eq!(heard(&manager).await, format!("READY=1\nSTATUS=serving on {address}, in memory\n"));
    for _ in 0..3 {
        assert_eq!(heard(&manager).await, "WATCHDOG=1\n");
    }
    process.signal("TERM").await;
    let mut said = heard(&manager).await;
    while said == "WATCHDOG=1\n" {
        said = heard(&manager).await;
    }
    assert!(said.starts_with("STOPPING=1\nSTATUS="), "{said}");
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn it_serves_although_the_service_manager_is_gone() {
    let mut command = program(&["serve", "--in-memory", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", "/nowhere/at/all");
    let mut process = Process::start(command);
    process.line("the service manager was not told").await;
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn the_unit_is_one() {
    let scratch = Scratch::new("unit");
    let unit =
        include_str!("../../../../docs/herdless.service").replace("/usr/bin/herdless", env!("CARGO_BIN_EXE_herdless"));
    let file = scratch.0.join("herdless.service");
    std::fs::write(&file, unit).unwrap();
    let Ok(checked) = Command::new("systemd-analyze").arg("verify").arg(&file).output().await else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && !said.contains("herdless.service"), "{said}");
}
