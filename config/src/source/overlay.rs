//! `sources[].configuration` in `gateway.yaml`: replaces parts of the configuration in `databases.yaml`.

use crate::{
    context::Context,
    pool::announce,
    yaml::{Node, Value},
};

/// Puts `over` on `base`: mappings key by key, everything else as a whole.
pub(super) fn merge(cx: &mut Context<'_>, base: &mut Node, over: &Node) {
    let is_reference = is_reference(base) || is_reference(over);
    match (&mut base.value, &over.value) {
        (Value::Map(entries), Value::Map(overs)) if !is_reference => {
            for over in overs {
                match entries.iter_mut().find(|entry| entry.key == over.key) {
                    Some(entry) => {
                        if !matches!((&entry.value.value, &over.value.value), (Value::Map(_), Value::Map(_))) {
                            announce(cx, &over.key, &over.value.place, &entry.value.place);
                        }
                        merge(cx, &mut entry.value, &over.value);
                    }
                    None => entries.push(over.clone()),
                }
            }
        }
        _ => *base = over.clone(),
    }
}

/// A mapping that stands for one value. Merging two of them would make a value that nobody wrote.
fn is_reference(node: &Node) -> bool {
    ["from_env", "dynamic_from_file"]
        .iter()
        .any(|key| node.get(key).is_some())
}
