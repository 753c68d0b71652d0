//! What is printed when a model panics.

use std::cell::Cell;
use std::sync::{Mutex, Once, PoisonError};

thread_local! {
    /// Whether this thread runs loom threads.
    static IN_LOOM: Cell<bool> = const { Cell::new(false) };
}

/// Lets one at a time exchange the panic hook: a process has one, and two would lose each other's.
pub(super) fn exchange_hook(exchange: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    exchange();
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
    HOOK.call_once(|| exchange_hook(install));
    IN_LOOM.set(true);
    let _leave = Leave;
    run()
}

fn install() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IN_LOOM.get() {
            usual(panic);
        } else if let Some(message) = panic.payload_as_str() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            match panic.location() {
                Some(location) => eprintln!("\nthread '{name}' panicked in a model at {location}:\n{message}"),
                None => eprintln!("\nthread '{name}' panicked in a model:\n{message}"),
            }
        }
    }));
}

#[cfg(all(test, feature = "loom"))]
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
