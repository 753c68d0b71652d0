//! Bytes that nobody meant: neither machine panics, and what it holds is bounded by what it was sent.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use herdless_core::{Request, SessionId};
use herdless_proto::client::{Event, Machine as Client};
use herdless_proto::codec::ConnectResponse;
use herdless_proto::server::{Incoming, Machine as Server};

use crate::frames::{self, Recorded};
use crate::harness::{Mark, TIMEOUT, World, Xorshift, accepted, config};
use crate::requests::*;

const ROUNDS: usize = 20_000;

/// A recorded frame with a few bytes changed, cut short or grown; or a random one. The length is right in most cases.
fn mutated(rng: &mut Xorshift, corpus: &[Recorded]) -> Vec<u8> {
    let mut payload = match rng.below(8) {
        0 => (0..rng.below(80)).map(|_| rng.below(256) as u8).collect(),
        _ => corpus[rng.below(corpus.len())].payload.clone(),
    };
    for _ in 0..rng.below(4) {
        if payload.is_empty() {
            break;
        }
        let at = rng.below(payload.len());
        match rng.below(5) {
            0 => payload[at] = rng.below(256) as u8,
            1 => payload[at] ^= 1 << rng.below(8),
            2 => payload.truncate(at),
            3 => payload.insert(at, 0xff),
            _ if at + 4 <= payload.len() => {
                // Lengths and counts are where readers go wrong.
                let number = [i32::MAX, i32::MIN, -1, -2, 0, 0x00ff_ffff][rng.below(6)];
                payload[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            _ => {}
        }
    }
    let length = match rng.below(50) {
        0 => rng.below(1 << 32) as u32 as i32,
        _ => payload.len() as i32,
    };
    let mut wire = length.to_be_bytes().to_vec();
    wire.extend_from_slice(&payload);
    wire
}

fn requests() -> [Request; 10] {
    [
        node("/a"),
        place("/q/n-", "d"),
        watch_data("/a"),
        watch_exists("/a"),
        watch_children("/a"),
        set("/a", "d"),
        set_and_delete("/a"),
        delete("/a"),
        find("/q/n-", "d"),
        Request::GetEphemerals(herdless_core::GetEphemerals { prefix: crate::harness::path("/") }),
    ]
}

#[test]
fn whatever_a_server_sends_the_client_does_not_panic_and_answers_every_token_once() {
    let corpus: Vec<_> = frames::all().into_iter().filter(|f| !f.from_client).collect();
    let mut rng = Xorshift::new(0xc11e47);
    let now = World::idle(config()).now;
    let mut config = config();
    config.max_in_flight = 64;
    let mut client = Client::<usize, Mark>::new(config);
    let mut answered: Vec<bool> = Vec::new();
    let (mut due, mut buffer) = (VecDeque::new(), BytesMut::new());
    let (mut errors, mut whole) = (0, 0);
    for _ in 0..ROUNDS {
        let mut needs_dial = false;
        while let Some(event) = client.poll_event() {
            match event {
                Event::Dial { .. } => needs_dial = true,
                Event::Reply { token, .. } => {
                    assert!(!std::mem::replace(&mut answered[token], true));
                }
                Event::Closed { .. } => panic!("nobody has closed it"),
                _ => {}
            }
        }
        if needs_dial {
            (due, buffer) = (VecDeque::new(), BytesMut::new());
            client.connected(now);
            if rng.below(4) > 0 {
                let response = accepted(SessionId(1), TIMEOUT, [1; 16]);
                buffer.extend_from_slice(&handshake(&response));
            }
        }
        for request in requests() {
            let token = answered.len();
            if rng.below(3) == 0 && client.submit(now, request, token).is_ok() {
                answered.push(false);
            }
        }
        due.extend(xids(client.transmit()));
        let mut wire = mutated(&mut rng, &corpus);
        if rng.below(3) > 0
            && wire.len() >= 8
            && let Some(xid) = due.pop_front()
        {
            // Else few would get past the check of the xid.
            wire[4..8].copy_from_slice(&xid.to_be_bytes());
            if rng.below(2) == 0 && wire.len() >= 20 {
                // A body fits its request by chance only, but a refusal needs none.
                let code = -(rng.below(128) as i32);
                wire[16..20].copy_from_slice(&code.to_be_bytes());
            }
        }
        buffer.extend_from_slice(&wire);
        if client.receive(now, &mut buffer).is_err() {
            errors += 1;
            buffer.clear();
            client.disconnected(now);
        } else if rng.below(40) == 0 {
            buffer.clear();
            client.disconnected(now);
        } else {
            whole += 1;
        }
    }
    println!("{errors} errors, {whole} frames taken, {} requests", answered.len());
    assert!(errors > ROUNDS / 20 && whole > ROUNDS / 20);
    client.disconnected(now);
    let _ = client.submit(now, Request::CloseSession, answered.len());
    answered.push(false);
    client.handle_timeout(now + TIMEOUT);
    while let Some(event) = client.poll_event() {
        if let Event::Reply { token, .. } = event {
            assert!(!std::mem::replace(&mut answered[token], true));
        }
    }
    assert!(answered.iter().all(|answered| *answered));
}

/// The requests in what a client sends, by their xids; handshakes, pings and SetWatches left out.
fn xids(out: &mut BytesMut) -> Vec<i32> {
    let mut xids = Vec::new();
    while !out.is_empty() {
        let length = out.get_i32() as usize;
        xids.push((&out[..]).get_i32());
        out.advance(length);
    }
    xids.retain(|xid| *xid > 0);
    xids
}

fn handshake(response: &ConnectResponse) -> Vec<u8> {
    let mut server = Server::new();
    server.accept(response);
    server.transmit().to_vec()
}

#[test]
fn whatever_a_client_sends_the_server_does_not_panic_and_asks_for_no_more_than_was_sent() {
    let corpus: Vec<_> = frames::all().into_iter().filter(|f| f.from_client).collect();
    let mut rng = Xorshift::new(0x5e47e4);
    let (mut requests, mut refusals, mut errors) = (0, 0, 0);
    let mut server = Server::new();
    for _ in 0..ROUNDS {
        let wire = mutated(&mut rng, &corpus);
        let sent = wire.len();
        let mut buffer = BytesMut::from(&wire[..]);
        match server.poll(&mut buffer, 5) {
            Ok(Some(Incoming::Connect(_))) => {
                server.accept(&accepted(SessionId(1), TIMEOUT, [1; 16]));
            }
            Ok(Some(Incoming::Request { ticket, request })) => {
                requests += 1;
                // Each byte that is no UTF-8 becomes a character of three.
                assert!(size(&request) <= 3 * sent, "{request:?} out of {sent} bytes");
                let refused = Err(herdless_core::Error::MultiRefused {
                    index: rng.below(4),
                    refusal: herdless_core::Refusal::NoNode,
                });
                server.reply(&ticket, 5, &refused);
            }
            Ok(Some(Incoming::SetWatches { ticket, watches })) => {
                let all = [&watches.data, &watches.exists, &watches.children];
                assert!(all.iter().map(|paths| paths.len() * 5).sum::<usize>() <= sent);
                server.rearmed(&ticket, 5);
            }
            Ok(Some(Incoming::Word(word))) => server.say(word.name()),
            Ok(Some(Incoming::Ping)) | Ok(None) => {}
            Ok(Some(Incoming::Unreadable { ticket, .. })) => {
                refusals += 1;
                server.reply(&ticket, 5, &Err(herdless_core::Refusal::Marshalling.into()));
            }
            Err(_) => {
                errors += 1;
                server = Server::new();
            }
        }
        // A reply is not much longer than what it answers, whatever that says of itself.
        assert!(server.transmit().len() <= 64 + 2 * sent);
        server.transmit().clear();
        if server.is_closing() || rng.below(20) == 0 {
            server = Server::new();
        }
        if rng.below(2) == 0 {
            server.accept(&accepted(SessionId(1), TIMEOUT, [1; 16]));
            server.transmit().clear();
        }
    }
    println!("{requests} requests, {refusals} refusals, {errors} errors");
    assert!(requests > ROUNDS / 20 && refusals > ROUNDS / 20 && errors > ROUNDS / 20);
}

/// The bytes that the parts of a request were read from, at least.
fn size(request: &Request) -> usize {
    let create = |create: &herdless_core::Create| {
        let acl = create.acl.iter();
        let acl = acl.map(|acl| 12 + acl.scheme.len() + acl.id.len());
        create.path.as_str().len() + create.data.len() + acl.sum::<usize>()
    };
    match request {
        Request::Create(one) => create(one),
        Request::SetData(set) => set.path.as_str().len() + set.data.len(),
        Request::Multi(multi) => {
            let operations = multi.operations.iter().map(|operation| {
                9 + match operation {
                    herdless_core::MultiOp::Create(one) => create(one),
                    herdless_core::MultiOp::SetData(set) => set.data.len(),
                    _ => 0,
                }
            });
            operations.sum()
        }
        _ => 0,
    }
}
