//! Both machines over the tree, in virtual time, on a wire that tears and breaks.

use std::time::Duration;

use herdless_core::{Error, Request, SessionId};
use herdless_proto::client::LinkError;

use crate::harness::{Torn, World, config};
use crate::script::{Script, fits};

/// A script of requests, of the requests of another session, of faults and of time.
///
/// # Panics
///
/// Where a request is not answered once, with a reply that fits it, once the faults are over; where the client says
/// something that the server cannot read; where watches and streams are not told as they are to be.
pub fn pair(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut world = World::idle(config());
    world.torn = [Torn::Whole, Torn::Random, Torn::OneByte][script.below(3)];
    let mut asked = Vec::new();
    for _ in 0..MOST_STEPS {
        if script.is_over() || world.is_closed() {
            break;
        }
        step(&mut world, &mut script, &mut asked);
    }
    (world.silent, world.hold, world.reachable) = (false, false, true);
    world.cut_at.clear();
    world.script.refuse_set_watches = 0;
    world.flush();
    world.advance(Duration::from_secs(60));
    world.assert_all_answered();
    for (token, request) in &asked {
        if let Some(Ok(reply)) = world.outcome(*token) {
            assert!(fits(request, &reply), "{reply:?} to {request:?}");
        }
    }
    assert!(world.server_errors.is_empty(), "{:?}", world.server_errors);
    let not_rearmed = |error: &LinkError| matches!(error, LinkError::NotRearmed { .. });
    assert!(world.link_errors.iter().all(not_rearmed), "{:?}", world.link_errors);
    if !world.is_closed() {
        assert!(world.is_connected());
        let _ = world.try_submit(Request::CloseSession);
        world.settle();
    }
    assert!(world.is_closed());
}

const MOST_STEPS: usize = 60;

fn step(world: &mut World, script: &mut Script<'_>, asked: &mut Vec<(u32, Request)>) {
    match script.below(16) {
        0..=4 => {
            let session = SessionId(0x10001);
            let request = script.request(session);
            match world.try_submit(request.clone()) {
                Ok(token) => asked.push((token, request)),
                Err(error) => assert!(
                    matches!(error, Error::Overloaded | Error::Closed | Error::SessionExpired | Error::Refused(_)),
                    "{error}"
                ),
            }
        }
        5..=7 => {
            let request = script.request(crate::harness::OTHER);
            let _ = world.other(request);
        }
        8 => world.settle(),
        9 => world.advance(Duration::from_millis(u64::from(script.number()) / 4)),
        10 => {
            let last = world.cut_at.back().copied().unwrap_or_default();
            world.cut_at.push_back(world.carried.max(last) + u64::from(script.byte()));
        }
        11 if world.is_connected() => match script.flag() {
            true => world.cut(),
            false => world.cut_replies(),
        },
        12 => world.reachable = !world.reachable,
        13 => match script.below(3) {
            0 => world.silent = !world.silent,
            1 => world.hold = !world.hold,
            _ => world.script.refuse_set_watches += 1,
        },
        14 if script.byte() < 64 => world.expire(),
        15 if script.byte() == 7 => {
            if let Ok(token) = world.try_submit(Request::CloseSession) {
                asked.push((token, Request::CloseSession));
            }
        }
        _ => {}
    }
}
