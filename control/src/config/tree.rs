//! Text to a tree of values: YAML or JSON, whatever the keys. Duplicate keys are collected here, because no later step
//! could see them. Hostile input is bounded: by the parser's budget (depth, aliases, events) and by our own count of what
//! the tree holds, because an alias repeats its value in full.

use std::{cell::Cell, cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use super::problem::{Cause, Found, PROBLEMS_MAX, Problem, shown};

/// Largest document, in bytes: about 150,000 networks.
pub(super) const TEXT_BYTES_MAX: usize = 32 << 20;
/// Most values in the tree, after aliases are replaced.
const VALUES_MAX: usize = 4_000_000;
/// Most bytes of text in the tree, after aliases are replaced.
const SCALAR_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;
/// Most events that aliases may repeat.
const REPLAYED_MAX: usize = 500_000;
/// Deepest nesting; the vocabulary needs 6.
const DEPTH_MAX: usize = 64;

/// Reads a document. Duplicate keys are problems beside the tree, in which the first one counts.
///
/// # Errors
/// The one [`Problem`] that keeps the text from being read at all.
pub(super) fn read(text: &str, found: &mut Found) -> Result<Value, Box<Problem>> {
    let refused = |what: String, way_out: &str| Box::new(Problem::of_document(what, way_out));
    if text.len() > TEXT_BYTES_MAX {
        return Err(refused(format!("is {} bytes long", text.len()), "give at most 32 MiB"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // JSON is read as JSON first: tabs and repeated escapes are legal there and not in YAML.
    if text.trim_start().starts_with('{')
        && let Ok((value, duplicates)) = Reader::default().read_json(text)
    {
        duplicates.into_iter().for_each(|problem| found.push(problem));
        return Ok(value);
    }
    let (value, duplicates) = Reader::default().read_yaml(text).map_err(|error| {
        let place = error.location().map(|l| format!("line {} column {}: ", l.line(), l.column()));
        let cause = error.without_snippet().to_string();
        let what = format!("cannot be read: {}{}", place.unwrap_or_default(), shown(&cause));
        refused(what, "give valid YAML or JSON")
    })?;
    duplicates.into_iter().for_each(|problem| found.push(problem));
    Ok(value)
}

/// What is counted and collected while the tree grows.
#[derive(Default)]
struct Reader {
    values: Cell<usize>,
    bytes: Cell<usize>,
    duplicates: RefCell<Vec<Problem>>,
}

impl Reader {
    fn read_json(self, text: &str) -> Result<(Value, Vec<Problem>), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Node { reader: &self, path: "", depth: 0 }.deserialize(&mut json)?;
        json.end()?;
        Ok((value, self.duplicates.into_inner()))
    }

    fn read_yaml(self, text: &str) -> Result<(Value, Vec<Problem>), serde_saphyr::Error> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_events: VALUES_MAX * 2,
                max_nodes: VALUES_MAX,
                max_depth: DEPTH_MAX,
                max_documents: 1,
                max_total_scalar_bytes: SCALAR_BYTES_MAX,
            },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_MAX },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            merge_keys: MergeKeyPolicy::Merge,
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            with_snippet: false,
        };
        let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
            Node { reader: &self, path: "", depth: 0 }.deserialize(yaml)
        })?;
        Ok((value, self.duplicates.into_inner()))
    }

    fn count<E: Error>(&self, bytes: usize) -> Result<(), E> {
        self.values.set(self.values.get() + 1);
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        if self.values.get() > VALUES_MAX || self.bytes.get() > SCALAR_BYTES_MAX {
            return Err(E::custom("the document is too large once its aliases are replaced"));
        }
        Ok(())
    }
}

/// One place of the tree.
#[derive(Clone, Copy)]
struct Node<'a> {
    reader: &'a Reader,
    path: &'a str,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(D::Error::custom("nested too deeply"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.reader.count(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.reader.count(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.reader.count(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.reader.count(0)?;
        Ok(value.into())
    }

    /// Wider than any key holds: kept as text, and refused for its type.
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.visit_string(value.to_string())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.visit_string(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.reader.count(0)?;
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.reader.count(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        self.visit_string(String::from_utf8_lossy(value).into_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.reader.count(0)?;
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match seq.next_element_seed(Node { path: &path, depth: self.depth + 1, ..self })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.reader.count(0)?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.reader.count(key.len())?;
            let path = join(self.path, &key);
            let value = map.next_value_seed(Node { path: &path, depth: self.depth + 1, ..self })?;
            if object.contains_key(&key) {
                self.duplicate(path, &value);
            } else {
                object.insert(key, value);
            }
        }
        Ok(Value::Object(object))
    }
}

impl Node<'_> {
    fn duplicate(&self, path: String, value: &Value) {
        let mut duplicates = self.reader.duplicates.borrow_mut();
        if duplicates.len() > PROBLEMS_MAX {
            return;
        }
        duplicates.push(Problem {
            path,
            id: None,
            value: Some(shown(&value.to_string())),
            what: "is given for a key that is there already".into(),
            way_out: "keep one of them".into(),
            cause: Cause::Itself,
        });
    }
}

/// The path of a key.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Value, Vec<Problem>), Box<Problem>> {
        let mut found = Found::default();
        let value = super::read(text, &mut found)?;
        Ok((value, found.into_problems().0))
    }

    fn value(text: &str) -> Value {
        let (value, problems) = read(text).unwrap();
        assert_eq!(problems, [], "{text}");
        value
    }

    #[test]
    fn yaml_and_json_read_the_same() {
        let yaml = value("a:\n  - {b: 1, c: x}\n  - on\nf: ~\ne: 0755\n");
        assert_eq!(
            yaml,
            value("{\"a\":\n\t[{\"b\": 1, \"c\": \"x\"}, \"on\"],\n\t\"f\": null, \"e\": \"0755\"}")
        );
        assert_eq!(value("{a: [1, x]}"), value("{\"a\": [1, \"x\"]}"), "a flow mapping is no JSON");
        assert_eq!(value(""), Value::Null);
        assert_eq!(value("\u{feff}a: 1"), value("a: 1"));
    }

    #[test]
    fn all_duplicate_keys_are_reported() {
        for text in ["a: 1\nb: [{c: 1, c: 2}]\na: 3", r#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": 3}"#] {
            let (value, problems) = read(text).unwrap();
            let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
            assert_eq!((paths, &value["a"]), (vec!["b[0].c", "a"], &1.into()), "{text}");
        }
    }

    #[test]
    fn anchors_and_merges_are_read() {
        let text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x";
        assert_eq!(value(text), value("{x: {a: 1, b: 2}, y: {b: 3, a: 1}, z: {a: 1, b: 2}}"));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut wide = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 9].join(",");
            wide += &format!("a{i}: &a{i} [{refs}]\n");
        }
        read(&wide).unwrap_err();
        let long = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 5000].join(","));
        read(&long).unwrap_err();
        read("a: &a [*a]").unwrap_err();
    }

    #[test]
    fn depth_is_bounded() {
        for open in ["[", "{\"a\":", "{a: ", "- "] {
            read(&open.repeat(100_000)).unwrap_err();
        }
        let deep = format!("{}1{}", "[".repeat(80), "]".repeat(80));
        read(&deep).unwrap_err();
        read("a: 1\n---\nb: 1").unwrap_err();
        read("a: b: c").unwrap_err();
    }
}
