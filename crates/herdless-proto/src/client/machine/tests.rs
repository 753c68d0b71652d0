use herdless_core::{Exists, GetData};

use super::*;
use crate::MAX_FRAME;
use crate::codec::{ConnectResponse, Reader};
use crate::codec::{Malformed, read_request};
use crate::server::{Incoming, Machine as Server};

const TIMEOUT: Duration = Duration::from_secs(9);

/// A client with a session at a server, both ends in hand.
fn connected() -> (Machine<u32, ()>, Server, Instant) {
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only differences to it matter")]
    let now = Instant::now();
    let mut client = Machine::new(Config {
        hosts: 1,
        session_timeout: TIMEOUT,
        connect_timeout: TIMEOUT,
        max_backoff: TIMEOUT,
        max_in_flight: 100,
        request_timeout: None,
        max_reply: MAX_FRAME,
        read_only: false,
    });
    client.connected(now);
    let mut server = Server::new();
    assert!(matches!(server.poll(client.transmit(), 1), Ok(Some(Incoming::Connect(_)))));
    server.accept(&ConnectResponse { timeout_ms: 9_000, session_id: 7, password: [7; 16], read_only: None });
    client.receive(now, server.transmit()).unwrap();
    while client.poll_event().is_some() {}
    (client, server, now)
}

fn exists() -> Request {
    Request::Exists(Exists { path: NodePath::root(), watch: false })
}

#[test]
fn request_numbers_begin_again_at_1_and_never_reach_the_special_ones() {
    let (mut client, mut server, now) = connected();
    client.last_xid = i32::MAX - 2;
    for token in 0..4 {
        client.submit(now, exists(), token).unwrap();
    }
    let xids: Vec<_> = client.in_flight.iter().map(|entry| entry.xid).collect();
    assert_eq!(xids, [i32::MAX - 1, i32::MAX, 1, 2]);
    let sent = client.transmit().clone();
    assert_eq!(sent[4..8], (i32::MAX - 1).to_be_bytes());
    while let Some(incoming) = server.poll(client.transmit(), 1).unwrap() {
        let Incoming::Request { ticket, .. } = incoming else {
            panic!("{incoming:?}");
        };
        server.reply(&ticket, 1, &Ok(Reply::Exists(None)));
    }
    client.receive(now, server.transmit()).unwrap();
    for expected in 0..4 {
        assert!(matches!(
            client.poll_event(),
            Some(Event::Reply { token, outcome: Ok(Reply::Exists(None)), .. }) if token == expected
        ));
    }
}

#[test]
fn a_request_that_is_not_sent_takes_no_number() {
    let (mut client, _, now) = connected();
    let large = Request::GetData(GetData {
        path: NodePath::parse(&format!("/{}", "x".repeat(MAX_FRAME))).unwrap(),
        watch: false,
    });
    assert!(client.submit(now, large, 0).is_err());
    assert!(client.transmit().is_empty() && client.in_flight.is_empty());
    client.submit(now, exists(), 1).unwrap();
    assert_eq!(client.in_flight[0].xid, 1);
}

#[test]
fn an_errand_stands_in_one_place_at_a_time() {
    let (mut client, _, now) = connected();
    let find = || Request::FindOwn(herdless_core::FindOwn { prefix: NodePath::root(), data: bytes::Bytes::new() });
    client.submit(now, find(), 0).unwrap();
    client.submit(now, exists(), 1).unwrap();
    assert_eq!(client.ordinary(), 1);
    client.disconnected(now);
    assert_eq!(client.resumption.len(), 1);
    assert_eq!(client.ordinary(), 0);
    client.submit(now, find(), 2).unwrap();
    client.submit(now, exists(), 3).unwrap();
    client.disconnected(now);
    assert_eq!((client.resumption.len(), client.waiting.len()), (1, 2));
    assert_eq!(client.ordinary(), 1);
}

