//! `ssl_configuration`, with the same shape towards databases and towards clients.

use crate::{
    context::Context,
    fields::Fields,
    keys,
    model::{SecretSource, SslMode, TlsSettings},
    scalars, words,
    yaml::Node,
};

/// The TLS settings of a connection.
pub(crate) fn read(cx: &mut Context<'_>, node: &Node) -> Option<TlsSettings> {
    let fields = Fields::of(cx, node, "ssl_configuration", &keys::source::TLS)?;
    let mode = fields
        .required(cx, "sslmode", "ssl_configuration")
        .and_then(|node| mode(cx, node));
    let material = material(cx, fields)?;
    Some(TlsSettings {
        mode: mode?,
        ..material
    })
}

/// Everything but the mode.
pub(crate) fn material(cx: &mut Context<'_>, fields: Fields<'_>) -> Option<TlsSettings> {
    let root_certificate = pem(cx, fields, "sslrootcert");
    let certificate = pem(cx, fields, "sslcert");
    let key = pem(cx, fields, "sslkey");
    let key_password = fields
        .get("sslpassword")
        .map(|node| scalars::secret(cx, "sslpassword", node));
    Some(TlsSettings {
        mode: SslMode::default(),
        root_certificate: root_certificate?,
        certificate: certificate?,
        key: key?,
        key_password: match key_password {
            Some(found) => Some(found?),
            None => None,
        },
    })
}

fn mode(cx: &mut Context<'_>, node: &Node) -> Option<SslMode> {
    scalars::word_or(cx, "sslmode", node, words::SSL_MODES, |unknown| {
        let advice = unknown.nearest().map(|nearest| format!(", did you mean `{nearest}`?"));
        format!("Invalid SSL Mode {}{}", unknown.text(), advice.unwrap_or_default())
    })
}

/// PEM text. `None` when it is wrong, `Some(None)` when it is not there.
fn pem(cx: &mut Context<'_>, fields: Fields<'_>, key: &str) -> Option<Option<SecretSource>> {
    let Some(node) = fields.get(key) else { return Some(None) };
    let source = scalars::secret(cx, key, node)?;
    match &source {
        SecretSource::Literal(text) if !text.expose().contains("-----BEGIN ") => {
            cx.error(
                &node.place,
                format!("{key} does not hold PEM text (-----BEGIN …); for a file use {{dynamic_from_file: /path}}"),
            );
            None
        }
        _ => Some(Some(source)),
    }
}
