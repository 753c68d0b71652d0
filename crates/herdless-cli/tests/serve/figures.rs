//! What Prometheus and a load balancer read.

use std::collections::{BTreeMap, BTreeSet};

use herdless_core::{ClientExt, CreateMode, NodePath, Version};

use crate::process::{Process, ask};

/// The samples of a page, each of a metric that was described.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut help, mut kinds) = (BTreeSet::new(), BTreeMap::new());
    let mut samples = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, text) = described.split_once(' ').unwrap();
            assert!(text.ends_with('.') && help.insert(name), "{line}");
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(help.contains(name) && kinds.insert(name, kind).is_none(), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let is_of = |(metric, kind): (&&str, &&str)| match *kind {
                "histogram" => ["_bucket", "_sum", "_count"].iter().any(|part| name.strip_suffix(part) == Some(metric)),
                _ => name == *metric,
            };
            assert!(kinds.iter().any(|(metric, kind)| is_of((metric, kind))), "{line}");
            assert!(name.starts_with("herdless_server_"), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
    }
    samples
}

async fn server(arguments: &[&str]) -> (Process, std::net::SocketAddr, std::net::SocketAddr) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"], arguments].concat();
    let mut process = Process::start(crate::process::program(&arguments));
    let monitor = process.told("metrics and health").await;
    let address = process.told("ready").await;
    (process, address, monitor)
}

#[tokio::test]
async fn the_figures_are_those_of_what_was_done() {
    let (_process, address, monitor) = server(&["--in-memory", "--max-connections", "1"]).await;
    let (status, page) = ask(monitor, "GET", "/metrics").await;
    assert_eq!(status, 200);
    let before = samples(&page);
    assert!(before.len() > 40, "{page}");

    let client = herdless_tokio::connect(&address.to_string()).await.unwrap();
    let path = NodePath::parse("/orders").unwrap();
    client.create(&path, "twelve bytes", CreateMode::Ephemeral).await.unwrap();
    client.create(&path, "", CreateMode::Persistent).await.unwrap_err();
    let (_, changed) = client.get_and_watch(&path).await.unwrap();
    let (_, _still) = client.get_and_watch(&NodePath::root()).await.unwrap();
    client.set(&path, "13 bytes long", Version::ANY).await.unwrap();
    changed.await.unwrap();
    // There is room for one.
    let mut second = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(tokio::io::AsyncReadExt::read(&mut second, &mut [0]).await.unwrap(), 0);

    let after = samples(&ask(monitor, "GET", "/metrics").await.1);
    let changed_by = |sample: &str| {
        let value = |samples: &BTreeMap<String, f64>| *samples.get(sample).unwrap_or_else(|| panic!("no {sample}"));
        value(&after) - value(&before)
    };
    for (sample, change) in [
        ("connections", 1.0),
        ("connections_accepted_total", 1.0),
        ("connections_turned_away_total{reason=\"connections\"}", 1.0),
        ("sessions", 1.0),
        ("sessions_total{event=\"opened\"}", 1.0),
        ("requests_total{kind=\"create\"}", 2.0),
        ("requests_total{kind=\"get_data\"}", 2.0),
        ("requests_total{kind=\"set_data\"}", 1.0),
        ("refusals_total{error=\"NodeExists\"}", 1.0),
        ("request_seconds_count", 5.0),
        ("request_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("watch_events_total{event=\"data_changed\"}", 1.0),
        ("nodes", 1.0),
        ("ephemeral_nodes", 1.0),
        ("watches", 1.0),
        ("data_bytes", ("/orders".len() + "13 bytes long".len()) as f64),
    ] {
        assert_eq!(changed_by(&format!("herdless_server_{sample}")), change, "{sample}");
    }
    // And pings, on a slow machine.
    assert!(changed_by("herdless_server_packets_total{direction=\"received\"}") >= 6.0);
    assert!(changed_by("herdless_server_packets_total{direction=\"sent\"}") >= 7.0);
    assert!(changed_by("herdless_server_uptime_seconds") > 0.0);
}

#[tokio::test]
async fn whoever_asks_is_told_whether_it_is_well() {
    let (mut process, _, monitor) = server(&["--in-memory"]).await;
    assert_eq!(ask(monitor, "GET", "/health").await, (200, "serving\n".into()));
    assert_eq!(ask(monitor, "HEAD", "/health").await, (200, String::new()));
    assert_eq!(ask(monitor, "GET", "/").await.0, 404);
    assert_eq!(ask(monitor, "GET", "/health/more").await.0, 404);
    assert_eq!(ask(monitor, "POST", "/health").await.0, 405);
    // Who says nothing, or no HTTP, is in nobody's way.
    let _silent = tokio::net::TcpStream::connect(monitor).await.unwrap();
    let mut noise = tokio::net::TcpStream::connect(monitor).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut noise, &[0xff; 100_000]).await.ok();
    assert_eq!(ask(monitor, "GET", "/health").await.0, 200);
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}
