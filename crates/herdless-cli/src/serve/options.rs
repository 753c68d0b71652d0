//! What `herdless serve` is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};
use herdless_server::{BindError, Builder, Durability, FourLetterWord, Limits, Server, ServerTls, ServerTlsOptions};

use crate::AnyError;

/// Run the server until SIGTERM or SIGINT
#[derive(Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    pub(super) listen: String,
    #[command(flatten)]
    place: Place,
    /// Acknowledge before it is on disk: a crash loses what was acknowledged within so many milliseconds
    #[arg(long, value_name = "MS", requires = "data", value_parser = clap::value_parser!(u32).range(1..=MAX_RELAXED))]
    relaxed: Option<u32>,
    /// Write a backup to a new file in this directory at each SIGUSR1
    #[arg(long, value_name = "DIR", requires = "data")]
    pub(super) backups: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tls: Tls,
    /// Serve /metrics (Prometheus) and /health over HTTP
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) metrics: Option<String>,
    /// Listen on addresses that other machines can reach, without encryption and authentication
    #[arg(long)]
    pub(super) insecure_allow_remote: bool,
    /// The shortest session timeout, in milliseconds; what a client asks for is raised to it
    #[arg(long, value_name = "MS", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=MAX_TIMEOUT))]
    session_timeout_min: u32,
    /// The longest session timeout, in milliseconds; what a client asks for is lowered to it
    #[arg(long, value_name = "MS", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(1..=MAX_TIMEOUT))]
    session_timeout_max: u32,
    /// How many connections there may be
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    max_connections: usize,
    /// How many connections there may be from one address of another machine; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 60)]
    max_per_address: usize,
    /// How many sessions there may be, with a connection or without
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_sessions: usize,
    /// Which four-letter words to answer, separated by commas; all for each of them
    #[arg(long, value_name = "WORDS", default_value = "srvr", value_parser = words)]
    four_letter_words: Words,
    /// Allow nodes with a time to live
    #[arg(long)]
    allow_ttl: bool,
}

/// Who the server is, and who may use it.
#[derive(Args)]
#[group(skip)]
pub(super) struct Tls {
    /// Speak TLS, with this certificate first and then those that lead to a root: PEM. At each SIGHUP all files are read again
    #[arg(long = "tls-cert", value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, unencrypted: PEM
    #[arg(long = "tls-key", value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Let only clients in that show a certificate by one of these: PEM. They are known by its subject (x509)
    #[arg(long = "client-ca", value_name = "FILE", requires = "certificate")]
    roots: Option<PathBuf>,
}

/// Where everything is kept.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Keep everything in this directory, which is made if it is not there: what was acknowledged is on disk
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep everything in memory: it is gone when the server ends
    #[arg(long)]
    in_memory: bool,
}

/// What the handshake has room for.
const MAX_TIMEOUT: i64 = i32::MAX as i64;

/// More would be next to no durability at all.
const MAX_RELAXED: i64 = 60_000;

#[derive(Clone, Debug)]
struct Words(Vec<FourLetterWord>);

fn words(text: &str) -> Result<Words, String> {
    if text == "all" {
        return Ok(Words(FourLetterWord::ALL.to_vec()));
    }
    let word = |name: &str| {
        let found = FourLetterWord::ALL.iter().copied().find(|word| word.name() == name.trim());
        found.ok_or_else(|| {
            let known: Vec<_> = FourLetterWord::ALL.iter().map(|word| word.name()).collect();
            format!("{name:?} is none of {}", known.join(", "))
        })
    };
    text.split(',').map(word).collect::<Result<_, _>>().map(Words)
}

impl Arguments {
    /// What cannot be said option by option. Ends the process, as every other mistake in the arguments.
    pub(crate) fn check(&self) {
        if self.session_timeout_min > self.session_timeout_max {
            let text = format!(
                "--session-timeout-min {} is more than --session-timeout-max {}",
                self.session_timeout_min, self.session_timeout_max
            );
            let mut program = crate::Arguments::command();
            program.build();
            let serve = program.find_subcommand_mut("serve").expect("the subcommand whose arguments these are");
            serve.error(ErrorKind::ValueValidation, text).exit();
        }
    }

    pub(super) fn builder(&self, tls: Option<ServerTls>) -> Builder {
        let [min, max] = self.session_timeouts();
        let limits = Limits {
            connections: self.max_connections,
            connections_per_address: self.max_per_address,
            sessions: self.max_sessions,
            ..Limits::default()
        };
        let mut builder = Server::builder()
            .session_timeouts(min..=max)
            .limits(limits)
            .four_letter_words(&self.four_letter_words.0)
            .allow_ttl(self.allow_ttl);
        if let Some(directory) = &self.place.data {
            builder = builder.data_dir(directory);
        }
        if let Some(every) = self.relaxed {
            builder = builder.durability(Durability::Relaxed { every: Duration::from_millis(every.into()) });
        }
        if let Some(tls) = tls {
            builder = builder.tls(tls);
        }
        if self.insecure_allow_remote {
            builder = builder.insecure_allow_remote();
        }
        builder
    }

    fn session_timeouts(&self) -> [Duration; 2] {
        [self.session_timeout_min, self.session_timeout_max].map(|millis| Duration::from_millis(millis.into()))
    }

    pub(super) fn mode(&self) -> String {
        match (&self.place.data, self.relaxed) {
            (None, _) => "in memory".into(),
            (Some(directory), None) => format!("in {}", directory.display()),
            (Some(directory), Some(millis)) => format!("in {}, a crash loses up to {millis} ms", directory.display()),
        }
    }

    /// The error in the words of this program's options.
    pub(super) fn explain(&self, error: BindError) -> AnyError {
        match error {
            BindError::NotLoopback(address) => format!(
                "{address} can be reached from other machines: say who may use it with --tls-cert, --tls-key and --client-ca, \
                 or --insecure-allow-remote if everybody there may read and change everything"
            )
            .into(),
            error => error.into(),
        }
    }
}

impl Tls {
    /// Whether there is to be TLS.
    pub(super) fn is_wanted(&self) -> bool {
        self.certificate.is_some()
    }

    /// TLS by the files; `None` where there are none.
    pub(super) fn load(&self) -> Result<Option<ServerTls>, AnyError> {
        match self.options()? {
            Some(options) => Ok(Some(ServerTls::new(&options)?)),
            None => Ok(None),
        }
    }

    /// Takes what the files say now for the connections to come.
    pub(super) fn reload(&self, tls: &ServerTls) -> Result<(), AnyError> {
        match self.options()? {
            Some(options) => Ok(tls.replace(&options)?),
            None => Ok(()),
        }
    }

    fn options(&self) -> Result<Option<ServerTlsOptions>, AnyError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let file =
            |path: &Path| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let mut options = ServerTlsOptions::new(file(certificate)?, file(key)?);
        if let Some(roots) = &self.roots {
            options = options.client_roots_pem(file(roots)?);
        }
        Ok(Some(options))
    }
}
