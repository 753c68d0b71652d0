//! Who a client is by its certificate.

use std::fmt::Write;
use std::io;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Length, Reader, SliceReader, Tag, Tagged};
use herdless_core::Identity;
use tokio_rustls::rustls::ServerConnection;
use webpki::EndEntityCert;

/// Whom the certificate names that the client has shown, if it has; rustls has found it good. In the scheme `x509`
/// (`X509AuthenticationProvider`).
pub(crate) fn identity(connection: &ServerConnection) -> io::Result<Option<Identity>> {
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Ok(None);
    };
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| invalid(error.to_string()))?;
    let id = name(certificate.subject()).map_err(|error| invalid(format!("a subject that cannot be read: {error}")))?;
    Ok(Some(Identity { scheme: "x509".into(), id }))
}

/// A distinguished name as Java writes it (`X500Principal.getName`), which is RFC 2253 with some freedom used: the last part
/// first, what the RFC has no word for by its number and as bytes, and `=` escaped like the characters that must be.
///
/// `subject` is the content of the sequence of parts.
pub(crate) fn name(subject: &[u8]) -> Result<String, der::Error> {
    let mut parts = Vec::new();
    let mut reader = SliceReader::new(subject)?;
    while !reader.is_finished() {
        let part = AnyRef::decode(&mut reader)?;
        part.tag().assert_eq(Tag::Set)?;
        parts.push(relative_name(part.value())?);
    }
    parts.reverse();
    Ok(parts.join(","))
}

fn relative_name(set: &[u8]) -> Result<String, der::Error> {
    let mut assertions = Vec::new();
    let mut reader = SliceReader::new(set)?;
    while !reader.is_finished() {
        assertions.push(reader.sequence(|reader| {
            let kind = ObjectIdentifier::decode(reader)?;
            let value = reader.read_slice(reader.remaining_len())?;
            assertion(&kind, value)
        })?);
    }
    Ok(assertions.join("+"))
}

fn assertion(kind: &ObjectIdentifier, encoded: &[u8]) -> Result<String, der::Error> {
    // By hand, since the crate knows no strings of four bytes a character.
    let mut reader = SliceReader::new(encoded)?;
    let tag = reader.read_byte()?;
    let length = Length::decode(&mut reader)?;
    let value = reader.read_slice(length)?;
    reader.finish()?;
    Ok(match keyword(kind) {
        Some(keyword) if is_text(tag) => {
            format!("{keyword}={}", escaped(&String::from_utf8_lossy(value)))
        }
        keyword => {
            let mut out = keyword.map_or_else(|| kind.to_string(), str::to_owned);
            out.push_str("=#");
            for byte in encoded {
                let _ = write!(out, "{byte:02x}");
            }
            out
        }
    })
}

/// The words of RFC 2253 for the kinds of attributes, section 2.3.
fn keyword(kind: &ObjectIdentifier) -> Option<&'static str> {
    const WORDS: [(&str, &str); 9] = [
        ("2.5.4.3", "CN"),
        ("2.5.4.6", "C"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.9", "STREET"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("0.9.2342.19200300.100.1.25", "DC"),
        ("0.9.2342.19200300.100.1.1", "UID"),
    ];
    WORDS.iter().find(|(oid, _)| ObjectIdentifier::new_unwrap(oid) == *kind).map(|(_, word)| *word)
}

/// The types whose bytes are taken for UTF-8, whatever their own character set is.
fn is_text(tag: u8) -> bool {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const GENERAL: u8 = 0x1b;
    const BMP: u8 = 0x1e;
    matches!(tag, UTF8 | PRINTABLE | TELETEX | IA5 | GENERAL | BMP)
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for char in value.chars() {
        match char {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.extend(['\\', char]),
            '\0' => out.push_str("\\00"),
            other => out.push(other),
        }
    }
    let is_edge = |char| matches!(char, ' ' | '\r');
    let inner = out.trim_matches(is_edge);
    if inner.len() == out.len() {
        return out;
    }
    let lead = out.len() - out.trim_start_matches(is_edge).len();
    let mut edged = String::new();
    for (at, char) in out.char_indices() {
        if at < lead || at >= lead + inner.len() {
            edged.push('\\');
        }
        edged.push(char);
    }
    edged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// What `X500Principal.getName` of Java 17 makes of the same bytes.
    #[test]
    fn names_are_written_as_java_writes_them() {
        for (subject, expected) in [
            ("", ""),
            (
                "310b300906035504061302444531163014060355040a0c0d4772c3bcc39f652c20476d6248310e300c060355040b0c05613d622b63\
                 3114301206035504030c0b203c22785c79223b233e20",
                r#"CN=\ \<\"x\\y\"\;\#\>\ ,OU=a\=b\+c,O=Grüße\, GmbH,C=DE"#,
            ),
            (
                "31133011060a0992268993f22c64011916036f726731173015060a0992268993f22c64011916076578616d706c65311d3010060a09\
                 92268993f22c6401010c026d65300906035504030c027573",
                "UID=me+CN=us,DC=example,DC=org",
            ),
            (
                "3112301006092a864886f70d0109011603614062310a30080603550405130137",
                "2.5.4.5=#130137,1.2.840.113549.1.9.1=#1603614062",
            ),
            ("3110300e06035504030c076e756c00696e0d", "CN=nul\\00in\\\r"),
            ("310d300b06035504031e0400410042310d300b06035504031c0400000041", r"CN=#1c0400000041,CN=\00A\00B"),
            ("310d300b06035504031404636166e9310b300906035504030c022020", "CN=\\ \\ ,CN=caf\u{fffd}"),
        ] {
            assert_eq!(name(&bytes(subject)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        let subject = bytes("3110300e06035504030c076e756c00696e0d");
        for length in 1..subject.len() {
            name(&subject[..length]).unwrap_err();
        }
        for at in 0..subject.len() {
            for flip in 0..8 {
                let mut subject = subject.clone();
                subject[at] ^= 1 << flip;
                // Another name, or none, and no panic.
                let _ = name(&subject);
            }
        }
    }
}
