//! Who may do what.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use herdless_core::{Acl, Auth, Identity, Permissions, Refusal};

use super::distinguished_name::is_distinguished_name;

/// Whether this list allows this to somebody with these identities (`ZKDatabase.checkACL`).
pub(super) fn permits(acl: &[Acl], identities: &[Identity], permission: Permissions) -> bool {
    acl.iter().any(|acl| {
        acl.permissions.contains(permission)
            && (is_anyone(acl) || identities.iter().any(|identity| matches(acl, identity)))
    })
}

/// The list as a node keeps it (`PrepRequestProcessor.fixupACL`): the scheme `auth` stands for the identities that the caller
/// has proven. `InvalidAcl` where nobody could ever be meant; so is nobody by his certificate unless `allows_x509`.
pub(super) fn resolve(list: &Arc<[Acl]>, identities: &[Identity], allows_x509: bool) -> Result<Arc<[Acl]>, Refusal> {
    // The usual list, of which there is one for all nodes that have it.
    if let [only] = &**list
        && is_anyone(only)
    {
        return Ok(if only.permissions == Permissions::ALL { Acl::open() } else { list.clone() });
    }
    // The same entry twice says nothing more. What `auth` stands for may.
    let unique = distinct(list, |acl| (acl.permissions, &*acl.scheme, &*acl.id));
    let mut resolved = Vec::with_capacity(unique.len());
    for acl in unique {
        match acl.scheme.as_str() {
            "auth" => {
                let own = identities.iter().filter(|identity| identity.scheme != "ip");
                let before = resolved.len();
                resolved.extend(own.map(|Identity { scheme, id }| Acl {
                    permissions: acl.permissions,
                    scheme: scheme.clone(),
                    id: id.clone(),
                }));
                if resolved.len() == before {
                    return Err(Refusal::InvalidAcl);
                }
            }
            "x509" if !allows_x509 => return Err(Refusal::InvalidAcl),
            _ if is_anyone(acl) || is_valid(acl) => resolved.push(acl.clone()),
            _ => return Err(Refusal::InvalidAcl),
        }
    }
    if resolved.is_empty() { Err(Refusal::InvalidAcl) } else { Ok(resolved.into()) }
}

/// The items, each the first with its key. A request has room for nearly a hundred thousand: to compare each with each would take
/// seconds, in which nobody is served.
fn distinct<'a, T, K: Eq + Hash>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    const FEW: usize = 8;
    if items.len() <= FEW {
        let is_first = |at: usize| !items[..at].iter().any(|before| key(before) == key(&items[at]));
        return (0..items.len()).filter(|at| is_first(*at)).map(|at| &items[at]).collect();
    }
    let mut seen = HashSet::with_capacity(items.len());
    items.iter().filter(|item| seen.insert(key(item))).collect()
}

/// Who it is that proves himself so, beside who he has proven to be. An address needs no proof, it came with the connection
/// (`IPAuthenticationProvider.handleAuthentication`), and nor does a certificate that did
/// (`X509AuthenticationProvider.handleAuthentication`).
pub(super) fn identify(auth: &Auth, identities: &[Identity]) -> Result<Option<Identity>, Refusal> {
    match auth.scheme.as_str() {
        "digest" => Ok(Some(Identity::digest(auth.credentials.expose()))),
        "ip" => Ok(None),
        "x509" if identities.iter().any(|identity| identity.scheme == "x509") => Ok(None),
        _ => Err(Refusal::AuthFailed),
    }
}

/// The list as it is told to somebody who may not change it (`FinalRequestProcessor.handleGetACLRequest`).
pub(super) fn redacted(acl: &Acl) -> Acl {
    match (acl.scheme.as_str(), acl.id.split_once(':')) {
        ("digest", Some((user, _))) => Acl { id: format!("{user}:x"), ..acl.clone() },
        _ => acl.clone(),
    }
}

/// The identity as it is told to its owner (`AuthenticationProvider.getUserName`).
pub(super) fn user(identity: &Identity) -> Identity {
    match (identity.scheme.as_str(), identity.id.split_once(':')) {
        ("digest", Some((user, _))) => Identity { scheme: identity.scheme.clone(), id: user.to_owned() },
        _ => identity.clone(),
    }
}

fn is_anyone(acl: &Acl) -> bool {
    acl.scheme == "world" && acl.id == "anyone"
}

fn is_valid(acl: &Acl) -> bool {
    match acl.scheme.as_str() {
        // As Java's `split(":")` counts the parts: empty ones at the end are none.
        "digest" => acl.id.trim_end_matches(':').matches(':').count() == 1,
        "ip" => network(&acl.id).is_some(),
        "x509" => is_distinguished_name(&acl.id),
        _ => false,
    }
}

fn matches(acl: &Acl, identity: &Identity) -> bool {
    if acl.scheme != identity.scheme {
        return false;
    }
    match acl.scheme.as_str() {
        "ip" => match (network(&acl.id), identity.id.parse()) {
            (Some((network, bits)), Ok(address)) => prefix(network, bits) == prefix(address, bits),
            _ => false,
        },
        _ => acl.id == identity.id,
    }
}

