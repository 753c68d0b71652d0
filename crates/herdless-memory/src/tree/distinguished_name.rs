//! Which texts Java takes for the name of a certificate's owner (`X500Principal(String)`): those that an access control list
//! may have in the scheme `x509`.

/// Whether this is a distinguished name, as RFC 1779 and 2253 write it and with Java's freedoms: the empty name, spaces around
/// words, values in quotes, `;` for `,`, words of other standards, attributes by number. The verdict is that of Java 17 on odd
/// quotes and backslashes too, but for bytes of indefinite length and digits of other scripts, which are refused here.
pub(super) fn is_distinguished_name(text: &str) -> bool {
    text.is_empty() || parts(text, b",;", is_escaped).into_iter().all(is_relative_name)
}

fn is_relative_name(text: &str) -> bool {
    // A plus sign at the very beginning separates nothing.
    parts(text, b"+", |text, at, _| at == 0 || text[at - 1] == b'\\').into_iter().all(is_assertion)
}

/// Takes a text apart at the separators that are neither escaped nor in quotes. `is_escaped` is told of the text, of the place
/// of a separator, and of the place behind the one before.
fn parts<'a>(text: &'a str, separators: &[u8], is_escaped: impl Fn(&[u8], usize, usize) -> bool) -> Vec<&'a str> {
    let bytes = text.as_bytes();
    let (mut parts, mut begin, mut behind_last, mut quotes) = (Vec::new(), 0, 0, 0);
    for at in (0..bytes.len()).filter(|at| separators.contains(&bytes[*at])) {
        quotes += count_quotes(&bytes[behind_last..at]);
        // Behind one quote, and not behind the next, is within.
        if quotes != 1 && !is_escaped(bytes, at, behind_last) {
            parts.push(&text[begin..at]);
            begin = at + 1;
            quotes = 0;
        }
        behind_last = at + 1;
    }
    parts.push(&text[begin..]);
    parts
}

fn count_quotes(text: &[u8]) -> usize {
    let is_counted = |at: &usize| text[*at] == b'"' && (*at == 0 || text[*at - 1] != b'\\');
    (0..text.len()).filter(is_counted).count()
}

/// Where two backslashes are before the separator, all since the separator before it are counted, in a row or not.
fn is_escaped(text: &[u8], at: usize, behind_last: usize) -> bool {
    match text[..at] {
        [.., b'\\', b'\\'] => text[behind_last..at].iter().filter(|byte| **byte == b'\\').count() % 2 == 1,
        [.., b'\\'] => true,
        _ => false,
    }
}

/// `word=value`.
fn is_assertion(text: &str) -> bool {
    let Some((kind, value)) = text.split_once('=') else {
        return false;
    };
    let value = value.trim_start_matches([' ', '\n']);
    is_kind(kind)
        && match value.as_bytes() {
            [] => true,
            [b'#', hex @ ..] => is_hex(hex),
            [b'"', quoted @ ..] => is_quoted(quoted),
            plain => is_plain(plain),
        }
}

/// The words that Java knows (`AVAKeyword`).
const WORDS: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

fn is_kind(word: &str) -> bool {
    let word = word.to_uppercase();
    // Blanks are what is not beyond the space (`String.trim`).
    let word = word.trim_matches(|char| char <= ' ');
    WORDS.contains(&word) || is_object_identifier(word.strip_prefix("OID.").unwrap_or(word))
}

fn is_object_identifier(text: &str) -> bool {
    let mut numbers = text.split('.').map(number);
    // It begins with a digit, or it would be taken for a word.
    if !text.starts_with(|char: char| char.is_ascii_digit()) {
        return false;
    }
    let (Some(Some(first)), Some(Some(second))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    first <= 2 && (first == 2 || second <= 39) && numbers.all(|number| number.is_some())
}

/// A number that is not negative, up to a limit beyond which they are all alike.
fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse().unwrap_or(u32::MAX);
    (!text.starts_with('-') || value == 0).then_some(value)
}

