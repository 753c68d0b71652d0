//! What is not to be seen, and what it would look like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use base64::engine::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The secrets that scenes plant: **a new one is added here**, and a scene uses it by its name ([`secret`]). Long enough to be
/// nowhere by chance, with characters that each encoding writes in another way.
const PLANTED: [(&str, &str); 11] = [
    ("digest credentials", "canary:pw?>~d1g3st>>/ÿ"),
    ("digest credentials that are not accepted", "canary:pw?>~r3fus3d>>/ÿ"),
    ("password of a digest ACL", "pw?>~4cl>>/+ÿÿ"),
    ("password of a scripted session", "pw?>s3ss10n~\u{1}\"\\>"),
    ("password of a stolen session", "pw?>st0l3n~\u{1}\"\\>>"),
    ("password of a session that is taken over", "pw?>t4k30v3~\u{1}\"\\>"),
    ("passphrase of a TLS key", "pw?>~p4ssphr4s3>>/ÿ"),
    ("passphrase of no key", "pw?>~n0k3y>>/ÿ"),
    ("SASL password", "pw?>~s4slp4ss>>/ÿ"),
    ("SASL password that is not accepted", "pw?>~s4slr3fus3d>>/ÿ"),
    ("data of a node", "data?>~n0d3>>/ÿ"),
];

