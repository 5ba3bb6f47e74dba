//! A tree of values against the schema of [`raw`](super::raw): unknown and missing keys, wrong types, numbers out of
//! range, words that are none of the choices, services that are not built yet. Everything is reported in one walk; what is
//! wrong is then replaced by a harmless value, so that the rest can be read and checked too.

use std::{collections::HashSet, sync::LazyLock};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{
    problem::{Cause, Found, Problem, shown},
    raw::RawConfig,
    tree::join,
};

/// The schema of a document, without references.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::default().with(|s| s.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<RawConfig>().to_value()
    });
    &SCHEMA
}

/// Walks a document and leaves one that [`RawConfig`] can be read from. Returns the paths whose value was replaced: what
/// a later check finds there or below is not the operator's doing.
pub(super) fn walk(document: &mut Value, found: &mut Found) -> HashSet<String> {
    if document.is_null() {
        *document = Value::Object(Map::new());
    }
    let mut shape = Shape { found, replaced: HashSet::new() };
    shape.value(schema(), document, Place { path: "", id: None });
    shape.replaced
}

struct Shape<'a> {
    found: &'a mut Found,
    replaced: HashSet<String>,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    id: Option<&'a str>,
}

impl Shape<'_> {
    fn add(
        &mut self,
        at: Place<'_>,
        value: Option<String>,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.found.push(Problem {
            path: at.path.to_owned(),
            id: at.id.map(shown),
            value,
            what: what.into(),
            way_out: way_out.into(),
            cause: Cause::Itself,
        });
    }

    /// Reports a value of the wrong kind and replaces it.
    fn replace(&mut self, at: Place<'_>, value: &mut Value, with: Value, what: &str, way_out: String) {
        self.add(at, Some(brief(value)), what, way_out);
        self.replaced.insert(at.path.to_owned());
        *value = with;
    }

    fn value(&mut self, schema: &Value, value: &mut Value, at: Place<'_>) {
        let wanted = || format!("give {}", wanted(schema));
        match kind(schema) {
            "object" if value.is_object() => self.object(schema, value, at),
            "object" => self.replace(at, value, Value::Object(Map::new()), "is no mapping of keys", wanted()),
            "array" if value.is_array() => self.list(schema, value, at),
            "array" => self.replace(at, value, Value::Array(Vec::new()), "is no list", wanted()),
            "string" => self.text(schema, value, at),
            "integer" => self.number(schema, value, at),
            "boolean" if value.is_boolean() => {}
            "boolean" => self.replace(at, value, Value::Bool(true), "is not true or false", wanted()),
            _ => {}
        }
    }

    fn object(&mut self, schema: &Value, value: &mut Value, at: Place<'_>) {
        let Some(object) = value.as_object_mut() else { return };
        // A key without a value says nothing.
        object.retain(|_, value| !value.is_null());
        let own_id = object.get("id").and_then(|id| match id {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        });
        // The id of a VLAN binding is a number of another kind; the name of the network around it says more.
        let id = at.id.or(own_id.as_deref());
        let empty = Map::new();
        let known = schema["properties"].as_object().unwrap_or(&empty);
        for key in object.keys().filter(|key| !known.contains_key(*key)) {
            let path = join(at.path, key);
            let way_out = if self.found.is_full() { String::new() } else { did_you_mean(key, known) };
            self.add(Place { path: &path, id }, None, "is no key that is known here", way_out);
        }
        object.retain(|key, _| known.contains_key(key));
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(required) {
                let path = join(at.path, required);
                self.add(
                    Place { path: &path, id },
                    None,
                    "is missing",
                    format!("give {}", wanted(&known[required])),
                );
            }
        }
        for (key, schema) in known {
            let Some(value) = object.get_mut(key) else { continue };
            let path = join(at.path, key);
            let at = Place { path: &path, id };
            match schema["x-unbuilt"].as_str() {
                Some(service) => self.unbuilt(service, value, at),
                None => self.value(schema, value, at),
            }
        }
        object.retain(|_, value| !value.is_null());
    }

    /// A key of a service that is not built yet. An empty list asks for nothing.
    fn unbuilt(&mut self, service: &str, value: &mut Value, at: Place<'_>) {
        if value.as_array().is_none_or(|items| !items.is_empty()) {
            self.add(
                at,
                None,
                format!("asks for {service}, which this version does not have yet"),
                "remove the key",
            );
        }
        *value = Value::Null;
    }

    fn list(&mut self, schema: &Value, value: &mut Value, at: Place<'_>) {
        let Some(items) = value.as_array_mut() else { return };
        let len = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|min| len < min) {
            self.add(at, None, "is an empty list", format!("give {}", wanted(schema)));
        }
        if let Some(max) = schema["maxItems"].as_u64().filter(|max| len > *max) {
            self.add(at, None, format!("has {len} items"), format!("give at most {max}"));
            items.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        }
        for (i, item) in items.iter_mut().enumerate() {
            let path = format!("{}[{i}]", at.path);
            self.value(&schema["items"], item, Place { path: &path, id: at.id });
        }
        items.retain(|item| !item.is_null());
    }

    fn text(&mut self, schema: &Value, value: &mut Value, at: Place<'_>) {
        match value {
            Value::String(_) => {}
            // `id: 7` means the text.
            Value::Number(n) if n.is_i64() || n.is_u64() => *value = Value::String(n.to_string()),
            Value::Number(_) | Value::Bool(_) => {
                return self.replace(at, value, "".into(), "is no text", "put it in quotes".into());
            }
            _ => {
                return self.replace(at, value, "".into(), "is no text", format!("give {}", wanted(schema)));
            }
        }
        if let Some(choices) = schema["enum"].as_array()
            && !choices.contains(value)
        {
            self.add(at, Some(brief(value)), "is none of the choices", format!("give {}", wanted(schema)));
            *value = Value::Null;
        }
    }

    fn number(&mut self, schema: &Value, value: &mut Value, at: Place<'_>) {
        let what = match value.as_u64() {
            Some(n) => {
                let bound = |name: &str| schema[name].as_u64();
                let low = bound("minimum").is_some_and(|min| n < min);
                if !low && bound("maximum").is_none_or(|max| n <= max) {
                    return;
                }
                "is out of range"
            }
            None if value.is_i64() => "is out of range",
            None => "is no whole number",
        };
        self.replace(at, value, Value::Null, what, format!("give {}", wanted(schema)));
    }
}

