use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;
use weir_core::secret::Secret;

use super::*;
use crate::model::{ApplicationIntent, Encrypt, IpAddressPreference, MssqlAuthentication};

fn endpoint(text: &str) -> MssqlEndpoint {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).endpoint
}

fn password(endpoint: &MssqlEndpoint) -> &str {
    match &endpoint.authentication {
        MssqlAuthentication::Password { password, .. } => password.expose(),
        other => panic!("{other:?}"),
    }
}

/// The forms of Hasura's documentation.
#[test]
fn forms_seen_in_the_documentation() {
    let first =
        endpoint("Driver={ODBC Driver 17 for SQL Server};Server=myServerAddress;Database=myDataBase;UID=u;PWD=p;");
    assert_eq!(
        (first.host.as_str(), first.port, first.database.as_deref()),
        ("myServerAddress", None, Some("myDataBase"))
    );
    assert_eq!(first.encrypt, Encrypt::Optional);
    let second = endpoint(
        "Driver={ODBC Driver 18 for SQL Server};Server=tcp:host,1433;Database=db;Uid=sa;Pwd=x;Encrypt=optional",
    );
    assert_eq!(
        (second.host.as_str(), second.port, second.encrypt),
        ("host", Some(1433), Encrypt::Optional)
    );
    let third = endpoint(
        "Driver={ODBC Driver 18 for SQL Server};Server=tcp:x.database.windows.net,1433;Database=db;Uid=u;Pwd=p;Encrypt=yes;TrustServerCertificate=no;Connection Timeout=30;",
    );
    assert_eq!(
        (third.encrypt, third.trust_server_certificate, third.connect_timeout),
        (Encrypt::Mandatory, false, Some(Duration::from_secs(30)))
    );
    assert_eq!(third.to_string(), "mssql://x.database.windows.net,1433/db");
    let pasted =
        endpoint("Data Source=h,1;Initial Catalog=d;User ID=u;Password=p;Persist Security Info=False;Pooling=true");
    assert_eq!(
        (
            pasted.host.as_str(),
            pasted.port,
            pasted.database.as_deref(),
            pasted.encrypt
        ),
        ("h", Some(1), Some("d"), Encrypt::Mandatory)
    );
}

#[test]
fn servers() {
    for (server, host, instance, port) in [
        ("h", "h", None, None),
        ("tcp:h", "h", None, None),
        ("TCP: h , 1444", "h", None, Some(1444)),
        ("h\\inst", "h", Some("inst"), None),
        ("h\\inst,1444", "h", Some("inst"), Some(1444)),
        (".", "localhost", None, None),
        ("(local)\\SQLEXPRESS", "localhost", Some("SQLEXPRESS"), None),
        ("::1,1433", "::1", None, Some(1433)),
        ("tcp:[fe80::1],1433", "fe80::1", None, Some(1433)),
        ("10.0.0.1", "10.0.0.1", None, None),
    ] {
        let found = endpoint(&format!("Server={server};UID=u;PWD=p"));
        assert_eq!(
            (found.host.as_str(), found.instance.as_deref(), found.port),
            (host, instance, port),
            "{server}"
        );
    }
}

#[test]
fn quoting_in_both_dialects() {
    for (text, expected) in [
        ("Server=h;UID=u;PWD={a;b}}c}", "a;b}c"),
        ("Server=h;UID=u;PWD={}", ""),
        ("Server=h;UID=u;PWD={ x }  ;", " x "),
        ("Server=h;UID=u;PWD=  x y  ;", "x y"),
        ("Server=h;UID=u;PWD=a{b}c", "a{b}c"),
        ("Server=h;UID=u;PWD=a=b", "a=b"),
        ("Server=h;UID=u;PWD=\"q\"", "\"q\""),
        ("Data Source=h;User ID=u;Password=\"a;b\"\"c\"", "a;b\"c"),
        ("Data Source=h;User ID=u;Password='a;b''c'", "a;b'c"),
        ("Data Source=h;User ID=u;Password={a}", "{a}"),
    ] {
        match parse(text) {
            Ok(parsed) => assert_eq!(password(&parsed.endpoint), expected, "{text}"),
            Err(error) => assert_eq!(
                (error.to_string().as_str(), expected),
                ("the connection string has a UID but no PWD", ""),
                "{text}"
            ),
        }
    }
}

