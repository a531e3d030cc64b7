use std::{path::PathBuf, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::model::{
    ChannelBinding, Host, HostName, LoadBalanceHosts, RootCertificate, SecretFile, SecretSource, SslMode,
    SslNegotiation, TargetSessionAttrs,
};

fn endpoint(text: &str) -> PostgresEndpoint {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).endpoint
}

fn error(text: &str) -> String {
    match text.parse::<PostgresEndpoint>() {
        Ok(endpoint) => panic!("{text}: {endpoint}"),
        Err(error) => error.to_string(),
    }
}

fn tcp(name: &str, port: u16) -> Host {
    Host {
        name: HostName::Tcp(name.to_owned()),
        port,
        address: None,
    }
}

fn unix(folder: &str, port: u16) -> Host {
    Host {
        name: HostName::Unix(PathBuf::from(folder)),
        port,
        address: None,
    }
}

/// Addresses of PostgreSQL's documentation and of its URI regression test.
#[test]
fn a_value_may_look_like_a_url() {
    let found = endpoint("user=u password='a://b' dbname=://c host=h");
    assert_eq!(
        (
            found.password.as_ref().unwrap().expose().as_str(),
            found.database.as_str()
        ),
        ("a://b", "://c")
    );
    assert!(error("mysql://u:p@h/d").contains("must begin with"));
}

#[test]
fn hosts() {
    for (text, hosts, database) in [
        ("postgresql://u@localhost", vec![tcp("localhost", 5432)], "u"),
        ("postgresql://u@localhost:5433", vec![tcp("localhost", 5433)], "u"),
        ("postgresql://u@localhost/mydb", vec![tcp("localhost", 5432)], "mydb"),
        (
            "postgres://u@[2001:db8::1234]/d",
            vec![tcp("2001:db8::1234", 5432)],
            "d",
        ),
        ("postgres://u@[2001:db8::1234]:7/d", vec![tcp("2001:db8::1234", 7)], "d"),
        (
            "postgresql://u@host1:123,host2:456/somedb",
            vec![tcp("host1", 123), tcp("host2", 456)],
            "somedb",
        ),
        (
            "postgresql://u@host1,host2:456/somedb",
            vec![tcp("host1", 5432), tcp("host2", 456)],
            "somedb",
        ),
        (
            "postgresql://u@/d?host=a,b&port=1,2",
            vec![tcp("a", 1), tcp("b", 2)],
            "d",
        ),
        ("postgresql://u@/d?host=a,b&port=7", vec![tcp("a", 7), tcp("b", 7)], "d"),
        (
            "postgresql:///d?host=localhost&port=5433&user=u",
            vec![tcp("localhost", 5433)],
            "d",
        ),
        (
            "postgresql://%2Fvar%2Flib%2Fpostgresql/d?user=u",
            vec![unix("/var/lib/postgresql", 5432)],
            "d",
        ),
        (
            "postgresql:///d?host=/var/lib/postgresql&user=u",
            vec![unix("/var/lib/postgresql", 5432)],
            "d",
        ),
        ("postgresql:///d?user=u", vec![unix("/var/run/postgresql", 5432)], "d"),
        ("postgres://u@h?dbname=d", vec![tcp("h", 5432)], "d"),
        ("postgres://u@h/d?dbname=e", vec![tcp("h", 5432)], "e"),
        ("postgres://u@h/d%20e", vec![tcp("h", 5432)], "d e"),
        ("postgres://u@h/d?", vec![tcp("h", 5432)], "d"),
        ("  postgres://u@h/d\n", vec![tcp("h", 5432)], "d"),
        (
            "postgres://u@gateway/ledger@primary",
            vec![tcp("gateway", 5432)],
            "ledger@primary",
        ),
        ("host=h port=1 dbname='my db' user=u", vec![tcp("h", 1)], "my db"),
        ("host = h  port=1\tdbname=d\\ e user=u", vec![tcp("h", 1)], "d e"),
        ("user=u host=/tmp", vec![unix("/tmp", 5432)], "u"),
    ] {
        let found = endpoint(text);
        assert_eq!(
            (found.hosts, found.database.as_str(), found.user.as_str()),
            (hosts, database, "u"),
            "{text}"
        );
    }
    let with_address = endpoint("host=db.internal hostaddr=10.0.0.1 user=u");
    assert_eq!(
        with_address.hosts[0],
        Host {
            address: Some([10, 0, 0, 1].into()),
            ..tcp("db.internal", 5432)
        }
    );
    assert_eq!(
        endpoint("hostaddr=10.0.0.1 user=u").hosts[0].name,
        HostName::Tcp("10.0.0.1".to_owned())
    );
}

