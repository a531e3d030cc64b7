//! Who may log in, and what the server answers.

use std::sync::Arc;

use crate::mssql::{
    failure::Failure,
    observe::SessionRecord,
    shared::{Cancel, Shared},
    wire::{
        login::Login,
        tokens::{self, Done, DoneKind, Width, command, done},
        types::COLLATION,
    },
};

/// TDSVersion of TDS 8.0, in LOGIN7 and LOGINACK. Microsoft's ODBC driver says 7.4 there, even under strict encryption.
const TDS_8: u32 = 0x0800_0000;
/// Feature SESSIONRECOVERY.
const SESSION_RECOVERY: u8 = 0x01;
/// Feature UTF8_SUPPORT.
const UTF8_SUPPORT: u8 = 0x0A;

/// A login that was accepted.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) spid: u16,
    pub(crate) database: String,
    pub(crate) language: String,
    pub(crate) packet_size: u16,
    pub(crate) version: u32,
    /// SESSIONSTATE was negotiated.
    pub(crate) session_state: bool,
    pub(crate) response: Vec<u8>,
    pub(crate) cancel: Arc<Cancel>,
}

impl Admitted {
    /// For the test itself.
    pub(crate) fn internal(spid: u16, database: &str, cancel: Arc<Cancel>) -> Admitted {
        Admitted {
            spid,
            database: database.to_owned(),
            language: "us_english".to_owned(),
            packet_size: 4096,
            version: 0x7400_0004,
            session_state: false,
            response: Vec::new(),
            cancel,
        }
    }
}

/// The payload of the refusal, or the admission.
pub(crate) fn check(shared: &Shared, login: &Login, encryption: &'static str) -> Result<Admitted, Vec<u8>> {
    let width = Width::of(login.version);
    let refuse = |failures: &[Failure]| {
        let mut out = Vec::new();
        failures
            .iter()
            .for_each(|failure| tokens::error(&mut out, width, failure, shared.name()));
        let last = Done {
            kind: DoneKind::Done,
            status: done::ERROR,
            command: command::NONE,
            rows: 0,
        };
        last.put(width, &mut out);
        out
    };
    let version = match login.version {
        0x7100_0000..0x7200_0000 => 0x7100_0001,
        0x7200_0000..0x7300_0000 => 0x7209_0002,
        0x7300_0000..0x730B_0000 => 0x730A_0003,
        0x730B_0000..0x7400_0000 => 0x730B_0003,
        0x7400_0000.. | TDS_8 => 0x7400_0004,
        _ => {
            return Err(refuse(&[Failure::new(
                17836,
                20,
                17,
                "The stand-in server speaks TDS 7.1 to 7.4 and 8.0.",
            )]));
        }
    };
    if login.flags[1] & 0x80 != 0 {
        let text = "Login failed. The stand-in server knows SQL logins only.";
        return Err(refuse(&[Failure::new(18452, 14, 1, text)]));
    }
    if !login.change_password.is_empty() || login.feature(SESSION_RECOVERY).is_some_and(|data| !data.is_empty()) {
        let text = "The stand-in server neither changes passwords nor recovers sessions.";
        return Err(refuse(&[Failure::new(17828, 20, 4, text)]));
    }
    let known = shared
        .options
        .logins
        .iter()
        .any(|(name, password)| name.eq_ignore_ascii_case(&login.user) && *password == login.password);
    let denied = Failure::new(18456, 14, 1, format!("Login failed for user '{}'.", login.user));
    if !known {
        return Err(refuse(&[denied]));
    }
    let wanted = if login.database.is_empty() {
        shared.options.databases.first().map_or("master", String::as_str)
    } else {
        &login.database
    };
    let Some(database) = shared.database(wanted) else {
        let text = format!("Cannot open database \"{wanted}\" requested by the login. The login failed.");
        return Err(refuse(&[Failure::new(4060, 11, 1, text), denied]));
    };
    let language = if login.language.is_empty() {
        "us_english".to_owned()
    } else {
        login.language.clone()
    };
    let asked = match login.packet_size {
        0 => u32::from(shared.options.packet_size),
        asked => asked,
    };
    let most = if encryption == "none" { 32_764 } else { 16_383 };
    let packet_size = (asked.clamp(512, most) & !3) as u16;
    let cancel = Arc::new(Cancel::default());
    let spid = shared.admit(&cancel);
    let session_state = !shared.probe() && login.feature(SESSION_RECOVERY).is_some();
    let mut admitted = Admitted {
        spid,
        database,
        language,
        packet_size,
        version,
        session_state,
        response: Vec::new(),
        cancel,
    };
    admitted.response = if shared.probe() {
        probe_response(shared, login, &admitted)
    } else {
        response(shared, login, &admitted)
    };
    shared.observed.opened(SessionRecord {
        spid,
        open: true,
        login: login.user.clone(),
        database: admitted.database.clone(),
        server: login.server.clone(),
        application: login.application.clone(),
        library: login.library.clone(),
        tds_version: login.version,
        packet_size,
        encryption,
        features: login.features.iter().map(|(id, _)| *id).collect(),
        read_only_intent: login.flags[2] & 0x20 != 0,
        isolation: 2,
        ..SessionRecord::default()
    });
    Ok(admitted)
}

