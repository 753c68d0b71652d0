//! Who a client is by its certificate: the embedded server beside Apache ZooKeeper.

use futures::future::join_all;
use herdless::server::{Server, ServerTls, ServerTlsOptions};
use herdless::{Acl, ClientExt, CreateMode, Error, NodePath, Permissions, Refusal, TokioClient, Version};
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString, UniversalString};
use rcgen::{DnType, DnValue};

use crate::support::{Authority, Dice, Issued, NO_ZOOKEEPER, connector, skipped};
use crate::tls::{BOTH, Secure, known_as, x509};

/// An embedded server that asks for certificates of this authority.
async fn embedded(authority: &Authority) -> Server {
    let Issued { certificate, key } = authority.issue("server", &["127.0.0.1"]);
    let options = ServerTlsOptions::new(certificate, key).client_roots_pem(authority.pem());
    Server::builder().tls(ServerTls::new(&options).unwrap()).bind("127.0.0.1:0").await.unwrap()
}

async fn connect(server: &Server, authority: &Authority, client: &Issued) -> TokioClient {
    connector(&server.address().to_string()).tls(authority.tls_as(client)).connect().await.unwrap()
}

fn text(text: &str) -> DnValue {
    DnValue::Utf8String(text.into())
}

fn subjects() -> Vec<Vec<(DnType, DnValue)>> {
    let custom = |oid: &[u64]| DnType::CustomDnType(oid.to_vec());
    let (street, uid, dc, email) = (
        [2, 5, 4, 9],
        [0, 9, 2342, 19200300, 100, 1, 1],
        [0, 9, 2342, 19200300, 100, 1, 25],
        [1, 2, 840, 113549, 1, 9, 1],
    );
    vec![
        vec![],
        vec![
            (DnType::CountryName, DnValue::PrintableString(PrintableString::try_from("DE").unwrap())),
            (DnType::StateOrProvinceName, text("Bavaria")),
            (DnType::LocalityName, text("Munich")),
            (DnType::OrganizationName, text("Example, Inc.")),
            (DnType::OrganizationalUnitName, text("R&D + \"Ops\"")),
            (DnType::CommonName, text("orders")),
        ],
        vec![(DnType::CommonName, text(" a=b;<c>\\#d ")), (DnType::OrganizationName, text("#e"))],
        vec![(DnType::CommonName, text("\r\ttabs\n")), (DnType::OrganizationName, text("   "))],
        vec![(DnType::CommonName, text("nul\0in")), (DnType::OrganizationName, text(""))],
        vec![(DnType::CommonName, text("Grüße 日本"))],
        vec![(DnType::CommonName, DnValue::BmpString(BmpString::try_from("bmp").unwrap()))],
        vec![(DnType::CommonName, DnValue::UniversalString(UniversalString::try_from("universal").unwrap()))],
        vec![(DnType::CommonName, DnValue::TeletexString(TeletexString::try_from("teletex").unwrap()))],
        vec![
            (custom(&dc), DnValue::Ia5String(Ia5String::try_from("org").unwrap())),
            (custom(&uid), text("me")),
            (custom(&street), text("1 Main St")),
            (custom(&email), DnValue::Ia5String(Ia5String::try_from("me@example.org").unwrap())),
            (custom(&[2, 5, 4, 5]), text("7")),
            (custom(&[1, 2, 3, 4]), text("odd")),
        ],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_is_written_as_zookeeper_writes_it() {
    let Some(theirs) = Secure::start("subjects", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let ours = embedded(&theirs.authority).await;
    for subject in subjects() {
        let client = theirs.authority.issue_to(subject.clone());
        let at_theirs = known_as(&theirs.connect(&client).await).await;
        let at_ours = known_as(&connect(&ours, &theirs.authority, &client).await).await;
        assert_eq!(at_theirs.len(), 1, "{subject:?}");
        assert_eq!(at_ours, at_theirs, "{subject:?}");
    }
}

/// Apache ZooKeeper writes such a character as two surrogates, which is no UTF-8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_may_have_characters_beyond_16_bits() {
    let Some(theirs) = Secure::start("clef", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let ours = embedded(&theirs.authority).await;
    let name = "\u{1d11e} and \u{10ffff}";
    let clef = theirs.authority.issue_to(vec![(DnType::CommonName, text(name))]);
    let node = NodePath::parse("/clef").unwrap();
    for client in [theirs.connect(&clef).await, connect(&ours, &theirs.authority, &clef).await] {
        assert_eq!(known_as(&client).await, [x509(name)]);
        let own = [Acl { permissions: Permissions::ALL, scheme: "x509".into(), id: format!("CN={name}") }];
        client.create_with_acl(&node, "", CreateMode::Persistent, own.clone()).await.unwrap();
        assert_eq!(client.acl(&node).await.unwrap().0, own);
        // It is what the server compares with, too.
        client.set(&node, "x", Version::ANY).await.unwrap();
    }
}

/// Pieces of names, which make up names and what is nearly one.
const PIECES: [&str; 56] = [
    "CN=",
    "cn = ",
    "O=",
    "OU=",
    "STREET=",
    "UID=",
    "DC=",
    "EMAILADDRESS=",
    "SERIALNUMBER=",
    "1.2.3=",
    "OID.2.999=",
    "1.40=",
    "3.1=",
    "X=",
    "=",
    ",",
    ";",
    "+",
    " ",
    ", ",
    "\\,",
    "\\+",
    "\\\\",
    "\\\"",
    "\"",
    "\"a,b\"",
    "\"a\\\"b\"",
    "\\",
    "\\41",
    "\\4",
    "\\q",
    "#",
    "#0401ff",
    "#0402ff",
    "#04",
    "#1f0101",
    "<",
    ">",
    "a",
    "b c",
    "Grüße",
    "\n",
    "\\ ",
    "\\#",
    "\t",
    "CN=a",
    "CN=a,O=b",
    "O=\"x;y\"",
    "CN=#0c0161",
    "CN=\\,",
    "L=",
    "ST=",
    "C=DE",
    "T=x",
    "\u{131}P=x",
    "E=x",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_may_name_whom_it_may_name_at_zookeeper() {
    let Some(theirs) = Secure::start("names", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let ours = embedded(&theirs.authority).await;
    let us = theirs.authority.issue("us", &[]);
    let clients = [theirs.connect(&us).await, connect(&ours, &theirs.authority, &us).await];
    let node = NodePath::parse("/names").unwrap();
    for client in &clients {
        client.create(&node, "", CreateMode::Persistent).await.unwrap();
    }
    let mut dice = Dice::new();
    let names: Vec<String> =
        (0..3_000).map(|_| (0..dice.within(0..7)).map(|_| PIECES[dice.within(0..PIECES.len())]).collect()).collect();
    let everybody = Acl { permissions: Permissions::ALL, scheme: "world".into(), id: "anyone".into() };
    let (mut accepted, mut refused) = (0, 0);
    for names in names.chunks(200) {
        let verdicts = clients.each_ref().map(|client| {
            join_all(names.iter().map(|name| {
                let named = Acl { permissions: Permissions::ALL, scheme: "x509".into(), id: name.clone() };
                client.set_acl(&node, [everybody.clone(), named], Version::ANY)
            }))
        });
        let [theirs, ours] = verdicts;
        for ((name, theirs), ours) in names.iter().zip(theirs.await).zip(ours.await) {
            let is_taken = |verdict: Result<_, Error>| match verdict {
                Ok(_) => true,
                Err(Error::Refused(Refusal::InvalidAcl)) => false,
                Err(error) => panic!("{name:?}: {error}"),
            };
            let is_taken_by_them = is_taken(theirs);
            assert_eq!(is_taken(ours), is_taken_by_them, "{name:?}: as by them");
            *(if is_taken_by_them { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} of them are names, {refused} are none");
}
