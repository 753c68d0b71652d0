//! What a server says when it starts.

use std::io;
use std::sync::{Arc, Mutex};

use herdless::server::{FourLetterWord, Limits, Server};
use tracing::subscriber;

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

/// What is logged meanwhile by this thread.
fn listen() -> (Said, subscriber::DefaultGuard) {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    (said, subscriber::set_default(subscriber))
}

#[tokio::test]
async fn it_says_where_it_listens_how_and_what_is_insecure() {
    let (said, _guard) = listen();
    let limits = Limits { connections: 77, watches: 12_345, ..Limits::default() };
    let server = Server::builder().limits(limits).bind("127.0.0.1:0").await.unwrap();
    let expected = [
        format!(" INFO listening on {}", server.address()),
        " INFO mode: in memory; the data ends with the process".into(),
        format!(" INFO limits: {limits}; session timeouts of 4s to 40s"),
        " INFO insecure: no encryption and no authentication: every program on this machine can connect, and may do what \
         `world:anyone` may"
            .into(),
    ];
    assert_eq!(said.lines(), expected);
    assert!(expected[2].contains("77 connections") && expected[2].contains("12345 watches"), "{}", expected[2]);
}

#[tokio::test]
async fn what_other_machines_can_reach_is_warned_of() {
    let (said, _guard) = listen();
    let limits = Limits { connections_per_address: 0, ..Limits::default() };
    let words = [FourLetterWord::Ruok, FourLetterWord::Dump];
    let server = Server::builder().insecure_allow_remote().limits(limits).four_letter_words(&words);
    let _server = server.bind("0.0.0.0:0").await.unwrap();
    let lines = said.lines();
    let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with(" WARN insecure: ")).collect();
    assert_eq!(warnings.len(), 3, "{lines:?}");
    for (warning, of) in warnings.iter().zip(["no encryption and no authentication", "dump", "all connections"]) {
        assert!(warning.contains(of), "{warning}");
    }
    assert!(!warnings[1].contains("ruok"), "it tells nothing");
}
