//! TLS between two sockets of this process: who is trusted in which mode, on both sides, and what a reload leaves alone.

use std::{io, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    SignatureAlgorithm, date_time_ymd,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use weir_core::{
    net::{
        Socket, Stream,
        tls::{
            self, ClientCertificate, ClientCertificates, ClientTls, ClientTlsSettings, MaterialError, NothingBuffered,
            Pem, Problem, Reloadable, Roots, ServerTls, ServerTlsSettings, TlsVersions, Verification,
        },
    },
    secret::Secret,
};

/// A generous bound on hangs, not a measurement.
const HANG: Duration = Duration::from_secs(20);

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Issued {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Valid for the DNS name and address that the tests connect to.
fn server_params() -> CertificateParams {
    let mut params = named("somebody");
    params.subject_alt_names = vec![
        SanType::DnsName("db.example".try_into().expect("a name")),
        SanType::IpAddress("127.0.0.1".parse().expect("an address")),
    ];
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, key()).expect("a root"))
    }

    fn pem(&self) -> Pem {
        Pem::new("sslrootcert", self.0.pem())
    }

    fn issue(&self, params: CertificateParams) -> Issued {
        self.issue_for(params, key())
    }

    fn issue_for(&self, params: CertificateParams, key: KeyPair) -> Issued {
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }
}