#[test]
fn nothing_of_a_handshake_is_left_to_send_once_it_is_given_up() {
    let (mut client, _, now) = connected();
    client.disconnected(now);
    client.connected(now);
    assert!(!client.transmit().is_empty());
    // The lease ends before the handshake is answered: it asked for a session that is given up.
    client.handle_timeout(now + TIMEOUT);
    assert!(client.transmit().is_empty());
    assert!(client.lease().is_none());
}

#[test]
fn what_is_written_is_what_a_server_reads() {
    let (mut client, _, now) = connected();
    client.submit(now, exists(), 0).unwrap();
    let out = client.transmit().split();
    let mut reader = Reader::new(&out[4..]);
    assert_eq!((reader.int(), reader.int()), (Ok(1), Ok(3)));
    let read: Result<_, Malformed> = read_request(OpCode::Exists, &mut reader);
    assert_eq!(read.unwrap().0, exists());
}

#[test]
fn few_requests_behind_many_wait_for_company_and_pings_do_not() {
    let (mut client, _, now) = connected();
    let submit = |client: &mut Machine<u32, ()>, count: usize| {
        (0..count).for_each(|_| client.submit(now, exists(), 0).unwrap());
    };
    submit(&mut client, 15);
    assert!(!client.may_wait(), "nothing is on the wire yet");
    client.transmit().clear();
    submit(&mut client, 1);
    assert!(!client.may_wait(), "15 are not many");
    client.transmit().clear();
    submit(&mut client, 3);
    assert!(client.may_wait(), "16 on the wire, 3 behind them");
    submit(&mut client, 1);
    assert!(!client.may_wait(), "a quarter is company enough");
    client.transmit().clear();
    submit(&mut client, 1);
    assert!(client.may_wait());
    client.handle_timeout(now + TIMEOUT / 3);
    assert!(!client.may_wait(), "a ping takes the rest along");
}

#[test]
fn what_was_sent_is_never_said_not_to_have_happened() {
    let (mut client, _, now) = connected();
    client.submit(now, exists(), 0).unwrap();
    client.disconnected(now);
    client.connected(now);
    client.submit(now, exists(), 1).unwrap();
    let (mut other, _, _) = connected();
    other.submit(now, exists(), 0).unwrap();
    client.abort();
    other.abort();
    let outcome = |client: &mut Machine<u32, ()>, asked| loop {
        match client.poll_event().expect("every request is answered") {
            Event::Reply { token, outcome, .. } if token == asked => return outcome,
            _ => {}
        }
    };
    assert_eq!(outcome(&mut other, 0), Err(Error::ConnectionLost));
    assert_eq!(outcome(&mut client, 0), Err(Error::ConnectionLost));
    assert_eq!(outcome(&mut client, 1), Err(Error::Closed), "it was not sent");
}

#[test]
fn what_is_meant_for_another_session_is_not_sent() {
    let (mut client, _, now) = connected();
    let multi =
        |session| Request::Multi(herdless_core::Multi { operations: Vec::new(), session: Some(SessionId(session)) });
    assert_eq!(client.submit(now, multi(6), 0), Err((0, Error::SessionExpired)));
    assert!(client.transmit().is_empty() && client.in_flight.is_empty());
    client.submit(now, multi(7), 1).unwrap();
    let release = |session| {
        let path = NodePath::parse("/lock").unwrap();
        Request::Release(herdless_core::Release {
            path,
            czxid: herdless_core::Zxid(1),
            session: SessionId(session),
            hand_over: false,
            may_be_gone: false,
        })
    };
    // Also where no server answers: nobody has to wait for one to be told that.
    client.disconnected(now);
    assert_eq!(client.submit(now, multi(6), 2), Err((2, Error::SessionExpired)));
    assert_eq!(client.submit(now, release(6), 3), Err((3, Error::SessionExpired)));
    client.submit(now, release(7), 4).unwrap();
    client.handle_timeout(now + TIMEOUT);
    assert_eq!(client.submit(now, release(7), 5), Err((5, Error::SessionExpired)));
}
