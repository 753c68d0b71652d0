//! What it is told, and what it says to that.

use tokio::net::TcpListener;

use crate::process::{Process, complaint, program, run};

/// The block of code in the page that begins with this line.
fn shown(page: &str, first: &str) -> String {
    let mut lines = page.lines().skip_while(|line| *line != first);
    assert_eq!(lines.next(), Some(first));
    lines.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn the_page_has_the_options() {
    let page = include_str!("../../README.md");
    for command in ["", "serve ", "import ", "backup ", "restore "].map(|name| format!("herdless {name}--help")) {
        let arguments: Vec<_> = command.split(' ').skip(1).collect();
        let output = run(&arguments).await;
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(shown(page, &format!("$ {command}")), String::from_utf8(output.stdout).unwrap());
    }
}

#[tokio::test]
async fn a_mistake_in_the_arguments_is_a_code_of_its_own() {
    let mistakes: [(&[&str], &str); 8] = [
        (&[], "Usage: herdless"),
        (&["serve"], "--in-memory"),
        (&["serve", "--in-memory", "--tls-cert", "file"], "--tls-key <FILE>"),
        (&["serve", "--in-memory", "--client-ca", "file"], "--tls-cert <FILE>"),
        (&["serve", "--in-memory", "--loud"], "unexpected argument '--loud'"),
        (&["serve", "--in-memory", "--four-letter-words", "srvr,help"], "\"help\" is none of conf, cons"),
        (&["serve", "--in-memory", "--session-timeout-max", "0"], "0 is not in 1..=2147483647"),
        (
            &["serve", "--in-memory", "--session-timeout-min", "60000"],
            "--session-timeout-min 60000 is more than --session-timeout-max 40000",
        ),
    ];
    for (arguments, said) in mistakes {
        let output = run(arguments).await;
        assert!(complaint(&output).contains(said), "{arguments:?}: {}", complaint(&output));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_to_be() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for arguments in [
        &["serve", "--in-memory", "--listen", &taken][..],
        &["serve", "--in-memory", "--listen", "127.0.0.1:0", "--metrics", &taken],
    ] {
        let output = run(arguments).await;
        let said = complaint(&output);
        assert!(said.contains("cannot listen on") && said.contains(&taken) && said.contains("in use"), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test]
async fn other_machines_are_let_in_only_where_that_is_said() {
    for (listen, metrics) in [("0.0.0.0:0", "127.0.0.1:0"), ("127.0.0.1:0", "0.0.0.0:0")] {
        let output = run(&["serve", "--in-memory", "--listen", listen, "--metrics", metrics]).await;
        let said = complaint(&output);
        assert!(said.contains("herdless: 0.0.0.0:0") && said.contains("--insecure-allow-remote"), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
    let (mut process, _) = Process::serve(&["--in-memory", "--insecure-allow-remote", "--metrics", "0.0.0.0:0"]).await;
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn what_it_does_is_said_at_the_start() {
    let limits = "--max-connections 7 --max-per-address 5 --max-sessions 9 --session-timeout-min 100";
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--in-memory", "--four-letter-words", "all"];
    arguments.extend(limits.split(' '));
    let mut process = Process::start(program(&arguments));
    let limits = process.line("limits").await;
    for part in ["7 connections, 5 from one address,", "; 9 sessions;", "session timeouts of 100ms to 40s"] {
        assert!(limits.contains(part), "{limits}");
    }
    let insecure = process.line("four-letter").await;
    assert!(insecure.contains("cons") && insecure.contains("dump"), "{insecure}");
    process.line("ready").await;
}
