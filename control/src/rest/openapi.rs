//! The OpenAPI document (3.1) and the table in `docs/api.md`, both from the table of requests and the schemas of its types.
//! `GOLDEN_UPDATE=1 cargo test -p tidegate-control manual` writes `docs/openapi.json` and the table anew.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use axum::{http::header::CONTENT_TYPE, response::IntoResponse};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    ProblemDocument, Why,
    endpoint::{self, Endpoint, Sent},
    guard,
    object::scalar_keys,
};
use crate::{config, desired::Kind, show::Table};

const COLLECTION: &str = "{collection}";
const TABLE: &str = "{*table}";

pub(super) async fn serve() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for endpoint in endpoint::all() {
        for place in places(endpoint.path) {
            let path = paths.entry(place.path.clone()).or_default();
            path.insert(
                endpoint.method.as_str().to_lowercase(),
                operation(&endpoint, &place, &mut generator),
            );
        }
    }
    let problem = generator.subschema_for::<ProblemDocument>();
    let mut schemas = generator.take_definitions(true);
    for kind in Kind::ALL {
        schemas.insert(
            kind.section().to_owned(),
            config::schema()["properties"][kind.section()]["items"].clone(),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Desired state of a gateway for virtual private clouds; docs/api.md is the guide.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "certificate": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": refusals(&problem.to_value()),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" },
            },
        },
    })
}

/// One path of the document.
struct Place {
    path: String,
    kind: Option<Kind>,
}

/// A path of the table, once for each kind or table that it stands for.
fn places(path: &str) -> Vec<Place> {
    if path.contains(COLLECTION) {
        let of = |kind: &Kind| Place { path: path.replace(COLLECTION, kind.section()), kind: Some(*kind) };
        return Kind::ALL.iter().map(of).collect();
    }
    if path.contains(TABLE) {
        return Table::all()
            .map(|table| Place { path: path.replace(TABLE, table.name()), kind: None })
            .collect();
    }
    vec![Place { path: path.to_owned(), kind: None }]
}

fn operation(endpoint: &Endpoint, place: &Place, generator: &mut SchemaGenerator) -> Value {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = place.path.trim_start_matches("/v1/").chars().map(word).collect();
    let method = endpoint.method.as_str().to_lowercase();
    let tag = match place.kind {
        Some(kind) => kind.section(),
        None => place.path.split('/').nth(2).unwrap_or_default(),
    };
    let mut operation = json!({
        "operationId": format!("{method}_{}", name.replace("__", "_").trim_matches('_')),
        "summary": endpoint.about,
        "tags": [tag],
        "parameters": parameters(endpoint, place, generator),
        "responses": answers(endpoint, place, generator),
    });
    if let Some(body) = endpoint.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body, place, generator) });
    }
    operation
}

fn parameters(endpoint: &Endpoint, place: &Place, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut all = Vec::new();
    for name in place.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "generation" => json!({ "type": "integer", "minimum": 0 }),
            _ => json!({ "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$" }),
        };
        all.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    let query = endpoint.query.map(|query| query(generator).to_value()).unwrap_or_default();
    for (name, schema) in query["properties"].as_object().into_iter().flatten() {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        all.push(json!({ "name": name, "in": "query", "description": about, "schema": schema }));
    }
    if let Some(kind) = place.kind.filter(|_| endpoint.path == endpoint::COLLECTION) {
        for key in scalar_keys(kind) {
            let about = format!("Only objects with this `{key}`.");
            all.push(
                json!({ "name": key, "in": "query", "description": about, "schema": { "type": "string" } }),
            );
        }
    }
    for name in endpoint.conditions() {
        let about = "An etag in quotes, several, or `*`; docs/api.md.";
        all.push(
            json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } }),
        );
    }
    all
}

