//! Redirect rules: access lists of the stock proxy, as far as they say a host, the begin of a path, or both. They are regular
//! expressions of three forms; what is in them beyond a name, a wildcard in front of it and a prefix is refused.

use serde_json::{Value, json};

use super::text;

/// Most characters of an expression.
const LEN_MAX: usize = 1024;

/// A rule as it stands in a listener, without its group.
pub(super) fn read(rule: &str, port: i64) -> Result<Value, String> {
    let refused = || format!("redirectRule: {} is of no form that is served", text::shown(rule));
    let (test, expression) = rule.trim().split_once(" -i ").ok_or_else(refused)?;
    let expression = expression.trim();
    if expression.len() > LEN_MAX {
        return Err(refused());
    }
    match test.trim() {
        "path_beg" if expression.starts_with('/') => Ok(json!({ "path": expression })),
        "hdr_reg(host)" => Ok(json!({ "host": host(expression, port).ok_or_else(refused)? })),
        "base_reg" => {
            let at = expression.find('/').ok_or_else(refused)?;
            let (name, path) = expression.split_at(at);
            let path = literal(path.trim_end_matches(".*")).ok_or_else(refused)?;
            match host(name, port) {
                Some(host) => Ok(json!({ "host": host, "path": path })),
                None if matches!(name, "" | "^" | ".*" | "^.*") => Ok(json!({ "path": path })),
                None => Err(refused()),
            }
        }
        _ => Err(refused()),
    }
}

/// A name, or `*.` and a name. The listener's port may follow it.
fn host(expression: &str, port: i64) -> Option<String> {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let expression = expression.strip_suffix('$').unwrap_or(expression);
    let expression = expression.strip_suffix(&format!(":{port}")).unwrap_or(expression);
    const ANY_NAME: [&str; 7] = [r".*\.", r"*\.", r".+\.", r"[^.]+\.", r"[^.]*\.", "*.", ".*."];
    let (wildcard, name) = match ANY_NAME.iter().find_map(|any| expression.strip_prefix(any)) {
        Some(name) => ("*.", name),
        None => ("", expression),
    };
    let name = literal(name)?.to_ascii_lowercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let fits = (1..=253).contains(&name.len()) && name.bytes().all(legal) && !name.starts_with(['.', '-']);
    fits.then(|| format!("{wildcard}{name}"))
}

/// An expression that stands for one text. A dot may stand for itself.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = expression.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(|c| !c.is_alphanumeric())?),
            '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_become_hosts_and_paths() {
        for (rule, expected) in [
            ("path_beg -i /shop", json!({ "path": "/shop" })),
            (r"hdr_reg(host) -i ^www\.example\.com$", json!({ "host": "www.example.com" })),
            (r"hdr_reg(host) -i ^www\.example\.com:8080$", json!({ "host": "www.example.com" })),
            (r"hdr_reg(host) -i ^.*\.example\.com$", json!({ "host": "*.example.com" })),
            (
                r"base_reg -i ^www\.example\.com:8080/shop",
                json!({ "host": "www.example.com", "path": "/shop" }),
            ),
            (r"base_reg -i ^[^.]+\.example\.com/a\.b.*", json!({ "host": "*.example.com", "path": "/a.b" })),
        ] {
            assert_eq!(read(rule, 8080), Ok(expected), "{rule}");
        }
        for rule in [
            "",
            "path_end -i .png",
            "path_beg -i shop",
            r"hdr_reg(host) -i (a|b)\.example\.com",
            "base_reg -i x",
        ] {
            assert!(read(rule, 80).is_err(), "{rule}");
        }
    }
}