#[test]
fn of_repeated_keywords_the_first_wins_in_odbc_and_the_last_in_ado_net() {
    assert_eq!(
        password(&endpoint("Driver=x;Server=h;UID=u;PWD=first;pwd=second")),
        "first"
    );
    assert_eq!(
        password(&endpoint("Driver=x;Server=h;UID=u;Password=first;PWD=second")),
        "first"
    );
    assert_eq!(
        password(&endpoint("Data Source=h;User ID=u;Password=first;password=second")),
        "second"
    );
}

#[test]
fn the_default_of_encrypt_depends_on_the_driver() {
    for (driver, expected) in [
        ("Driver={ODBC Driver 18 for SQL Server};", Encrypt::Mandatory),
        ("Driver={ODBC Driver 17 for SQL Server};", Encrypt::Optional),
        ("Driver={ODBC Driver 13 for SQL Server};", Encrypt::Optional),
        ("Driver={SQL Server Native Client 11.0};", Encrypt::Optional),
        ("Driver={SQL Server};", Encrypt::Optional),
        ("Driver=FreeTDS;", Encrypt::Optional),
        ("Driver={ODBC Driver 170 for SQL Server};", Encrypt::Mandatory),
        ("", Encrypt::Mandatory),
    ] {
        assert_eq!(
            endpoint(&format!("{driver}Server=h;UID=u;PWD=p")).encrypt,
            expected,
            "{driver}"
        );
    }
    for (value, expected) in [
        ("no", Encrypt::Optional),
        ("Optional", Encrypt::Optional),
        ("YES", Encrypt::Mandatory),
        ("mandatory", Encrypt::Mandatory),
        ("strict", Encrypt::Strict),
        ("true", Encrypt::Mandatory),
    ] {
        assert_eq!(
            endpoint(&format!("Server=h;UID=u;PWD=p;Encrypt={value}")).encrypt,
            expected,
            "{value}"
        );
    }
}

#[test]
fn every_keyword() {
    let found = endpoint(
        "Server=h;UID=u;PWD=p;TrustServerCertificate=yes;HostnameInCertificate=cn;ServerCertificate=/s;ClientCertificate=/c;ClientKey=/k;APP=a;WSID=w;\
         ApplicationIntent=ReadOnly;MultiSubnetFailover=Yes;MARS_Connection=yes;ConnectRetryCount=3;ConnectRetryInterval=5;KeepAlive=30;KeepAliveInterval=1;\
         IpAddressPreference=IPv6First;Language=Deutsch;ConnectTimeout=9;Packet Size=8192",
    );
    assert_eq!(
        found,
        MssqlEndpoint {
            host: "h".to_owned(),
            port: None,
            instance: None,
            database: None,
            authentication: MssqlAuthentication::Password {
                user: "u".to_owned(),
                password: Secret::new("p".to_owned())
            },
            encrypt: Encrypt::Mandatory,
            trust_server_certificate: true,
            host_name_in_certificate: Some("cn".to_owned()),
            server_certificate: Some(PathBuf::from("/s")),
            client_certificate: Some((PathBuf::from("/c"), Some(PathBuf::from("/k")))),
            application_name: Some("a".to_owned()),
            workstation_id: Some("w".to_owned()),
            application_intent: ApplicationIntent::ReadOnly,
            multi_subnet_failover: true,
            mars: true,
            connect_retry_count: Some(3),
            connect_retry_interval: Some(Duration::from_secs(5)),
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_interval: Some(Duration::from_secs(1)),
            ip_address_preference: IpAddressPreference::Ipv6First,
            language: Some("Deutsch".to_owned()),
            connect_timeout: Some(Duration::from_secs(9)),
            packet_size: Some(8192),
        }
    );
    assert_eq!(
        endpoint("Server=h;Trusted_Connection=yes").authentication,
        MssqlAuthentication::Integrated
    );
    assert_eq!(
        endpoint("Data Source=h;Integrated Security=SSPI").authentication,
        MssqlAuthentication::Integrated
    );
    assert!(matches!(
        endpoint("Server=h;Authentication=ActiveDirectoryServicePrincipal;UID=id;PWD=secret").authentication,
        MssqlAuthentication::ActiveDirectory { .. }
    ));
}

