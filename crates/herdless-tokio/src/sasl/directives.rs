//! The words of DIGEST-MD5: a list of directives (RFC 2831, 7.1).

/// Reads `name=value, name="value", ..`; names are told in lower case, quoted values without their quotes. `None` for
/// what is no such list.
pub(super) fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let mut directives = Vec::new();
    let mut rest = text;
    loop {
        // Elements of a list may be empty.
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if rest.is_empty() {
            return Some(directives);
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || name.contains([',', '"', ' ']) {
            return None;
        }
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        directives.push((name, value));
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

/// What stands before the closing quote, and what comes after it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// The value in quotes.
pub(super) fn quote(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// The value of the directive that must stand at most once; the outer `None` says that it stands more often.
pub(super) fn single<'a>(directives: &'a [(String, String)], name: &str) -> Option<Option<&'a str>> {
    let mut values = directives.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let value = values.next();
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_their_quotes_spaces_and_holes() {
        let expected = [("realm", "a, \"b\" \\"), ("nonce", "x=="), ("algorithm", "md5-sess")];
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let text = r#",, realm = "a, \"b\" \\" ,nonce="x==" ,, Algorithm=md5-sess"#;
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse(""), Some(Vec::new()));
        assert_eq!(parse("a="), Some(vec![("a".to_owned(), String::new())]));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["a", "a,b=c", "=b", r#"a="b"#, r#"a="b\"#, r#"a="b"c"#, r#"a="b" c="d""#] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn quotes_go_there_and_back() {
        for value in ["", "plain", r#"a"b\c"#, "ä,="] {
            assert_eq!(unquote(&quote(value)[1..]), Some((value.to_owned(), "")));
        }
    }
}
