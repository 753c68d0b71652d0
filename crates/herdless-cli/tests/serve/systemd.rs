//! What the service manager hears, and the unit that is for it.

use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::{Process, Scratch, complaint, program, run};

async fn heard(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let length = timeout(Duration::from_secs(30), manager.recv(&mut bytes)).await.expect("it says more").unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let scratch = Scratch::new("notify");
    let socket = scratch.file("socket");
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

const UNIT: &str = include_str!("../../../../docs/herdless.service");

#[tokio::test]
async fn the_unit_has_options_that_there_are() {
    let started = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/herdless ")).unwrap();
    // Whatever is before the last is looked at first.
    let arguments: Vec<_> = started.split(' ').chain(["--help"]).collect();
    let output = run(&arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
}

#[tokio::test]
async fn the_unit_is_one() {
    let scratch = Scratch::new("unit");
    let unit = UNIT.replace("/usr/bin/herdless", env!("CARGO_BIN_EXE_herdless"));
    let file = scratch.file("herdless.service");
    std::fs::write(&file, unit).unwrap();
    let Ok(checked) = Command::new("systemd-analyze").arg("verify").arg(&file).output().await else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && !said.contains("herdless.service"), "{said}");
}
