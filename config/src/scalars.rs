//! Reading scalars: numbers, words, texts and secrets, each written out or as `{from_env: NAME}`.
//!
//! Invariant: a message quotes what is written in the file for numbers and fixed words, and never what an environment
//! variable or a file holds, nor any secret.

use std::{path::PathBuf, time::Duration};

use weir_core::secret::Secret;

use crate::{
    context::Context,
    fields::{self, Fields},
    keys::{self, Key},
    limits,
    model::{PATH_PREFIX_VARIABLE, SecretFile, SecretSource},
    problem::Place,
    quote::shorten,
    words::{self, Words},
    yaml::{Node, Value},
};

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, place: &Place) -> Self {
        Located {
            value,
            place: place.clone(),
        }
    }
}

/// A scalar after `from_env`.
enum Scalar<'n> {
    Written(&'n Value),
    Variable { name: String, value: String },
}

impl Scalar<'_> {
    /// `the string "25,"`, or where it came from when it must not be shown.
    fn describe(&self) -> String {
        match self {
            Scalar::Variable { name, .. } => format!("something else in environment variable '{name}'"),
            Scalar::Written(Value::String(text)) => format!("the string \"{}\"", shorten(text)),
            Scalar::Written(Value::Bool(value)) => value.to_string(),
            Scalar::Written(Value::Number(_, text)) => text.clone(),
            Scalar::Written(Value::List(_)) => "a list".to_owned(),
            Scalar::Written(Value::Map(_)) => "a mapping".to_owned(),
            Scalar::Written(Value::Twice) => "two values (the key is written twice)".to_owned(),
            Scalar::Written(_) => "nothing".to_owned(),
        }
    }
}

/// Looks through `{from_env: NAME}`. `None` when the variable is missing or the value is broken, which is then reported.
fn scalar<'n>(cx: &mut Context<'_>, name: &str, node: &'n Node) -> Option<Scalar<'n>> {
    if node.value == Value::Broken {
        return None;
    }
    if node.get("from_env").is_none() {
        return Some(Scalar::Written(&node.value));
    }
    let variable = from_env(cx, name, node)?;
    let value = cx.variable(&variable, &node.place)?;
    Some(Scalar::Variable { name: variable, value })
}

