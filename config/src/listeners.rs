//! Where clients connect: `listeners` of `gateway.yaml`, `WEIR_PG_LISTEN` and `WEIR_MSSQL_LISTEN`, or the defaults.
//!
//! Invariant: as long as nobody can be authenticated (no user, no `auth_query`), every listener that is opened is bound
//! to a loopback address, and trusts what comes from there.

use std::{net::IpAddr, path::PathBuf};

use weir_core::settings::Origins;

use crate::{
    context::Context,
    fields::{self, Fields},
    gateway_file::State,
    keys, layer,
    model::{Admission, InconsistentListener, Listener, ListenerKind, ListenerTls, ListenerTlsMode},
    problem::{Place, Subject},
    quote::shorten,
    scalars, tls,
    words::{self, Words},
    yaml::Node,
};

const EVERYWHERE: &str = "0.0.0.0";
const LOOPBACK: &str = "127.0.0.1";

/// The result: what to open, and what not.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) consistent: Vec<Listener>,
    pub(crate) inconsistent: Vec<InconsistentListener>,
}

/// Reads the listeners. `kinds` are the protocols of the declared sources.
pub(crate) fn read(
    cx: &mut Context<'_>,
    node: Option<&Node>,
    state: State,
    admission: Admission,
    kinds: &[ListenerKind],
) -> Listeners {
    let mut drafts = Vec::new();
    match node {
        _ if state == State::Unknown => {
            let reason = "gateway.yaml cannot be read, so that nothing is known about users".to_owned();
            let inconsistent = kinds.iter().map(|&kind| InconsistentListener {
                name: kind.as_str().to_owned(),
                kind: Some(kind),
                reason: reason.clone(),
            });
            return Listeners {
                consistent: Vec::new(),
                inconsistent: inconsistent.collect(),
            };
        }
        Some(node) => {
            for (position, item) in fields::list(cx, node, "listeners")
                .unwrap_or_default()
                .iter()
                .enumerate()
            {
                drafts.push(declared(cx, item, position, admission));
            }
        }
        None => drafts.extend(
            kinds
                .iter()
                .map(|&kind| Draft::sound(Listener::default_of(kind, admission), Place::whole("built-in default"))),
        ),
    }
    for (variable, kind) in [
        ("WEIR_PG_LISTEN", ListenerKind::Postgres),
        ("WEIR_MSSQL_LISTEN", ListenerKind::Mssql),
    ] {
        from_environment(cx, variable, kind, admission, &mut drafts);
    }
    check(cx, &mut drafts, admission);
    sort(drafts)
}

/// A listener while the list is being read.
struct Draft {
    name: String,
    kind: Option<ListenerKind>,
    listener: Option<Listener>,
    place: Place,
    reasons: Vec<String>,
}

impl Draft {
    fn sound(listener: Listener, place: Place) -> Self {
        Draft {
            name: listener.name.clone(),
            kind: Some(listener.kind),
            listener: Some(listener),
            place,
            reasons: Vec::new(),
        }
    }
}

impl Listener {
    fn default_of(kind: ListenerKind, admission: Admission) -> Self {
        Listener {
            name: kind.as_str().to_owned(),
            kind,
            host: if admission == Admission::Checked {
                EVERYWHERE
            } else {
                LOOPBACK
            }
            .to_owned(),
            port: default_port(kind),
            unix_socket_dir: None,
            max_client_connections: None,
            proxy_protocol: false,
            tls: None,
            clear_text_only: false,
            trust_loopback: admission == Admission::LoopbackOnly,
            origins: Origins::default(),
        }
    }
}

fn default_port(kind: ListenerKind) -> u16 {
    match kind {
        ListenerKind::Postgres => 6432,
        ListenerKind::Mssql => 14330,
    }
}

fn declared(cx: &mut Context<'_>, node: &Node, position: usize, admission: Admission) -> Draft {
    let written = node
        .get("name")
        .or(node.get("kind"))
        .and_then(|node| scalars::peek(cx, node));
    let name = written.unwrap_or_else(|| format!("listener {}", position + 1));
    let (listener, reasons) = cx.about(Subject::Listener(name.clone()), |cx| one(cx, node, &name, admission));
    let kind = node
        .get("kind")
        .and_then(Node::as_str)
        .and_then(|text| words::find(words::LISTENER_KINDS, text).ok());
    Draft {
        name,
        kind,
        listener,
        place: node.place.clone(),
        reasons,
    }
}

