//! The program, as a process of its own.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

mod disk;
mod ending;
mod figures;
mod import;
mod process;
mod systemd;
mod tls;
mod usage;
mod wire;