/// As SQL Server orders it: database, collation, language, acknowledgement, packet size, features.
fn response(shared: &Shared, login: &Login, admitted: &Admitted) -> Vec<u8> {
    let mut out = Vec::new();
    let name = shared.name();
    database_changed(
        &mut out,
        Width::of(admitted.version),
        &admitted.database,
        "master",
        name,
        5701,
    );
    tokens::environment_bytes(&mut out, 7, &COLLATION, &[]);
    tokens::environment_text(&mut out, 2, &admitted.language, "");
    tokens::info(
        &mut out,
        Width::of(admitted.version),
        &language_changed(&admitted.language),
        name,
    );
    let (major, minor, build) = shared.version();
    let [high, low] = build.to_be_bytes();
    tokens::login_acknowledgement(&mut out, acknowledged(login, admitted), [major, minor, high, low]);
    let size = admitted.packet_size.to_string();
    tokens::environment_text(&mut out, 4, &size, &login.packet_size.max(4096).to_string());
    let mut features = Vec::new();
    if admitted.session_state {
        let mut initial = Vec::new();
        tokens::put_states(
            &mut initial,
            &super::settings::initial_states(&admitted.database, &admitted.language),
        );
        features.push((SESSION_RECOVERY, initial));
    }
    if login.feature(UTF8_SUPPORT).is_some() {
        features.push((UTF8_SUPPORT, vec![1]));
    }
    if !features.is_empty() {
        tokens::features(&mut out, &features);
    }
    last_done(&mut out, Width::of(admitted.version), 0);
    out
}

fn probe_response(shared: &Shared, login: &Login, admitted: &Admitted) -> Vec<u8> {
    let mut out = Vec::new();
    let name = shared.name();
    let size = admitted.packet_size.to_string();
    if login.packet_size != 4096 {
        tokens::environment_text(&mut out, 4, &size, "4096");
    }
    database_changed(&mut out, Width::of(admitted.version), &admitted.database, "", name, 0);
    if login.flags[0] & 0x80 != 0 && !login.language.is_empty() {
        tokens::environment_text(&mut out, 2, &admitted.language, &admitted.language);
        tokens::info(
            &mut out,
            Width::of(admitted.version),
            &language_changed(&admitted.language),
            name,
        );
    }
    tokens::environment_bytes(&mut out, 7, &COLLATION, &[]);
    let (major, minor, build) = shared.version();
    let [high, low] = build.to_be_bytes();
    tokens::login_acknowledgement(&mut out, acknowledged(login, admitted), [major, minor, high, low]);
    last_done(&mut out, Width::of(admitted.version), command::OTHER);
    out
}

fn acknowledged(login: &Login, admitted: &Admitted) -> u32 {
    if login.version == TDS_8 {
        TDS_8
    } else {
        admitted.version
    }
}

fn last_done(out: &mut Vec<u8>, width: Width, command: u16) {
    let last = Done {
        kind: DoneKind::Done,
        status: 0,
        command,
        rows: 0,
    };
    last.put(width, out);
}

/// ENVCHANGE and INFO of another current database.
pub(crate) fn database_changed(out: &mut Vec<u8>, width: Width, new: &str, old: &str, server: &str, number: i32) {
    tokens::environment_text(out, 1, new, old);
    let state = if number == 0 { 1 } else { 2 };
    let text = format!("Changed database context to '{new}'.");
    tokens::info(out, width, &Failure::new(number, 0, state, text), server);
}

pub(crate) fn language_changed(language: &str) -> Failure {
    Failure::new(5703, 0, 1, format!("Changed language setting to {language}."))
}