fn is_terminator(byte: u8) -> bool {
    matches!(byte, b'+' | b',' | b';')
}

/// Bytes in hexadecimal digits, which are one value in DER.
fn is_hex(text: &[u8]) -> bool {
    let digits = text.split(|byte| is_terminator(*byte)).next().unwrap_or_default();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<_>>>().is_some_and(|bytes| is_value(&bytes))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether this is one value with its tag and length (`DerValue`), whatever it says.
fn is_value(bytes: &[u8]) -> bool {
    match bytes {
        [tag, ..] if tag & 0x1f == 0x1f => false,
        [_, short @ ..=0x7f, content @ ..] => content.len() == usize::from(*short),
        [_, long @ 0x81..=0x84, rest @ ..] => {
            rest.split_at_checked(usize::from(long & 0x7f)).is_some_and(|(length, content)| {
                content.len() == length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            })
        }
        _ => false,
    }
}

/// What may stand behind a backslash, apart from two hexadecimal digits.
const ESCAPABLE: &[u8] = b",=\n+<>#;\\\" ";

/// How many bytes there are behind a backslash that belong to it; `None` where it escapes nothing.
fn escaped_length(text: &[u8]) -> Option<usize> {
    match text {
        [high, low, ..] if digit(*high).is_some() => digit(*low).map(|_| 2),
        [byte, ..] => ESCAPABLE.contains(byte).then_some(1),
        [] => None,
    }
}

/// What is behind a first quote: up to the last, and blanks behind that.
fn is_quoted(mut text: &[u8]) -> bool {
    loop {
        match text {
            [] => return false,
            [b'"', rest @ ..] => return rest.iter().all(|byte| matches!(byte, b' ' | b'\n')),
            [b'\\', rest @ ..] => match escaped_length(rest) {
                Some(length) => text = &rest[length..],
                None => return false,
            },
            [_, rest @ ..] => text = rest,
        }
    }
}

/// Up to a separator; what was not taken apart there is not looked at.
fn is_plain(mut text: &[u8]) -> bool {
    loop {
        match text {
            [b'\\', rest @ ..] => match escaped_length(rest) {
                Some(length) => text = &rest[length..],
                None => return false,
            },
            [b',' | b'+' | b'<' | b'>' | b';' | b'"', ..] => return false,
            [_, rest @ ..] => text = rest,
            [] => return true,
        }
        if text.first().is_none_or(|byte| is_terminator(*byte)) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `javax.security.auth.x500.X500Principal` of Java 17 says of them.
    #[test]
    fn the_verdict_is_that_of_java() {
        for name in [
            "",
            "CN=a",
            "cn = a , o=b",
            "CN=a;O=b",
            "CN=,O=b",
            "CN=\"a,b\",O=\"c\"",
            "CN=\"a\\\"\" ",
            "CN=a\\,b",
            "CN=a\\\\,O=b",
            "CN=a\\41",
            "CN=#0401FF",
            "CN=#04810101",
            "OID.1.2=a",
            "1.-0=a",
            "2.999.99999999999999999=a",
            "CN=a=b#c",
            "CN\t=\n a",
            "O=x,CN=a\\\\b\\\\,O=c",
        ] {
            assert!(is_distinguished_name(name), "{name}");
        }
        for text in [
            " ",
            "a",
            "=a",
            "X=a",
            "CN=a,",
            "CN=a+",
            "+CN=a",
            "CN=a++O=b",
            "CN=\"a",
            "CN=\"a\" x",
            "CN=a\"b",
            "CN=a<b",
            "CN=a\\",
            "CN=a\\q",
            "CN=a\\4",
            "CN=#0403",
            "CN=#040",
            "CN=#0401ff ",
            "CN=#1f0101",
            "1=a",
            "1.40=a",
            "3.1=a",
            "1..2=a",
            "1.-2=a",
            "CN=\"a\\\\\",O=b",
        ] {
            assert!(!is_distinguished_name(text), "{text}");
        }
    }
}
