//! The document as a tree: the order of a path's operations, and `const`, which `utoipa`'s types cannot express.

use utoipa::openapi::OpenApi;
use yaml_serde::{Error, Mapping, Value, to_value};

/// The methods of a path in the order in which viewers show them: an object is created before it is read.
const METHODS: [&str; 4] = ["put", "get", "post", "delete"];

/// The document as a tree that keeps the order of its members, in JSON and in YAML.
pub(crate) fn ordered_document(document: &OpenApi) -> Result<Value, Error> {
    let mut tree = to_value(document)?;
    let paths = tree.get_mut("paths").and_then(Value::as_mapping_mut);
    for path in paths.into_iter().flat_map(Mapping::values_mut) {
        order_methods(path);
    }
    Ok(with_constants(tree))
}

fn order_methods(path: &mut Value) {
    let Value::Mapping(operations) = path else { return };
    for method in METHODS {
        if let Some((name, operation)) = operations.shift_remove_entry(method) {
            operations.insert(name, operation);
        }
    }
}

/// Turns each `enum` with a single value into a `const`.
fn with_constants(tree: Value) -> Value {
    match tree {
        Value::Mapping(members) => Value::Mapping(members.into_iter().map(constant).collect()),
        Value::Sequence(items) => items.into_iter().map(with_constants).collect(),
        other => other,
    }
}

fn constant((name, value): (Value, Value)) -> (Value, Value) {
    match value {
        Value::Sequence(mut values) if values.len() == 1 && name == "enum" => {
            (Value::from("const"), values.remove(0))
        }
        value => (name, with_constants(value)),
    }
}