/// The type of a schema, `null` left aside.
pub(super) fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or(""),
        _ => "",
    }
}

/// What a schema wants, in words.
fn wanted(schema: &Value) -> String {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", choices.join(", "));
    }
    match (kind(schema), schema["format"].as_str().unwrap_or("")) {
        ("object", _) => "a mapping of keys".into(),
        ("array", _) if schema["minItems"].is_u64() => "a list of one or more".into(),
        ("array", _) => "a list".into(),
        ("boolean", _) => "true or false".into(),
        ("integer", _) => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "a whole number".into(),
        },
        (_, "id") => "the name of the object".into(),
        (_, "address") => "an IPv4 address".into(),
        (_, "address/length") => "an IPv4 address with prefix length, as in 192.0.2.1/24".into(),
        (_, "CIDR") => "a subnet, as in 192.0.2.0/24".into(),
        (_, "ports") => "a port or the first and the last, as in 2222 or 2222-2224".into(),
        (_, "rate") => "a rate, as in 100Mbit/s".into(),
        (_, "size") => "a number of bytes, as in 256KiB".into(),
        (_, "action") => "pass, drop, precedence or a DSCP".into(),
        (_, "first-last") => "the first and the last, as in 200-2500".into(),
        (_, "address:port") => "an address and a port, as in 127.0.0.1:9472".into(),
        _ => "text".into(),
    }
}

/// A value in a problem.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
        other => shown(&other.to_string()),
    }
}

fn did_you_mean(key: &str, known: &Map<String, Value>) -> String {
    let distance = |known: &str| strsim::damerau_levenshtein(key, known);
    // Comparing is quadratic in the length; no key of ours is near this long.
    let near = known.keys().filter(|_| key.len() <= 64).min_by_key(|known| distance(known));
    match near.filter(|near| distance(near) <= near.len().div_ceil(3)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it".into(),
    }
}
