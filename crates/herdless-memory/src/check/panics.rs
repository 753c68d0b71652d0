//! What is printed when a loom model panics.

use std::any::Any;
use std::cell::Cell;
use std::sync::Once;

use super::exchange_panic_hook;

thread_local! {
    /// Whether this thread runs loom threads.
    static IN_LOOM: Cell<bool> = const { Cell::new(false) };
}

/// Runs loom, where a panic prints its message and its place alone.
///
/// With `RUST_BACKTRACE` set, the usual hook prints a backtrace from loom's stacks of 32 KiB, which are too small for it:
/// the failed model would end in a crash without its message. loom also unwinds each remaining thread by a panic that
/// has no message; a failed model would print hundreds of them.
pub(super) fn in_loom<R>(run: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_LOOM.set(false);
        }
    }
    HOOK.call_once(|| exchange_panic_hook(install));
    IN_LOOM.set(true);
    let _leave = Leave;
    run()
}

fn install() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IN_LOOM.get() {
            usual(panic);
        } else if let Some(message) = message(panic.payload()) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            match panic.location() {
                Some(location) => eprintln!("\nthread '{name}' panicked in a model at {location}:\n{message}"),
                None => eprintln!("\nthread '{name}' panicked in a model:\n{message}"),
            }
        }
    }));
}

fn message(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::check::{LoomServer, Model, loom};

    #[test]
    #[ignore = "fails: it is what the other test looks at"]
    fn a_failed_model() {
        Model::new("failed").check(|| {
            let server = LoomServer::with_locks();
            let thread = loom::thread::spawn(move || drop(server.connect()));
            panic!("it was found, and {:?} has not ended", thread.thread().id());
        });
    }

    #[test]
    fn a_failed_model_prints_its_message_alone() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "check::panics::tests::a_failed_model", "--ignored", "--nocapture"])
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(101), "{printed}");
        assert!(printed.contains("panics.rs") && printed.contains("it was found, and"), "{printed}");
        assert!(!printed.contains("backtrace") && !printed.contains("dyn Any"), "{printed}");
    }
}
