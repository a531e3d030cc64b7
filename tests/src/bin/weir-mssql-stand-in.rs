//! A stand-in SQL Server to talk to by hand: prints where it listens and runs until it is ended.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};
use weir_tests::mssql::{DATABASE, Encryption, Kind, LOGIN, Options, PASSWORD, StandIn};

#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Which server it stands in for.
    #[arg(long, value_enum, default_value = "sql-server")]
    kind: KindName,
    /// PRELOGIN encryption.
    #[arg(long, value_enum, default_value = "optional")]
    encryption: EncryptionName,
    /// `name:password` of a SQL login; may be repeated.
    #[arg(long = "login")]
    logins: Vec<String>,
    /// A database; may be repeated.
    #[arg(long = "database")]
    databases: Vec<String>,
    /// T-SQL to run in the first database at the start.
    #[arg(long)]
    setup: Option<String>,
    /// A file of T-SQL to run in the first database at the start; batches end with GO.
    #[arg(long)]
    setup_file: Option<std::path::PathBuf>,
    /// Prints every request.
    #[arg(long)]
    verbose: bool,
    /// Writes the certificate authority here, as PEM.
    #[arg(long)]
    authority: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    SqlServer,
    Probe,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncryptionName {
    Unsupported,
    Optional,
    Required,
    Strict,
}

fn main() {
    let arguments = Arguments::parse();
    let logins = arguments
        .logins
        .iter()
        .filter_map(|pair| pair.split_once(':'))
        .map(|(name, password)| (name.to_owned(), password.to_owned()));
    let mut options = Options {
        kind: match arguments.kind {
            KindName::SqlServer => Kind::SqlServer,
            KindName::Probe => Kind::Probe,
        },
        encryption: match arguments.encryption {
            EncryptionName::Unsupported => Encryption::Unsupported,
            EncryptionName::Optional => Encryption::Optional,
            EncryptionName::Required => Encryption::Required,
            EncryptionName::Strict => Encryption::Strict,
        },
        logins: logins.collect(),
        databases: arguments.databases,
        address: arguments.listen,
        ..Options::default()
    };
    if options.logins.is_empty() {
        options.logins = vec![(LOGIN.to_owned(), PASSWORD.to_owned())];
    }
    if options.databases.is_empty() {
        options.databases = vec![DATABASE.to_owned()];
    }
    let (login, password) = options.logins[0].clone();
    let database = options.databases[0].clone();
    let server = StandIn::start(options);
    if let Some(path) = arguments.authority {
        server.authority.write(&path);
    }
    if let Some(path) = arguments.setup_file {
        server.execute_script(&std::fs::read_to_string(path).expect("the file can be read"));
    }
    if let Some(setup) = arguments.setup {
        server.execute(&setup);
    }
    println!(
        "host={} port={} user={login} password={password} database={database}",
        server.address().ip(),
        server.port()
    );
    let mut shown = 0;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let requests = if arguments.verbose {
            server.requests()
        } else {
            Vec::new()
        };
        for (spid, request) in requests.iter().skip(shown) {
            println!("{spid}: {request:?}");
        }
        shown = requests.len();
    }
}