/// The name in `{from_env: NAME}`.
pub(crate) fn from_env(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<String> {
    let fields = Fields::of(cx, node, name, &keys::source::FROM_ENV)?;
    let variable = fields.required(cx, "from_env", name)?;
    match variable.as_str().filter(|name| is_variable_name(name)) {
        Some(variable) => Some(variable.to_owned()),
        None => {
            cx.error(&variable.place, "from_env must be the name of an environment variable");
            None
        }
    }
}

/// Whether a text can be shown as a variable's name. People write the URL itself there, with its password.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// The text that a name has, without a word about what is wrong with it: whoever reads the key for good says that.
pub(crate) fn peek(cx: &Context<'_>, node: &Node) -> Option<String> {
    let text = match node.get("from_env") {
        Some(variable) => cx.env.variable(variable.as_str()?)?,
        None => node.as_str()?.to_owned(),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A text.
pub(crate) fn text(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<String> {
    match scalar(cx, name, node)? {
        Scalar::Variable { value, .. } => Some(value),
        Scalar::Written(Value::String(text)) => Some(text.clone()),
        other @ Scalar::Written(Value::Number(..) | Value::Bool(_)) => {
            cx.error(
                &node.place,
                format!("{name} must be a string, got {}: put it in quotes", other.describe()),
            );
            None
        }
        _ => {
            cx.error(&node.place, format!("{name} must be a string, got {}", node.describe()));
            None
        }
    }
}

/// A text that is not empty.
pub(crate) fn name(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<String> {
    let text = text(cx, name, node)?;
    match text.is_empty() || text.contains('\0') {
        true => {
            cx.error(&node.place, format!("{name} must not be empty"));
            None
        }
        false => Some(text),
    }
}

/// A text, number or boolean as it is written.
pub(crate) fn as_written(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<String> {
    match &node.value {
        Value::Number(_, text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        _ => text(cx, name, node),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<bool> {
    let scalar = scalar(cx, name, node)?;
    let value = match &scalar {
        Scalar::Written(Value::Bool(value)) => Some(*value),
        Scalar::Variable { value, .. } => match value.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        Scalar::Written(_) => None,
    };
    if value.is_none() {
        cx.error(
            &node.place,
            format!("{name} must be true or false, got {}", scalar.describe()),
        );
    }
    value
}

/// One of a table of words.
pub(crate) fn word<T: Copy>(cx: &mut Context<'_>, name: &str, node: &Node, words: Words<T>) -> Option<T> {
    word_or(cx, name, node, words, |unknown| format!("{name}{unknown}"))
}

/// One of a table of words, with a message of the caller's for another one that is written in the file.
pub(crate) fn word_or<T: Copy>(
    cx: &mut Context<'_>,
    name: &str,
    node: &Node,
    words: Words<T>,
    message: impl FnOnce(words::Unknown) -> String,
) -> Option<T> {
    let text = text(cx, name, node)?;
    match words::find(words, &text) {
        Ok(meaning) => Some(meaning),
        Err(unknown) => {
            let message = match is_written(node) {
                true => message(unknown),
                false => format!(
                    "{name} comes from an environment variable that holds none of {}",
                    unknown.expected()
                ),
            };
            cx.error(&node.place, message);
            None
        }
    }
}

/// Whether the value itself stands in the file, so that a message may quote it.
pub(crate) fn is_written(node: &Node) -> bool {
    node.get("from_env").is_none()
}

/// A whole number within the bounds of its key.
pub(crate) fn integer(cx: &mut Context<'_>, key: &Key, node: &Node) -> Option<u32> {
    let (number, shown) = number(cx, key.name, node)?;
    if number.fract() != 0.0 {
        cx.error(&node.place, format!("{} must be a whole number, got {shown}", key.name));
        return None;
    }
    let (least, most) = key.bounds().into_inner();
    if !within(cx, key.name, node, number, &shown, least.into(), most.into()) {
        return None;
    }
    // Within the bounds of two u32.
    Some(number as u32)
}

/// Seconds, fractions allowed, as many as the key says at least.
pub(crate) fn seconds(cx: &mut Context<'_>, key: &Key, node: &Node) -> Option<Duration> {
    let (number, shown) = number(cx, key.name, node)?;
    within(
        cx,
        key.name,
        node,
        number,
        &shown,
        key.least_seconds(),
        limits::MAX_SECONDS,
    )
    .then(|| Duration::from_secs_f64(number))
}

fn within(cx: &mut Context<'_>, name: &str, node: &Node, number: f64, shown: &str, least: f64, most: f64) -> bool {
    if (least..=most).contains(&number) {
        return true;
    }
    match number < least {
        true => cx.error(&node.place, format!("{name} must be at least {least}, got {shown}")),
        false => cx.error(&node.place, format!("{name} must be at most {most}, got {shown}")),
    }
    false
}

/// A number and how to show it.
fn number(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<(f64, String)> {
    let scalar = scalar(cx, name, node)?;
    let number = match &scalar {
        Scalar::Written(Value::Number(number, text)) => Some((*number, text.clone())),
        Scalar::Variable { name, value } => value
            .trim()
            .parse()
            .ok()
            .map(|number| (number, format!("another value in environment variable '{name}'"))),
        Scalar::Written(_) => None,
    };
    let number = number.filter(|(number, _)| number.is_finite());
    if number.is_none() {
        cx.error(
            &node.place,
            format!("{name} must be a number, got {}{}", scalar.describe(), advice(&scalar)),
        );
    }
    number
}

/// How to turn a string into the number that was probably meant.
fn advice(scalar: &Scalar<'_>) -> &'static str {
    let Scalar::Written(Value::String(text)) = scalar else {
        return "";
    };
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
    match text.trim() {
        text if text.strip_suffix(',').is_some_and(is_number) => ": remove the comma",
        text if text.strip_suffix(';').is_some_and(is_number) => ": remove the semicolon",
        text if is_number(text) => ": remove the quotes",
        text if text.strip_suffix("ms").is_some_and(is_number) => ": write seconds without a unit",
        text if text.strip_suffix(['s', 'm', 'h']).is_some_and(is_number) => ": write seconds without a unit",
        _ => "",
    }
}

/// A secret: written out, `{from_env}` or `{dynamic_from_file}`.
pub(crate) fn secret(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<SecretSource> {
    if node.get("dynamic_from_file").is_some() {
        return dynamic_file(cx, name, node).map(SecretSource::File);
    }
    match scalar(cx, name, node)? {
        Scalar::Variable { value, .. } => Some(SecretSource::Literal(Secret::new(value))),
        Scalar::Written(Value::String(text)) => Some(SecretSource::Literal(Secret::new(text.clone()))),
        Scalar::Written(Value::Map(_)) => {
            cx.error(
                &node.place,
                format!("{name} must be a string, {{from_env: NAME}} or {{dynamic_from_file: /path}}"),
            );
            None
        }
        Scalar::Written(value) => {
            let advice = if matches!(value, Value::Number(..) | Value::Bool(_)) {
                ": put it in quotes"
            } else {
                ""
            };
            cx.error(
                &node.place,
                format!("{name} must be a string, got {}{advice}", node.describe()),
            );
            None
        }
    }
}

/// `{dynamic_from_file: /path}`, with the rule of the allowed prefix.
pub(crate) fn dynamic_file(cx: &mut Context<'_>, name: &str, node: &Node) -> Option<SecretFile> {
    let fields = Fields::of(cx, node, name, &keys::source::FROM_FILE)?;
    let value = fields.required(cx, "dynamic_from_file", name)?;
    let path = PathBuf::from(self::name(cx, "dynamic_from_file", value)?);
    secret_file(cx, path, &value.place)
}

/// A file below `dynamic_from_file`. One that cannot be read now is a warning: it is read again when it is needed.
pub(crate) fn secret_file(cx: &mut Context<'_>, path: PathBuf, place: &Place) -> Option<SecretFile> {
    if cx.secrets_prefix.is_none() {
        cx.error(
            place,
            format!(
                "dynamic_from_file: {} is not under {PATH_PREFIX_VARIABLE}, which is not set",
                path.display()
            ),
        );
        return None;
    }
    let file = SecretFile {
        path,
        allowed_prefix: cx.secrets_prefix.clone(),
    };
    if !file.is_allowed() {
        cx.error(
            place,
            format!(
                "dynamic_from_file: {} is not under {PATH_PREFIX_VARIABLE}",
                file.path.display()
            ),
        );
        return None;
    }
    cx.files.push(file.path.clone());
    if let Err(error) = file.read() {
        cx.warn(
            place,
            format!("dynamic_from_file: {error}; it is read again each time it is needed"),
        );
    }
    Some(file)
}

/// A list of texts that are not empty; items that are wrong are reported and left out.
pub(crate) fn names(cx: &mut Context<'_>, what: &str, node: &Node) -> Option<Vec<Located<String>>> {
    let items = fields::list(cx, node, what)?;
    Some(
        items
            .iter()
            .filter_map(|item| name(cx, what, item).map(|text| Located::new(text, &item.place)))
            .collect(),
    )
}