static USED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// The planted secret of this name.
pub(crate) fn secret(name: &'static str) -> &'static str {
    let (_, secret) = PLANTED.iter().find(|(known, _)| *known == name).expect("a secret of the list");
    USED.lock().unwrap().insert(name);
    secret
}

/// All of them; of credentials also the password alone.
pub(crate) fn planted() -> Vec<(&'static str, Vec<u8>)> {
    let parts = PLANTED.iter().flat_map(|(name, secret)| {
        let password = secret.split_once(':').map(|(_, password)| password);
        [Some(*secret), password].into_iter().flatten().map(|part| (*name, part.as_bytes().to_vec()))
    });
    parts.collect()
}

/// What is searched for.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    /// The planted ones, each of which some scene has to have used.
    pub(crate) fn of_all_scenes() -> Self {
        let unused: Vec<_> =
            PLANTED.iter().map(|(name, _)| *name).filter(|name| !USED.lock().unwrap().contains(name)).collect();
        assert_eq!(unused, [""; 0], "planted nowhere");
        Self(planted())
    }

    pub(crate) fn extend(&mut self, name: &'static str, secrets: impl IntoIterator<Item = Vec<u8>>) {
        for secret in secrets {
            assert!(secret.len() >= 8 && secret.iter().any(|byte| *byte != secret[0]), "{name} is no secret");
            self.0.push((name, secret));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What there is of the secrets in a text: their names and forms.
    pub(crate) fn found_in(&self, text: &str) -> BTreeSet<String> {
        // By their beginnings, since there are hundreds of secrets and the log has megabytes.
        let mut needles = BTreeMap::<[u8; BEGINNING], Vec<(String, String)>>::new();
        for (name, secret) in &self.0 {
            for (form, needle) in forms(secret) {
                let beginning = *needle.as_bytes().first_chunk().expect("a secret is longer");
                needles.entry(beginning).or_default().push((format!("{name}, {form}"), needle));
            }
        }
        let mut found = BTreeSet::new();
        for text in [text, &folded(text)] {
            for (at, beginning) in text.as_bytes().windows(BEGINNING).enumerate() {
                for (name, needle) in needles.get(beginning).into_iter().flatten() {
                    if text.as_bytes()[at..].starts_with(needle.as_bytes()) {
                        found.insert(name.clone());
                    }
                }
            }
        }
        found
    }
}

/// No form of a secret is shorter.
const BEGINNING: usize = 8;

/// Without white space, which `{:#?}` puts between bytes.
fn folded(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn each(secret: &[u8], write: impl Fn(u8) -> String) -> String {
    secret.iter().map(|byte| write(*byte)).collect()
}

fn list(secret: &[u8], write: impl Fn(&u8) -> String) -> String {
    secret.iter().map(write).collect::<Vec<_>>().join(",")
}

/// The least that each form leaves in a text. White space is left out of some.
fn forms(secret: &[u8]) -> Vec<(String, String)> {
    let mut forms: Vec<(String, String)> = whole_forms(secret);
    // In base64 the bytes before decide how a secret falls into groups of three; what shares a group with others is left out.
    for (name, engine) in [("base64", &STANDARD_NO_PAD), ("base64 for URLs", &URL_SAFE_NO_PAD)] {
        for before in 0..3 {
            let encoded = engine.encode([&vec![0; before][..], secret].concat());
            let first = (before * 8).div_ceil(6);
            let last = (before + secret.len()) * 8 / 6;
            forms.push((format!("{name}, {before} bytes after a group"), encoded[first..last].to_owned()));
        }
    }
    forms
}

/// The forms whose text is the same wherever the secret stands.
fn whole_forms(secret: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(secret);
    let debug = format!("{text:?}");
    let bytes = format!("{:?}", herdless::Bytes::copy_from_slice(secret));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let percent = |is_upper: bool, all: bool| {
        each(secret, |byte| match (all || !is_plain(byte), is_upper) {
            (false, _) => char::from(byte).to_string(),
            (true, true) => format!("%{byte:02X}"),
            (true, false) => format!("%{byte:02x}"),
        })
    };
    let latin: String = secret.iter().map(|byte| char::from(*byte)).collect();
    [
        ("raw", text.clone().into_owned()),
        ("raw, byte for byte", latin),
        ("quoted", debug[1..debug.len() - 1].to_owned()),
        ("escaped", text.escape_default().to_string()),
        ("as bytes", bytes[2..bytes.len() - 1].to_owned()),
        ("as escaped bytes", secret.escape_ascii().to_string()),
        ("as a list", list(secret, |byte| byte.to_string())),
        ("as a list in hex", list(secret, |byte| format!("{byte:x}"))),
        ("as a list in upper hex", list(secret, |byte| format!("{byte:X}"))),
        ("as a list in upper hex of two digits", list(secret, |byte| format!("{byte:02X}"))),
        ("as a list in hex of two digits", list(secret, |byte| format!("{byte:02x}"))),
        ("as a list of 0x..", list(secret, |byte| format!("0x{byte:x}"))),
        ("as a list of 0x.. of two digits", list(secret, |byte| format!("0x{byte:02x}"))),
        ("hex", each(secret, |byte| format!("{byte:02x}"))),
        ("upper hex", each(secret, |byte| format!("{byte:02X}"))),
        ("a number", u128_of(secret)),
        ("percent-encoded", percent(true, false)),
        ("percent-encoded in lower case", percent(false, false)),
        ("percent-encoded throughout", percent(true, true)),
        ("percent-encoded throughout in lower case", percent(false, true)),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text))
    .collect()
}

/// The first sixteen bytes as one number, which is what a password of a session is.
fn u128_of(secret: &[u8]) -> String {
    let mut bytes = [0; 16];
    let length = secret.len().min(16);
    bytes[16 - length..].copy_from_slice(&secret[..length]);
    u128::from_be_bytes(bytes).to_string()
}

/// Texts that give a secret away, each as a program would come to print it.
pub(crate) fn ways_to_leak(secret: &[u8]) -> Vec<(String, String)> {
    let mut ways = whole_forms(secret);
    let owned = secret.to_vec();
    ways.push(("{:?} of bytes".into(), format!("{owned:?}")));
    ways.push(("{:#?} of bytes".into(), format!("{owned:#?}")));
    ways.push(("{:x?} of bytes".into(), format!("{owned:x?}")));
    ways.push(("{:02X?} of bytes".into(), format!("{owned:02X?}")));
    ways.push(("{:#x?} of bytes".into(), format!("{owned:#x?}")));
    for around in 0..4 {
        let text = [&b"abcd"[..around], secret, &b"wxyz"[..around]].concat();
        ways.push((format!("base64 with {around} bytes around"), STANDARD_NO_PAD.encode(&text)));
        ways.push((format!("base64 for URLs with {around} bytes around"), URL_SAFE_NO_PAD.encode(&text)));
        ways.push((format!("hex with {around} bytes around"), each(&text, |byte| format!("{byte:02x}"))));
    }
    ways
}