fn self_signed(params: CertificateParams) -> Issued {
    let key = key();
    let certificate = params.self_signed(&key).expect("a certificate");
    Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

fn server_settings(own: &Issued) -> ServerTlsSettings {
    ServerTlsSettings {
        certificate: Pem::new("sslcert", own.certificate.clone()),
        key: Pem::new("sslkey", own.key.clone()),
        passphrase: None,
        client_certificates: ClientCertificates::Ignored,
        alpn: vec![],
        versions: TlsVersions::All,
    }
}

fn client_settings(verification: Verification) -> ClientTlsSettings {
    ClientTlsSettings {
        verification,
        expected_name: None,
        certificate: None,
        alpn: vec![],
        versions: TlsVersions::All,
    }
}

fn pair() -> (Socket, Socket) {
    let (left, right) = UnixStream::pair().expect("a pair");
    (Socket::Unix(left), Socket::Unix(right))
}

fn proof() -> NothingBuffered {
    NothingBuffered::check(&[]).expect("nothing is buffered")
}

/// One handshake, and a byte in both directions, so that late refusals (TLS 1.3 client certificates) are seen as well.
async fn handshake(server: &ServerTls, client: &ClientTls, host: &str) -> (io::Result<Stream>, io::Result<Stream>) {
    let (server_socket, client_socket) = pair();
    let serve = async {
        let mut stream = tls::accept(server_socket, server, proof()).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
        Ok(stream)
    };
    let connect = async {
        let mut stream = tls::connect(client_socket, host, client, proof()).await?;
        stream.write_u8(7).await?;
        stream.flush().await?;
        assert_eq!(stream.read_u8().await?, 7);
        Ok(stream)
    };
    tokio::time::timeout(HANG, async { tokio::join!(serve, connect) })
        .await
        .expect("no handshake hangs")
}

fn server(own: &Issued) -> ServerTls {
    ServerTls::new(&server_settings(own)).expect("usable material")
}

fn client(verification: Verification) -> ClientTls {
    ClientTls::new(&client_settings(verification)).expect("usable settings")
}

/// What a client says about a server: `Ok` or the words of the refusal.
async fn verdict(own: &Issued, verification: Verification, host: &str) -> Result<(), String> {
    let (_, outcome) = handshake(&server(own), &client(verification), host).await;
    outcome.map(drop).map_err(|error| {
        assert!(
            tls::is_untrusted(&error),
            "a refusal must be told from a broken connection: {error}"
        );
        error.to_string()
    })
}

fn three_modes(roots: &Pem) -> [Verification; 3] {
    let roots = Roots::Pem(roots.clone());
    [
        Verification::None,
        Verification::Authority(roots.clone()),
        Verification::AuthorityAndName(roots),
    ]
}

/// Checks one server certificate in the three modes against what libpq would say.
async fn expect(own: &Issued, roots: &Pem, host: &str, accepted: [bool; 3], words: &str) {
    for (verification, accepted) in three_modes(roots).into_iter().zip(accepted) {
        let label = format!("{verification:?} for {host}");
        match verdict(own, verification, host).await {
            Ok(()) => assert!(accepted, "{label} must be refused ({words})"),
            Err(text) => {
                assert!(!accepted, "{label} must be accepted, but: {text}");
                assert!(text.contains(words) && text.contains(host), "{label}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_good_certificate_passes_every_mode() {
    let authority = Authority::new("root");
    let own = authority.issue(server_params());
    expect(&own, &authority.pem(), "db.example", [true; 3], "").await;
    expect(&own, &authority.pem(), "127.0.0.1", [true; 3], "").await;
}

#[tokio::test]
async fn a_wrong_name_fails_only_verify_full() {
    let authority = Authority::new("root");
    let own = authority.issue(server_params());
    expect(
        &own,
        &authority.pem(),
        "other.example",
        [true, true, false],
        "another name",
    )
    .await;
    expect(&own, &authority.pem(), "127.0.0.2", [true, true, false], "another name").await;
    expect(
        &own,
        &authority.pem(),
        "not a name!",
        [true, true, false],
        "neither a DNS name",
    )
    .await;
}

#[tokio::test]
async fn another_name_can_be_expected_instead_of_the_hosts() {
    let authority = Authority::new("root");
    let mut params = server_params();
    params.subject_alt_names = vec![SanType::DnsName("*.database.example".try_into().expect("a name"))];
    let own = authority.issue(params);
    for (expected, accepted) in [
        (None, false),
        (Some("erp.database.example"), true),
        (Some("*.database.example"), true),
        (Some("*.example"), false),
        (Some("db.example"), false),
    ] {
        let settings = ClientTlsSettings {
            expected_name: expected.map(str::to_owned),
            ..client_settings(Verification::AuthorityAndName(Roots::Pem(authority.pem())))
        };
        let client = ClientTls::new(&settings).expect("usable settings");
        let (_, outcome) = handshake(&server(&own), &client, "db.example").await;
        assert_eq!(outcome.is_ok(), accepted, "{expected:?}");
    }
    let settings = ClientTlsSettings {
        expected_name: Some("no name".to_owned()),
        ..client_settings(Verification::None)
    };
    let error = ClientTls::new(&settings).expect_err("not a name").to_string();
    assert!(error.contains("\"no name\""), "{error}");
}

#[tokio::test]
async fn a_pinned_certificate_is_the_only_one() {
    let authority = Authority::new("root");
    let (own, other) = (authority.issue(server_params()), authority.issue(server_params()));
    let exactly = |issued: &Issued| Verification::Exactly(Pem::new("ServerCertificate", issued.certificate.clone()));
    assert_eq!(verdict(&own, exactly(&own), "any.name").await, Ok(()));
    assert!(verdict(&own, exactly(&other), "db.example").await.is_err());
    // Not even one that the pinned certificate has signed.
    let pinned_authority = Verification::Exactly(authority.pem());
    assert!(verdict(&own, pinned_authority, "db.example").await.is_err());
}

#[tokio::test]
async fn an_unknown_authority_fails_both_verify_modes() {
    let own = Authority::new("root").issue(server_params());
    // The same name, another key: names prove nothing.
    let roots = Authority::new("root").pem();
    let [none, ca, full] = three_modes(&roots);
    assert_eq!(verdict(&own, none, "db.example").await, Ok(()));
    for verification in [ca, full] {
        let text = verdict(&own, verification, "db.example")
            .await
            .expect_err("not this authority");
        assert!(text.contains("certificate of db.example is refused"), "{text}");
    }
    let roots = Authority::new("another").pem();
    expect(
        &own,
        &roots,
        "db.example",
        [true, false, false],
        "no authority in sslrootcert has signed it",
    )
    .await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_only_as_itself() {
    let mut params = server_params();
    // As "openssl req -x509" makes it.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = self_signed(params.clone());
    let itself = Pem::new("sslrootcert", own.certificate.clone());
    expect(&own, &itself, "db.example", [true; 3], "").await;
    expect(&own, &itself, "other.example", [true, true, false], "another name").await;
    let impostor = self_signed(params);
    for verification in three_modes(&itself).into_iter().skip(1) {
        verdict(&impostor, verification, "db.example")
            .await
            .expect_err("the same words under another key");
    }
}

/// A server that shows `own` without looking at it, as a real server with a forgotten certificate does.
async fn careless_server(own: &Issued, verification: Verification) -> io::Result<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(own.der.clone())],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key"),
        )
        .expect("a pair");
    let (server_socket, client_socket) = pair();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let client = client(verification);
    let (_, outcome) = tokio::join!(
        acceptor.accept(server_socket),
        tls::connect(client_socket, "db.example", &client, proof())
    );
    outcome.map(drop)
}

#[tokio::test]
async fn an_expired_certificate_fails_both_verify_modes() {
    let authority = Authority::new("root");
    let mut params = server_params();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let own = authority.issue(params.clone());
    let [none, ca, full] = three_modes(&authority.pem());
    careless_server(&own, none).await.expect("nothing is verified");
    for verification in [ca, full] {
        let error = careless_server(&own, verification).await.expect_err("it has expired");
        assert!(
            tls::is_untrusted(&error) && error.to_string().contains("it has expired"),
            "{error}"
        );
    }
    let itself = self_signed(params);
    let [_, ca, _] = three_modes(&Pem::new("sslrootcert", itself.certificate.clone()));
    let error = careless_server(&itself, ca)
        .await
        .expect_err("being listed does not make it eternal");
    assert!(error.to_string().contains("it has expired"), "{error}");
}

#[tokio::test]
async fn the_common_name_counts_only_without_an_alternative_name_of_the_kind() {
    let authority = Authority::new("root");
    let old_style = authority.issue(named("db.example"));
    expect(&old_style, &authority.pem(), "db.example", [true; 3], "").await;
    expect(
        &old_style,
        &authority.pem(),
        "other.example",
        [true, true, false],
        "another name",
    )
    .await;
    let mut params = server_params();
    params.distinguished_name.push(DnType::CommonName, "admin.example");
    let both = authority.issue(params);
    expect(
        &both,
        &authority.pem(),
        "admin.example",
        [true, true, false],
        "another name",
    )
    .await;
    let wildcard = authority.issue(named("*.example"));
    expect(&wildcard, &authority.pem(), "db.example", [true; 3], "").await;
    expect(
        &wildcard,
        &authority.pem(),
        "a.db.example",
        [true, true, false],
        "another name",
    )
    .await;
}

fn client_certificate(own: &Issued) -> ClientCertificate {
    ClientCertificate {
        certificate: Pem::new("sslcert", own.certificate.clone()),
        key: Pem::new("sslkey", own.key.clone()),
        passphrase: None,
    }
}

#[tokio::test]
async fn client_certificates_required_optional_absent_and_wrong() {
    let authority = Authority::new("clients");
    let own = Authority::new("servers").issue(server_params());
    let mut params = named("alice");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let alice = authority.issue(params.clone());
    let mallory = Authority::new("clients").issue(params.clone());
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let late = authority.issue(params);
    let modes = [
        (ClientCertificates::Ignored, [true, true, true]),
        (ClientCertificates::Optional(authority.pem()), [true, true, false]),
        (ClientCertificates::Required(authority.pem()), [false, true, false]),
    ];
    for versions in [TlsVersions::All, TlsVersions::Only12] {
        for (mode, accepted) in modes.clone() {
            let mut settings = server_settings(&own);
            settings.client_certificates = mode.clone();
            settings.versions = versions;
            let server = ServerTls::new(&settings).expect("usable material");
            for (shown, accepted) in [None, Some(&alice), Some(&mallory)].into_iter().zip(accepted) {
                let mut settings = client_settings(Verification::None);
                settings.certificate = shown.map(client_certificate);
                let client = ClientTls::new(&settings).expect("usable settings");
                let (at_server, at_client) = handshake(&server, &client, "db.example").await;
                assert_eq!(
                    at_server.is_ok(),
                    accepted,
                    "{mode:?} {versions:?}: {:?}",
                    at_server.err()
                );
                assert_eq!(
                    at_client.is_ok(),
                    accepted,
                    "{mode:?} {versions:?}: {:?}",
                    at_client.err()
                );
                let (Ok(stream), false) = (at_server, matches!(mode, ClientCertificates::Ignored)) else {
                    continue;
                };
                let name = stream
                    .peer_certificate()
                    .and_then(|seen| tls::certificate_common_name(seen));
                assert_eq!(name.as_deref(), shown.map(|_| "alice"));
            }
        }
    }
    let mut settings = client_settings(Verification::None);
    settings.certificate = Some(client_certificate(&late));
    let error = ClientTls::new(&settings).expect_err("an expired certificate is found before it is used");
    assert!(matches!(error.problem, Problem::Expired { .. }), "{error}");
}

#[tokio::test]
async fn versions_alpn_and_what_the_stream_knows() {
    let own = Authority::new("root").issue(server_params());
    let mut settings = server_settings(&own);
    settings.alpn = vec![b"postgresql".to_vec()];
    let server = ServerTls::new(&settings).expect("usable material");
    let mut settings = client_settings(Verification::None);
    settings.alpn = vec![b"postgresql".to_vec()];
    let (at_server, at_client) = handshake(&server, &ClientTls::new(&settings).expect("usable"), "db.example").await;
    for stream in [at_server.expect("agreed"), at_client.expect("agreed")] {
        assert_eq!(stream.alpn(), Some(&b"postgresql"[..]));
        assert_eq!(stream.tls_version(), Some("TLSv1.3"));
        assert!(stream.is_encrypted());
    }
    settings.alpn = vec![b"http/1.1".to_vec()];
    let (at_server, _) = handshake(&server, &ClientTls::new(&settings).expect("usable"), "db.example").await;
    at_server.expect_err("a client that wants another protocol is refused");
    settings.alpn = vec![];
    settings.versions = TlsVersions::Only12;
    let (at_server, at_client) = handshake(&server, &ClientTls::new(&settings).expect("usable"), "db.example").await;
    assert_eq!(at_server.expect("no ALPN is no refusal").alpn(), None);
    let at_client = at_client.expect("agreed");
    assert_eq!(at_client.tls_version(), Some("TLSv1.2"));
    assert_eq!(
        at_client.peer_certificate().map(|der| der.to_vec()),
        Some(own.der.clone())
    );
}

#[tokio::test]
async fn a_reload_changes_the_next_session_and_no_other() {
    let authority = Authority::new("root");
    let (old, new) = (authority.issue(server_params()), authority.issue(server_params()));
    let material = Reloadable::new(server(&old));
    let [_, _, full] = three_modes(&authority.pem());
    let client = client(full);
    let (Ok(mut old_at_server), Ok(mut old_at_client)) = handshake(&material.current(), &client, "db.example").await
    else {
        panic!("the first handshake")
    };
    let mut bad = server_settings(&new);
    bad.key = Pem::new("sslkey", old.key.clone());
    ServerTls::new(&bad).expect_err("bad material cannot even be offered");
    assert_eq!(material.current().certificate().as_ref(), old.der);

    material.replace(server(&new));
    let (_, new_at_client) = handshake(&material.current(), &client, "db.example").await;
    let shown = new_at_client.expect("the second handshake");
    assert_eq!(shown.peer_certificate().map(|der| der.to_vec()), Some(new.der.clone()));
    old_at_client
        .write_all(b"still here")
        .await
        .expect("the old session works");
    old_at_client.flush().await.expect("the old session works");
    let mut read = [0; 10];
    old_at_server
        .read_exact(&mut read)
        .await
        .expect("the old session works");
    assert_eq!(&read, b"still here");
}

#[tokio::test]
async fn clear_text_is_never_executed_after_the_handshake() {
    let own = Authority::new("root").issue(server_params());
    // In the gateway's buffer: no proof, no handshake.
    assert!(NothingBuffered::check(b"\0\0\0\x08").is_err());
    // In the kernel's buffer: TLS reads it and breaks off, and nothing of it comes out.
    let (server_socket, mut attacker) = pair();
    attacker
        .write_all(b"\0\0\0\x29\0\x03\0\0user\0admin\0")
        .await
        .expect("room");
    let server = server(&own);
    let outcome = tokio::time::timeout(HANG, tls::accept(server_socket, &server, proof())).await;
    outcome.expect("no hang").expect_err("clear text is no handshake");
    // And the mirror image, from a false server.
    let (client_socket, mut attacker) = pair();
    attacker
        .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
        .await
        .expect("room");
    let client = client(Verification::None);
    let outcome = tokio::time::timeout(HANG, tls::connect(client_socket, "db.example", &client, proof())).await;
    let error = outcome.expect("no hang").expect_err("clear text is no handshake");
    assert!(
        !tls::is_untrusted(&error) && error.to_string().contains("TLS handshake with db.example failed"),
        "{error}"
    );
}

fn refused(settings: &ServerTlsSettings) -> MaterialError {
    ServerTls::new(settings).expect_err("unusable material")
}

#[test]
fn unusable_material_is_named() {
    let authority = Authority::new("root");
    let (own, other) = (authority.issue(server_params()), authority.issue(server_params()));
    let good = server_settings(&own);

    let mut settings = good.clone();
    settings.key = Pem::new("sslkey (/etc/weir/key.pem)", other.key.clone());
    let text = refused(&settings).to_string();
    assert_eq!(
        text,
        "sslkey (/etc/weir/key.pem): the private key does not belong to the certificate of sslcert"
    );

    let mut settings = good.clone();
    settings.certificate = Pem::new("sslcert", "nothing here");
    assert_eq!(refused(&settings).problem, Problem::NoCertificate);
    settings.certificate = Pem::new("sslcert", own.certificate.replace("-----END", "-----ENDE"));
    assert!(matches!(refused(&settings).problem, Problem::NotPem(_)));
    settings.certificate = Pem::new(
        "sslcert",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    assert!(matches!(refused(&settings).problem, Problem::BadCertificate(_)));

    let mut settings = good.clone();
    settings.key = Pem::new("sslkey", own.certificate.clone());
    assert_eq!(refused(&settings).problem, Problem::NoKey);
    settings.key = Pem::new("sslkey", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");
    assert!(matches!(refused(&settings).problem, Problem::UnsupportedEncryption(_)));

    for (from, until, expired) in [(2020, 2021, true), (2100, 2101, false)] {
        let mut params = server_params();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let error = refused(&server_settings(&authority.issue(params)));
        assert_eq!(matches!(error.problem, Problem::Expired { .. }), expired, "{error}");
        assert_eq!(
            matches!(error.problem, Problem::NotYetValid { .. }),
            !expired,
            "{error}"
        );
    }

    let mut settings = good.clone();
    settings.client_certificates = ClientCertificates::Required(Pem::new("sslrootcert", ""));
    assert_eq!(refused(&settings).to_string().split(':').next(), Some("sslrootcert"));
    let server = ServerTls::new(&good).expect("usable material");
    assert!(server.expires_at().is_some());
    assert!(!format!("{good:?}").contains("PRIVATE"), "keys are not printed");
}

/// Runs the openssl command line tool; the tests that need it make what rcgen cannot.
fn openssl(directory: &std::path::Path, arguments: &str) {
    let output = std::process::Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split(' '))
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn keys_under_a_passphrase() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = Authority::new("root").issue(server_params());
    std::fs::write(directory.path().join("open.pem"), &own.key).expect("writable");
    for encryption in ["-v2 aes-256-cbc -v2prf hmacWithSHA256", "-v2 aes-128-cbc", "-scrypt"] {
        openssl(
            directory.path(),
            &format!("pkcs8 -topk8 -in open.pem -out locked.pem -passout pass:open-sesame {encryption}"),
        );
        let mut settings = server_settings(&own);
        settings.key = Pem::new(
            "sslkey",
            std::fs::read(directory.path().join("locked.pem")).expect("written"),
        );
        assert_eq!(refused(&settings).problem, Problem::NeedsPassphrase);
        settings.passphrase = Some(Secret::new("open-barley".to_owned()));
        assert_eq!(refused(&settings).problem, Problem::WrongPassphrase);
        settings.passphrase = Some(Secret::new("open-sesame".to_owned()));
        ServerTls::new(&settings).unwrap_or_else(|error| panic!("{encryption}: {error}"));
    }
    openssl(
        directory.path(),
        "pkcs8 -topk8 -in open.pem -out locked.pem -passout pass:open-sesame -v2 des3 -v2prf hmacWithSHA1",
    );
    let mut settings = server_settings(&own);
    settings.passphrase = Some(Secret::new("open-sesame".to_owned()));
    settings.key = Pem::new(
        "sslkey",
        std::fs::read(directory.path().join("locked.pem")).expect("written"),
    );
    let error = refused(&settings);
    assert!(matches!(error.problem, Problem::UnsupportedEncryption(_)), "{error}");
}

/// X.509 version 1, as the recipe in PostgreSQL's manual made it for years.
#[tokio::test]
async fn version_1_certificates_work_where_nothing_is_verified() {
    let directory = tempfile::tempdir().expect("a directory");
    openssl(
        directory.path(),
        "req -new -nodes -newkey rsa:2048 -keyout key.pem -out request.pem -subj /CN=db.example",
    );
    openssl(
        directory.path(),
        "x509 -req -in request.pem -days 30 -signkey key.pem -out certificate.pem",
    );
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("written");
    let own = Issued {
        certificate: read("certificate.pem"),
        key: read("key.pem"),
        der: vec![],
    };
    let itself = Pem::new("sslrootcert", own.certificate.clone());
    expect(&own, &itself, "db.example", [true; 3], "").await;
    let mut settings = client_settings(Verification::None);
    settings.versions = TlsVersions::Only12;
    let client = ClientTls::new(&settings).expect("usable");
    let (_, outcome) = handshake(&server(&own), &client, "db.example").await;
    outcome.expect("the signature is verified with the key alone in TLS 1.2, too");
}

#[test]
fn the_channel_binding_hash_follows_the_signature() {
    let hash_length = |algorithm: &'static SignatureAlgorithm| {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = server_params().self_signed(&key).expect("a certificate");
        tls::certificate_binding_hash(certificate.der()).map(|hash| hash.len())
    };
    assert_eq!(hash_length(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
    assert_eq!(hash_length(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
    assert_eq!(hash_length(&rcgen::PKCS_ED25519), None, "RFC 5929 defines none");
}

#[test]
fn the_channel_binding_hash_of_rsa_signatures_is_openssls() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = [
        ("-sha1", "sha256"),
        ("-sha256", "sha256"),
        ("-sha384", "sha384"),
        ("-sha512", "sha512"),
        ("-sha384 -sigopt rsa_padding_mode:pss", "sha384"),
    ];
    for (options, expected) in options {
        openssl(
            directory.path(),
            &format!("req -x509 -nodes -newkey rsa:2048 -keyout key.pem -out c.der -outform DER -subj /CN=x {options}"),
        );
        openssl(directory.path(), &format!("dgst -{expected} -binary -out digest c.der"));
        let digest = std::fs::read(directory.path().join("digest")).expect("written");
        let der = std::fs::read(directory.path().join("c.der")).expect("written");
        assert_eq!(tls::certificate_binding_hash(&der), Some(digest), "{options}");
    }
}