fn answers(endpoint: &Endpoint, place: &Place, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let done = json!({ "description": "Done.", "content": content(endpoint.answer, place, generator) });
    let mut all = Map::from_iter([("200".to_owned(), done.clone())]);
    if endpoint.path == endpoint::OBJECT && endpoint.method == "PUT" {
        all.insert("201".to_owned(), done);
    }
    if endpoint.path == endpoint::OBJECT && endpoint.method == "GET" {
        all["200"]["headers"] = json!({ "etag": { "schema": { "type": "string" } } });
        all.insert("304".to_owned(), json!({ "description": "The client has it already." }));
    }
    for why in endpoint.refusals.iter().chain(endpoint::ALWAYS) {
        let status = why.status().as_u16().to_string();
        all.insert(status.clone(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    all
}

fn content(sent: Sent, place: &Place, generator: &mut SchemaGenerator) -> Value {
    let object = || match place.kind {
        Some(kind) => json!({ "$ref": format!("#/components/schemas/{kind}") }),
        None => json!({ "type": "object" }),
    };
    match sent {
        Sent::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
        Sent::Object => json!({ "application/json": { "schema": object() } }),
        Sent::MergePatch => json!({ "application/merge-patch+json": { "schema": { "type": "object" } } }),
        Sent::Events(schema) => {
            json!({ "text/event-stream": { "schema": { "type": "string" }, "x-event-data": schema(generator) } })
        }
        Sent::File => json!({ "application/yaml": { "schema": { "type": "object" } } }),
    }
}

/// What stands behind each status of a refusal.
fn refusals(schema: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    for why in Why::ALL {
        let status = why.status().as_u16().to_string();
        let with = |said: &str| format!("{said}`urn:tidegate:problem:{}`: {}.", why.slug(), why.title());
        let said = all.get(&status).and_then(|present: &Value| present["description"].as_str());
        let about = said.map_or_else(|| with(""), |said| with(&format!("{said} ")));
        let content = json!({ "application/problem+json": { "schema": schema } });
        all.insert(status, json!({ "description": about, "content": content }));
    }
    all
}

/// The tables of `docs/api.md`.
pub fn tables() -> String {
    let mut text = "| Request | Role | Query | Does |\n|---|---|---|---|\n".to_owned();
    for endpoint in endpoint::all() {
        let query = endpoint.query.map(|query| query(&mut SchemaGenerator::default()).to_value());
        let query = query.unwrap_or_default();
        let keys = query["properties"].as_object().into_iter().flatten().map(|(key, _)| format!("`{key}`"));
        let (keys, path) = (keys.collect::<Vec<_>>().join(", "), endpoint.path.replace(TABLE, "{table}"));
        let role = guard::role_for(&endpoint.method).name();
        _ = writeln!(text, "| `{} {path}` | {role} | {keys} | {} |", endpoint.method, endpoint.about);
    }
    text += "\n| Status | Type, behind `urn:tidegate:problem:` | Means |\n|---|---|---|\n";
    for why in Why::ALL {
        _ = writeln!(text, "| {} | `{}` | {} |", why.status().as_u16(), why.slug(), why.title());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn docs(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
    }

    fn is_up_to_date(name: &str, text: &str) {
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            fs::write(docs(name), text).unwrap();
        }
        let found = fs::read_to_string(docs(name)).unwrap_or_default();
        assert!(found == text, "docs/{name}: run make docs-update");
    }

    #[test]
    fn the_manual_is_up_to_date() {
        const BEGIN: &str = "<!-- Written by make docs-update: begin -->\n";
        const END: &str = "<!-- end -->\n";
        let page = fs::read_to_string(docs("api.md")).unwrap();
        let (head, rest) = page.split_once(BEGIN).unwrap();
        let (_, foot) = rest.split_once(END).unwrap();
        is_up_to_date("api.md", &format!("{head}{BEGIN}{}{END}{foot}", tables()));
    }

    #[test]
    fn the_manual_for_programs_is_up_to_date() {
        is_up_to_date("openapi.json", &format!("{:#}\n", document()));
    }

    #[test]
    fn what_the_document_refers_to_is_in_it() {
        fn refs(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    object.values().for_each(|value| refs(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| refs(value, found)),
                _ => {}
            }
        }
        let (document, mut found) = (document(), Vec::new());
        refs(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