fn one(cx: &mut Context<'_>, node: &Node, name: &str, admission: Admission) -> Option<Listener> {
    let fields = Fields::of(cx, node, "a listener", &keys::listener::KEYS)?;
    let kind = fields.required(cx, "kind", "the listener");
    let kind = kind.and_then(|node| scalars::word(cx, "kind", node, words::LISTENER_KINDS))?;
    let mut listener = Listener {
        name: name.to_owned(),
        ..Listener::default_of(kind, admission)
    };
    if let Some(node) = fields.get("name") {
        scalars::name(cx, "name", node)?;
    }
    if let Some(node) = fields.get("host") {
        listener.host = host(&scalars::name(cx, "host", node)?);
    }
    if let Some(node) = fields.get("port") {
        // Port 0 lets the system choose one.
        listener.port = u16::try_from(scalars::integer(cx, &keys::listener::PORT, node)?).ok()?;
    }
    if let Some(node) = fields.get("unix_socket_dir") {
        listener.unix_socket_dir = scalars::name(cx, "unix_socket_dir", node).map(PathBuf::from);
        if kind == ListenerKind::Mssql {
            cx.error(&node.place, "unix_socket_dir is for postgres listeners only");
        }
    }
    if let Some(node) = fields.get("max_client_connections") {
        listener.max_client_connections = layer::client_limit(cx, node);
        listener.origins = layer::origins("max_client_connections", Some(&node.place));
    }
    if let Some(node) = fields.get("proxy_protocol") {
        listener.proxy_protocol = scalars::boolean(cx, "proxy_protocol", node).unwrap_or(false);
    }
    if let Some(node) = fields.get("trust_loopback") {
        listener.trust_loopback |= scalars::boolean(cx, "trust_loopback", node).unwrap_or(false);
    }
    if let Some(node) = fields.get("ssl_configuration") {
        listener.tls = listener_tls(cx, node, kind);
        // Or it is wrong, and the listener is not opened.
        listener.clear_text_only = listener.tls.is_none();
    }
    if listener.proxy_protocol && listener.trust_loopback {
        cx.error(fields.place(), "proxy_protocol lets clients from elsewhere arrive from a loopback address, so that these cannot be trusted: add users or an auth_query, and leave trust_loopback out");
    }
    Some(listener)
}

fn host(text: &str) -> String {
    match text {
        "*" => EVERYWHERE,
        "localhost" => LOOPBACK,
        text => text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text),
    }
    .to_owned()
}

fn listener_tls(cx: &mut Context<'_>, node: &Node, kind: ListenerKind) -> Option<ListenerTls> {
    const WHAT: &str = "ssl_configuration";
    let fields = Fields::of(cx, node, WHAT, &keys::source::TLS)?;
    let modes = if kind == ListenerKind::Mssql {
        MSSQL_MODES
    } else {
        MODES
    };
    let mode = fields
        .required(cx, "sslmode", WHAT)
        .and_then(|node| scalars::word(cx, "sslmode", node, modes));
    let material = tls::material(cx, fields)?;
    let mode = mode??;
    let missing = |cx: &mut Context<'_>, key: &str| {
        cx.error(
            fields.place(),
            format!("{WHAT} of a listener needs {key} unless sslmode is disable"),
        )
    };
    if material.certificate.is_none() {
        missing(cx, "sslcert");
    }
    if material.key.is_none() {
        missing(cx, "sslkey");
    }
    let asks_certificate = matches!(
        mode,
        ListenerTlsMode::ClientCertificate | ListenerTlsMode::ClientCertificateNamed
    );
    if asks_certificate && material.root_certificate.is_none() {
        cx.error(
            fields.place(),
            "sslmode verify-ca and verify-full of a listener check client certificates, which needs sslrootcert",
        );
    }
    Some(ListenerTls {
        mode,
        certificate: material.certificate?,
        key: material.key?,
        key_password: material.key_password,
        client_root_certificate: material.root_certificate,
    })
}

