//! `docs/config.md`, from the schema: every key with its type, default and meaning. A test keeps the file up to date;
//! `GOLDEN_UPDATE=1 cargo test -p tidegate-control manual` writes it anew.

use std::fmt::Write;

use serde_json::Value;

use super::shape::{kind, schema};

const HEAD: &str = "\
# Configuration

<!-- Written by `GOLDEN_UPDATE=1 cargo test -p tidegate-control manual` from control/src/config/raw.rs. -->

One document in YAML or JSON. It is desired state: reading the same document again changes nothing. `tidegate check FILE`
reports everything that is wrong with a document, each with its path, its value and a way out; a document with a problem
changes nothing. Examples that load are in [`examples/`](examples).

- Unknown keys, duplicate keys and values of the wrong type are refused. A key without a value counts as left out.
- An *id* is 1 to 64 letters, digits, `.`, `_` and `-`, and unique within its kind. Reference keys name an id.
- MTUs are those of IP: bytes of the IP packet, without Ethernet header and tag.
- Subnets and our addresses are unicast: nothing in 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4 or 240.0.0.0/4.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut unbuilt = Vec::new();
    section(&mut page, "document", "", schema(), &mut unbuilt);
    page += "\n## Not built yet\n\nThese keys are part of the vocabulary. Until their service is built, a document that has \
        one is refused.\n\n| Key | Asks for |\n|---|---|\n";
    for (key, service) in unbuilt {
        let _ = writeln!(page, "| `{key}` | {service} |");
    }
    page
}

/// A table of one object, then those of the objects in it.
fn section(page: &mut String, title: &str, path: &str, object: &Value, unbuilt: &mut Vec<(String, String)>) {
    let _ = writeln!(page, "\n## `{title}`\n\n{}\n", line(&object["description"]));
    *page += "| Key | Type | Default | Meaning |\n|---|---|---|---|\n";
    let required = object["required"].as_array();
    let mut inner = Vec::new();
    for (key, schema) in object["properties"].as_object().into_iter().flatten() {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if let Some(service) = schema["x-unbuilt"].as_str() {
            unbuilt.push((full, service.to_owned()));
            continue;
        }
        let is_required = required.is_some_and(|required| required.iter().any(|r| r == key));
        let default = match &schema["default"] {
            _ if is_required => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            default => format!("`{default}`"),
        };
        let (meaning, of) = (line(&schema["description"]), type_of(schema));
        let _ = writeln!(page, "| `{key}` | {of} | {default} | {meaning} |");
        match kind(schema) {
            "object" => inner.push((full, schema)),
            "array" if kind(&schema["items"]) == "object" => {
                inner.push((format!("{full}[]"), &schema["items"]))
            }
            _ => {}
        }
    }
    for (path, schema) in inner {
        section(page, &path, &path, schema, unbuilt);
    }
}

fn type_of(schema: &Value) -> String {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<String> =
            choices.iter().filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect();
        return choices.join(", ");
    }
    match kind(schema) {
        "array" => {
            let item = match schema["x-item"].as_str() {
                Some(item) => item.to_owned(),
                None if kind(&schema["items"]) == "object" => "objects".to_owned(),
                None => type_of(&schema["items"]),
            };
            let most = schema["maxItems"].as_u64().map(|max| format!(", at most {max}"));
            format!("list of {item}{}", most.unwrap_or_default())
        }
        "integer" => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "whole number".to_owned(),
        },
        "boolean" => "`true`, `false`".to_owned(),
        "string" => schema["format"].as_str().unwrap_or("text").to_owned(),
        other => other.to_owned(),
    }
}

/// A description on one line of a table.
fn line(description: &Value) -> String {
    description.as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    #[test]
    fn the_manual_is_up_to_date() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md"));
        let page = super::page();
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "run GOLDEN_UPDATE=1 cargo test -p tidegate-control manual");
    }
}