#[test]
fn errors() {
    for (text, expected) in [
        ("", "the connection string is empty"),
        (
            "mssql://u:hunter2@h/d",
            "the connection string is a URL: write Driver={…};Server=host,1433;Database=…;UID=…;PWD=… instead",
        ),
        ("UID=u;PWD=hunter2", "the connection string names no Server"),
        (
            "Server=h",
            "the connection string names no UID (or Trusted_Connection, or Authentication)",
        ),
        ("Server=h;UID=u", "the connection string has a UID but no PWD"),
        ("Server=h;UID=u;PWD={hunter2", "the value of PWD is not closed by \"}\""),
        (
            "Server=h;UID=u;PWD={hunter2}x;",
            "unexpected text behind the closing \"}\" of PWD (a \"}\" inside is written twice)",
        ),
        (
            "Server=h;UID=u;PWD=a;hunter2={b",
            "the value of a keyword is not closed by \"}\"",
        ),
        (
            "Server=h;UID=u;PWD=hunter;2",
            "a part of the connection string between two \";\" has no \"=\" (a value with \";\" has to be written in braces: {…})",
        ),
        (
            "Server=h:1433;UID=u;PWD=p",
            "Server has a \":\" before the port: SQL Server wants a comma, host,port",
        ),
        (
            "Server=h,http;UID=u;PWD=p",
            "the port of Server is not a number between 1 and 65535",
        ),
        (
            "Server=np:h;UID=u;PWD=p",
            "Server uses np:, but the gateway connects by TCP only",
        ),
        (
            "Server=(localdb)\\x;UID=u;PWD=p",
            "LocalDB exists on its own machine only; name a server",
        ),
        (
            "Server=h;UID=u;PWD=p;Encrypt=maybe",
            "Encrypt must be one of no / optional / false / yes / mandatory / true / strict, got \"maybe\"",
        ),
        (
            "Server=h;UID=u;PWD=p;ConnectRetryCount=256",
            "ConnectRetryCount must be a number between 0 and 255",
        ),
        (
            "Server=h;UID=u;PWD=p;Authentication=Kerberos",
            "Authentication must be SqlPassword or one of the ActiveDirectory methods",
        ),
        (
            "DSN=x;UID=u;PWD=p",
            "DSN in the connection string is not supported: the gateway reads no odbc.ini; write the values out",
        ),
        (
            "Server=h;UID=u;PWD=p;ClientKey=/k",
            "ClientKey is given without ClientCertificate",
        ),
    ] {
        let message = text.parse::<MssqlEndpoint>().map(|_| ()).unwrap_err().to_string();
        assert_eq!(message, expected, "{text}");
        assert!(!message.contains("hunter"), "{message}");
    }
}

/// A password with an unquoted `;` looks like further keywords.
#[test]
fn unknown_keywords_are_quoted_only_if_they_are_misspelt_ones() {
    let remarks = parse("Server=h;UID=u;PWD=a;hunter2=b;Encrpt=no").unwrap().remarks;
    assert_eq!(
        remarks,
        [
            "an unknown keyword behind PWD in the connection string is ignored (a value with \";\" has to be written in braces: {…})",
            "unknown keyword \"Encrpt\" in the connection string is ignored, did you mean Encrypt?",
        ]
    );
}

proptest! {
    #[test]
    fn odbc_strings_round_trip(user in "[^\0]{1,20}", secret in "[^\0]{1,40}", database in "[^\0]{1,20}", host in "[a-z][a-z0-9.-]{0,20}", port in 1u16..) {
        let quote = |text: &str| format!("{{{}}}", text.replace('}', "}}"));
        let text = format!("Driver={{ODBC Driver 18 for SQL Server}}; Server=tcp:{host},{port} ;database={};Uid={};PWD={}", quote(&database), quote(&user), quote(&secret));
        let found = endpoint(&text);
        prop_assert_eq!((&found.host, found.port, found.database.as_ref()), (&host, Some(port), Some(&database)));
        prop_assert_eq!(found.authentication, MssqlAuthentication::Password { user, password: secret.into() });
    }

    #[test]
    fn ado_net_strings_round_trip(secret in "[^\0]{1,40}", single in any::<bool>()) {
        let quote = if single { "'" } else { "\"" };
        let text = format!("Data Source=h;User ID=u;Password={quote}{}{quote};Encrypt=strict", secret.replace(quote, &quote.repeat(2)));
        // `driver=` inside of the value would be taken for ODBC's keyword.
        prop_assume!(!secret.to_lowercase().contains("driver") && !secret.to_lowercase().contains("dsn"));
        let found = endpoint(&text);
        prop_assert_eq!(password(&found), secret);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}", near in "[a-zA-Z;={}'\"\\\\,: ]{0,60}") {
        let _ = parse(&text);
        let _ = parse(&near);
        let _ = parse(&format!("Server={near};UID=u;PWD={text}"));
    }
}
