//! `herdless`: a ZooKeeper-compatible server for single machines, and what belongs to running one.

mod backup;
mod import;
mod log;
mod restore;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A coordination server for single machines that any ZooKeeper client can use.
#[derive(Parser)]
#[command(name = "herdless", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: log::Arguments,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Import(import::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
}

const EXIT_CODES: &str = "Exit codes: 0 ended as it was told to, 1 failed, 2 called in a wrong way.";

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // What is wrong with the arguments ends the process here, with 2.
    let arguments = Arguments::parse();
    arguments.log.start();
    let done = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("herdless: {error}");
            ExitCode::FAILURE
        }
    }
}