/// `WEIR_PG_LISTEN` and its sister: `host:port`, `:port` or `port`, for the first listener of the kind.
fn from_environment(
    cx: &mut Context<'_>,
    variable: &str,
    kind: ListenerKind,
    admission: Admission,
    drafts: &mut Vec<Draft>,
) {
    let Some((text, place)) = cx.setting(variable) else {
        return;
    };
    let Some((address, port)) = address(&text) else {
        cx.error(&place, "must be host:port, for example 127.0.0.1:6432 or [::1]:6432");
        return;
    };
    let draft = match drafts.iter_mut().position(|draft| draft.kind == Some(kind)) {
        Some(position) => &mut drafts[position],
        None => {
            drafts.push(Draft::sound(Listener::default_of(kind, admission), place.clone()));
            let last = drafts.len() - 1;
            &mut drafts[last]
        }
    };
    draft.place = place;
    if let Some(listener) = &mut draft.listener {
        listener.port = port;
        if let Some(address) = address {
            listener.host = host(address);
        }
    }
}

fn address(text: &str) -> Option<(Option<&str>, u16)> {
    let text = text.trim();
    match text.rsplit_once(':') {
        None => Some((None, text.parse().ok()?)),
        Some(("", port)) => Some((None, port.parse().ok()?)),
        // An IPv6 address without brackets has more colons.
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => None,
        Some((host, port)) => Some((Some(host), port.parse().ok()?)),
    }
}

/// What concerns listeners as a whole: names and addresses are unique, and nobody unknown comes in from outside.
fn check(cx: &mut Context<'_>, drafts: &mut [Draft], admission: Admission) {
    for position in 0..drafts.len() {
        let (earlier, rest) = drafts.split_at_mut(position);
        let draft = &mut rest[0];
        let place = draft.place.clone();
        let subject = Subject::Listener(draft.name.clone());
        let ((), reasons) = cx.about(subject, |cx| {
            if earlier.iter().any(|earlier| earlier.name == draft.name) {
                cx.error(&place, format!("there are two listeners with the name \"{}\"", shorten(&draft.name)));
            }
            let Some(listener) = &draft.listener else { return };
            let same = |other: &&Listener| other.port == listener.port && listener.port != 0 && overlap(&other.host, &listener.host);
            if let Some(other) = earlier.iter().filter_map(|earlier| earlier.listener.as_ref()).find(same) {
                cx.error(&place, format!("{}:{} is also the address of listener \"{}\"", listener.host, listener.port, shorten(&other.name)));
            }
            if admission == Admission::LoopbackOnly && !listener.is_loopback() {
                cx.error(
                    &place,
                    format!(
                        "listener \"{}\" is bound to {}, but nobody could be authenticated: add users to gateway.yaml or an auth_query to a source, or bind it to {LOOPBACK}",
                        shorten(&draft.name),
                        shorten(&listener.host)
                    ),
                );
            }
        });
        draft.reasons.extend(reasons);
    }
}

/// Whether one socket would take what the other is for. Each family has its own socket, so that `0.0.0.0` and `::` do not.
fn overlap(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()),
        // A name may be of either family.
        (Ok(address), Err(_)) | (Err(_), Ok(address)) => address.is_unspecified(),
        (Err(_), Err(_)) => a == b,
    }
}

fn sort(drafts: Vec<Draft>) -> Listeners {
    let mut listeners = Listeners::default();
    for draft in drafts {
        match draft.listener {
            Some(listener) if draft.reasons.is_empty() => listeners.consistent.push(listener),
            _ => listeners.inconsistent.push(InconsistentListener {
                name: draft.name,
                kind: draft.kind,
                reason: draft.reasons.join("; "),
            }),
        }
    }
    listeners
}

const MODES: Words<Option<ListenerTlsMode>> = &[
    ("disable", None),
    ("allow", Some(ListenerTlsMode::Optional)),
    ("prefer", Some(ListenerTlsMode::Optional)),
    ("require", Some(ListenerTlsMode::Required)),
    ("verify-ca", Some(ListenerTlsMode::ClientCertificate)),
    ("verify-full", Some(ListenerTlsMode::ClientCertificateNamed)),
];

const MSSQL_MODES: Words<Option<ListenerTlsMode>> = &[
    ("disable", None),
    ("allow", Some(ListenerTlsMode::Optional)),
    ("prefer", Some(ListenerTlsMode::Optional)),
    ("require", Some(ListenerTlsMode::Required)),
    ("verify-ca", Some(ListenerTlsMode::ClientCertificate)),
    ("verify-full", Some(ListenerTlsMode::ClientCertificateNamed)),
    ("strict", Some(ListenerTlsMode::Strict)),
];