#[test]
fn credentials() {
    for (text, user, password) in [
        ("postgres://u:p@h/d", "u", Some("p")),
        ("postgres://u:@h/d", "u", None),
        ("postgres://u:a%40b%2Fc%25%3A@h/d", "u", Some("a@b/c%:")),
        ("postgres://u:a:b@h/d", "u", Some("a:b")),
        ("postgres://u:a?b#c@h/d", "u", Some("a?b#c")),
        ("postgres://us%65r@h/d", "user", None),
        ("postgres://h/d?user=u&password=x%26y", "u", Some("x&y")),
        ("postgres://a:b@h/d?user=u&password=p", "u", Some("p")),
        ("user=u password='it\\'s \\\\ here' host=h", "u", Some("it's \\ here")),
        ("user=u password='' host=h", "u", None),
    ] {
        let found = endpoint(text);
        let password = password.map(|password| Secret::new(password.to_owned()));
        assert_eq!((found.user.as_str(), found.password), (user, password), "{text}");
    }
}

#[test]
fn parameters() {
    let found = endpoint(
        "postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&sslpassword=x&channel_binding=require\
         &sslnegotiation=direct&connect_timeout=10&application_name=app&options=-c%20statement_timeout%3D3000&target_session_attrs=prefer-standby\
         &load_balance_hosts=random",
    );
    let file = |path: &str| {
        SecretSource::File(SecretFile {
            path: PathBuf::from(path),
            allowed_prefix: None,
        })
    };
    assert_eq!(
        found,
        PostgresEndpoint {
            hosts: vec![tcp("h", 5432)],
            database: "d".to_owned(),
            user: "u".to_owned(),
            password: None,
            ssl_mode: SslMode::VerifyFull,
            root_certificate: Some(RootCertificate::Pem(file("/ca.pem"))),
            client_certificate: Some(file("/c.pem")),
            client_key: Some(file("/k.pem")),
            client_key_password: Some(SecretSource::Literal("x".to_owned().into())),
            channel_binding: ChannelBinding::Require,
            ssl_negotiation: SslNegotiation::Direct,
            application_name: Some("app".to_owned()),
            options: Some("-c statement_timeout=3000".to_owned()),
            connect_timeout: Some(Duration::from_secs(10)),
            target_session_attrs: TargetSessionAttrs::PreferStandby,
            load_balance_hosts: LoadBalanceHosts::Random,
        }
    );
    let plain = endpoint("postgres://u@h/d");
    assert_eq!(plain.ssl_mode, SslMode::Prefer);
    assert_eq!(
        (plain.channel_binding, plain.ssl_negotiation),
        (ChannelBinding::Prefer, SslNegotiation::Postgres)
    );
    assert_eq!(endpoint("postgres://u@h/d?ssl=true").ssl_mode, SslMode::Require);
    assert_eq!(
        endpoint("postgres://u@h/d?sslrootcert=system").ssl_mode,
        SslMode::VerifyFull
    );
    assert_eq!(
        endpoint("postgres://u@h/d?fallback_application_name=f")
            .application_name
            .as_deref(),
        Some("f")
    );
    for (value, expected) in [("0", None), ("-1", None), ("1", Some(2)), ("2", Some(2)), ("", None)] {
        let found = endpoint(&format!("postgres://u@h/d?connect_timeout={value}"));
        assert_eq!(found.connect_timeout, expected.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn what_is_ignored_is_said() {
    let parsed = parse("postgres://u@h/d?keepalives=1&client_encoding=UTF8&gssencmode=disable&sslsni=1").unwrap();
    assert_eq!(
        parsed.remarks,
        [
            "the parameter \"keepalives\" of the address is ignored: the gateway sets its sockets up itself",
            "the parameter \"client_encoding\" of the address is ignored: each client brings its own",
        ]
    );
}

#[test]
fn errors() {
    for (text, expected) in [
        ("", "the address is empty"),
        ("   ", "the address is empty"),
        ("mysql://u@h/d", "the URL must begin with postgres:// or postgresql://"),
        (
            "Postgres://u@h/d",
            "the URL must begin with postgres:// or postgresql://",
        ),
        (
            "just text",
            "the address is neither a postgres:// URL nor keyword=value pairs",
        ),
        (
            "user",
            "the address is neither a postgres:// URL nor keyword=value pairs",
        ),
        ("host=h user='u", "a quoted value in the address is not closed by \"'\""),
        ("postgres://h/d", "the address names no user"),
        (
            "postgres://u@h:port/d",
            "a port in the address is not a number between 1 and 65535",
        ),
        (
            "postgres://u@h:0/d",
            "a port in the address is not a number between 1 and 65535",
        ),
        (
            "postgres://u@h:65536/d",
            "a port in the address is not a number between 1 and 65535",
        ),
        (
            "postgres://u@[::1/d",
            "an IPv6 address in the URL is not closed by \"]\"",
        ),
        ("postgres://u@[]/d", "an IPv6 address in the URL is not closed by \"]\""),
        ("postgres://u@[::1]x/d", "unexpected text behind \"]\" in the address"),
        ("postgres://u@a,b,c:1/d?port=1,2", "could not match 2 ports to 3 hosts"),
        (
            "host=a,b hostaddr=1.1.1.1 user=u",
            "could not match 2 hosts to 1 hostaddr values",
        ),
        ("hostaddr=x user=u", "hostaddr is not an IP address"),
        (
            "host=@abstract user=u",
            "sockets in the abstract name space are not supported",
        ),
        ("host='a b' user=u", "a host in the address contains white space"),
        ("postgres://u@h/d?sslmode", "a parameter of the address has no \"=\""),
        (
            "postgres://u@h/d?options=a=b",
            "a parameter of the address has more than one \"=\": write %3D for the further ones",
        ),
        (
            "postgres://u@h/%zz",
            "the database name in the address has a \"%\" that is not followed by two hexadecimal digits (or by 00)",
        ),
        (
            "postgres://u@h/d%00",
            "the database name in the address has a \"%\" that is not followed by two hexadecimal digits (or by 00)",
        ),
        (
            "postgres://u@h/d?sslmodee=x",
            "unknown parameter \"sslmodee\" in the address, did you mean \"sslmode\"?",
        ),
        (
            "postgres://u@h/d?frobnicate=x",
            "unknown parameter \"frobnicate\" in the address",
        ),
        (
            "host=h user=u frobnicate=x",
            "unknown parameter \"frobnicate\" in the address",
        ),
        (
            "postgres://u@h/d?pgbouncer=true",
            "unknown parameter \"pgbouncer\" in the address: libpq would refuse it; put it under pool_settings or in gateway.yaml",
        ),
        (
            "postgres://u@h/d?sslmode=required",
            "sslmode: \"required\" is not known, did you mean `require`?",
        ),
        (
            "postgres://u@h/d?target_session_attrs=x",
            "target_session_attrs must be one of any / read-write / read-only / primary / standby / prefer-standby, got \"x\"",
        ),
        (
            "postgres://u@h/d?connect_timeout=soon",
            "connect_timeout in the address is not a number of seconds",
        ),
        (
            "postgres://u@h/d?service=x",
            "the parameter \"service\" is not supported: the gateway reads no libpq files; write the values out",
        ),
        (
            "postgres://u@h/d?sslcrl=/x",
            "the parameter \"sslcrl\" is not supported: the gateway does not read revocation lists",
        ),
        (
            "postgres://u@h/d?gssencmode=require",
            "the parameter \"gssencmode\" is supported only as \"disable\", \"prefer\": the gateway does not speak Kerberos",
        ),
        (
            "postgres://u@h/d?replication=database",
            "the parameter \"replication\" is supported only as \"false\", \"off\", \"no\", \"0\": replication connections cannot be pooled",
        ),
        (
            "postgres://u@h/d?sslrootcert=system&sslmode=require",
            "sslmode require is too weak for sslrootcert=system: use verify-full",
        ),
        (
            "postgres://u@h/d?sslnegotiation=direct",
            "sslmode prefer is too weak for sslnegotiation=direct: use require, verify-ca or verify-full",
        ),
        (
            "postgres://u@h/d?sslmode=verify-ca",
            "sslmode verify-ca needs sslrootcert",
        ),
        ("postgres://u@h/d?sslcert=/c", "sslcert is given without sslkey"),
        (
            "postgres://u@h/d?sslmode=disable&channel_binding=require",
            "channel_binding=require needs TLS, but sslmode is disable",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let many = format!("postgres://u@{}/d", vec!["h"; 33].join(","));
    assert_eq!(error(&many), "the address names 33 hosts; at most 32 are supported");
}

/// Passwords as people paste them. The message names the character, and nothing of the password.
#[test]
fn passwords_that_need_escapes() {
    for (text, character, code) in [
        ("postgres://u:hunter@2@h/d", '@', "40"),
        ("postgres://u:hunter@2@h:5432/d?sslmode=require", '@', "40"),
        ("postgres://u:hunter@2/x@h:5432/d", '@', "40"),
        ("postgres://u:hunter/2@h/d", '/', "2F"),
        ("postgres://u:hunter/2@h", '/', "2F"),
        ("postgres://u:/hunter2@h/d", '/', "2F"),
        ("postgres://u:123/hunter2@h/d", '/', "2F"),
        ("postgres://u:hunter/2?x=y@h/d", '/', "2F"),
        ("postgres://u:hunter%2@h/d", '%', "25"),
        ("postgres://u:hunter%@h/d", '%', "25"),
        ("postgres://u:hunter%zz@h/d", '%', "25"),
    ] {
        let message = error(text);
        let expected = format!(
            "the password in the URL contains \"{character}\", which has to be written as \"%{code}\" there: use connection_parameters, where nothing needs escapes"
        );
        assert_eq!(message, expected, "{text}");
    }
}

#[test]
fn no_message_holds_a_part_of_a_password() {
    for text in [
        "postgres://u:hunter2@@@h/d",
        "postgres://u:1/hunter2?x=hunter2@h",
        "postgres://u:1/x?hunter2=x@h",
        "postgres://u:1/x?sslmode=hunter2@h",
        "user=u password=a hunter2=b",
        "password=a hunter2",
        "password='hunter2 user=u",
        "postgres://u:hunter2@h:hunter2/d",
        "postgres://u:hunter2@h/d?sslmode=verify-ca",
        "postgres://u@h/d?password=hunter2&sslmode=x",
    ] {
        let message = error(text);
        assert!(!message.contains("hunter"), "{text}: {message}");
    }
}

#[test]
fn displays_as_a_url_without_the_password() {
    assert_eq!(
        endpoint("postgres://u:p@a:1,b/d?sslmode=require").to_string(),
        "postgres://u@a:1,b:5432/d"
    );
    assert_eq!(
        endpoint("postgres://u@[::1]/d").to_string(),
        "postgres://u@[::1]:5432/d"
    );
}

/// As Hasura builds a URL from `connection_parameters`: everything escaped.
fn url(user: &str, password: &str, host: &str, port: u16, database: &str, parameters: &[(&str, &str)]) -> String {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let query: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", escape(value)))
        .collect();
    format!(
        "postgresql://{}:{}@{}:{port}/{}?{}",
        escape(user),
        escape(password),
        escape(host),
        escape(database),
        query.join("&")
    )
}

proptest! {
    #[test]
    fn urls_round_trip(user in "[^\0]{1,20}", password in "[^\0]{1,40}", host in "[a-z][a-z0-9.-]{0,30}", port in 1u16.., database in "[^\0]{1,20}", name in "[^\0]{1,20}", options in "[^\0]{1,40}") {
        let text = url(&user, &password, &host, port, &database, &[("application_name", &name), ("options", &options)]);
        let found = endpoint(&text);
        prop_assert_eq!(&found.user, &user);
        prop_assert_eq!(found.password.as_ref().unwrap().expose(), &password);
        prop_assert_eq!(&found.hosts, &[tcp(&host, port)]);
        prop_assert_eq!(&found.database, &database);
        prop_assert_eq!(found.application_name.as_ref(), Some(&name));
        prop_assert_eq!(found.options.as_ref(), Some(&options));
        // The parts written one by one are the same address.
        let parts = from_parts(Parts { host, port, database, user, password: Some(password.into()) }).unwrap();
        prop_assert_eq!(PostgresEndpoint { application_name: None, options: None, ..found }, parts);
    }

    #[test]
    fn keyword_strings_round_trip(user in "[^\0]{1,20}", password in "[^\0]{1,40}", database in "[^\0]{1,20}") {
        let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let text = format!("user={} password = {} dbname={} host=h", quote(&user), quote(&password), quote(&database));
        let found = endpoint(&text);
        prop_assert_eq!((&found.user, found.password.as_ref().unwrap().expose(), &found.database), (&user, &password, &database));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("postgres://{text}"));
    }

    #[test]
    fn address_like_text_never_panics(text in "[a-z:/@%?&=,\\[\\]0-9'\\\\ ]{0,60}") {
        let _ = parse(&format!("postgres://{text}"));
        let _ = parse(&text);
    }
}