/// `address[/bits]` (`IPAuthenticationProvider`).
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(u32::try_from(bits.parse::<i32>().ok()?).ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok().or_else(|| v4(address))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    (bits <= longest).then_some((address, bits))
}

/// Four numbers as Java reads them: with a sign and with zeros in front.
fn v4(text: &str) -> Option<IpAddr> {
    let mut parts = text.split('.').map(|part| part.parse::<i32>().ok().and_then(|part| u8::try_from(part).ok()));
    let mut next = || parts.next().flatten();
    let octets = [next()?, next()?, next()?, next()?];
    parts.next().is_none().then_some(IpAddr::from(octets))
}

/// The first bits of an address, and which family it is of.
fn prefix(address: IpAddr, bits: u32) -> (bool, u128) {
    let (value, length) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), u32::BITS),
        IpAddr::V6(address) => (address.to_bits(), u128::BITS),
    };
    let cut = length.saturating_sub(bits);
    (address.is_ipv4(), value.checked_shr(cut).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::Hasher;

    use super::*;

    fn acl(scheme: &str, id: &str) -> Acl {
        Acl { permissions: Permissions::READ, scheme: scheme.into(), id: id.into() }
    }

    fn ip(id: &str) -> Identity {
        Identity { scheme: "ip".into(), id: id.into() }
    }

    #[test]
    fn networks() {
        for (list, address, is_in) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.0.0/16", "10.1.9.9", true),
            ("010.+1.-0.00/+016", "10.1.9.9", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("0.0.0.0/0", "192.168.0.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("2001:db8::/32", "2001:db8:1::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            assert_eq!(permits(&[acl("ip", list)], &[ip(address)], Permissions::READ), is_in, "{list} {address}");
        }
        for wrong in ["", "10.1.2", "10.1.2.3/33", "::1/129", "10.1.2.3/x", "host"] {
            assert_eq!(resolve(&Arc::from([acl("ip", wrong)]), &[], false), Err(Refusal::InvalidAcl), "{wrong}");
        }
    }

    #[test]
    fn the_scheme_auth_is_who_has_proven_himself() {
        let list: Arc<[Acl]> = Arc::from([Acl::creator(Permissions::READ), Acl::creator(Permissions::READ)]);
        assert_eq!(resolve(&list, &[ip("127.0.0.1")], false), Err(Refusal::InvalidAcl), "an address proves nobody");
        let me = Identity::digest(b"me:secret");
        let resolved = resolve(&list, &[ip("127.0.0.1"), me.clone()], false).unwrap();
        assert_eq!(*resolved, [acl("digest", &me.id)]);
        assert!(permits(&resolved, &[me], Permissions::READ));
        assert!(!permits(&resolved, &[Identity::digest(b"me:other")], Permissions::READ));
    }

    /// As one request may have them; and with each twice, in the order of the first.
    #[test]
    fn a_long_list_is_not_compared_each_with_each() {
        struct Key<'a>(usize, &'a Cell<usize>);
        impl PartialEq for Key<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.1.update(|count| count + 1);
                self.0 == other.0
            }
        }
        impl Eq for Key<'_> {}
        impl Hash for Key<'_> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
        for count in [3, 4, 5, 1_000, 87_000] {
            let comparisons = Cell::new(0);
            let items: Vec<_> = (0..count).chain(0..count).collect();
            let kept: Vec<_> = distinct(&items, |item| Key(*item, &comparisons)).into_iter().copied().collect();
            assert_eq!(kept, items[..count]);
            let comparisons = comparisons.get();
            assert!(comparisons <= 4 * items.len(), "{comparisons} comparisons of {} items", items.len());
        }
    }

    #[test]
    fn lists_that_mean_nobody_are_refused() {
        for wrong in [acl("world", "me"), acl("digest", "me"), acl("digest", "a:b:c"), acl("sms", "me")] {
            assert_eq!(resolve(&Arc::from([wrong]), &[], false), Err(Refusal::InvalidAcl));
        }
        assert_eq!(resolve(&Arc::from([]), &[], false), Err(Refusal::InvalidAcl));
    }

    #[test]
    fn a_certificate_is_known_by_the_text_of_its_name() {
        let (list, me) = (acl("x509", "CN=me,O=b"), Identity { scheme: "x509".into(), id: "CN=me,O=b".into() });
        let other = Identity { scheme: "x509".into(), id: "CN=me, O=b".into() };
        let resolved = resolve(&Arc::from([list.clone()]), &[], true).unwrap();
        assert!(permits(&resolved, std::slice::from_ref(&me), Permissions::READ));
        assert!(!permits(&resolved, &[other], Permissions::READ));
        assert_eq!(resolve(&Arc::from([list]), &[], false), Err(Refusal::InvalidAcl));
        assert_eq!(resolve(&Arc::from([acl("x509", "me")]), &[], true), Err(Refusal::InvalidAcl));
        let mine = resolve(&Arc::from([Acl::creator(Permissions::READ)]), std::slice::from_ref(&me), true).unwrap();
        assert_eq!(*mine, [acl("x509", &me.id)]);
        let auth = Auth { scheme: "x509".into(), credentials: "".into() };
        assert_eq!(identify(&auth, &[me]), Ok(None));
        assert_eq!(identify(&auth, &[]), Err(Refusal::AuthFailed));
    }
}
