//! What a request says of the object that it means (RFC 9110 §13.1, RFC 6585 §3). Whoever replaces, patches or deletes an object says which
//! one they saw, by its etag, or `*` where they do not care; so nobody undoes a change that they have not seen.

use axum::http::{
    HeaderMap, HeaderName,
    header::{IF_MATCH, IF_NONE_MATCH},
};

use super::{Refusal, Why};
use crate::desired::Key;

/// The two headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    is: Option<Tags>,
    is_not: Option<Tags>,
}

/// What a header lists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    These(Vec<String>),
}

impl Condition {
    pub(super) fn of(headers: &HeaderMap) -> Result<Condition, Refusal> {
        Ok(Condition { is: Tags::of(headers, &IF_MATCH)?, is_not: Tags::of(headers, &IF_NONE_MATCH)? })
    }

    /// Whether the client has this one already.
    pub(super) fn has(&self, etag: &str) -> bool {
        self.is_not.as_ref().is_some_and(|tags| tags.has(etag))
    }

    /// The etag that an object must still have when it is replaced; "" where it must not be there.
    pub(super) fn to_put(&self, key: &Key, present: Option<&str>) -> Result<Option<String>, Refusal> {
        match (self, present) {
            (Condition { is_not: Some(Tags::Any), .. }, Some(present)) => {
                let what = format!("{key} is there, with the etag \"{present}\"");
                Err(changed(format!("{what}; leave out if-none-match, or choose another id")))
            }
            (Condition { is_not: Some(Tags::Any), .. } | Condition { is: None, .. }, None) => {
                Ok(Some(String::new()))
            }
            (Condition { is: Some(_), .. }, None) => {
                Err(changed(format!("{key} is not there; leave out if-match to make it")))
            }
            (_, Some(present)) => self.to_change(key, present),
        }
    }

    /// The etag that an object must still have when it is patched or deleted.
    pub(super) fn to_change(&self, key: &Key, present: &str) -> Result<Option<String>, Refusal> {
        match &self.is {
            Some(Tags::Any) => Ok(None),
            Some(tags) if tags.has(present) => Ok(Some(present.to_owned())),
            Some(_) => {
                let what = format!("the etag of {key} is \"{present}\" and not the one of if-match");
                Err(changed(format!("{what}; read it again and try again")))
            }
            None => {
                let what = format!("{key} is there, and nothing says which state of it is meant");
                let way_out = format!("give if-match: \"{present}\", or if-match: * for any");
                Err(Refusal::new(Why::Unconditional, format!("{what}; {way_out}")))
            }
        }
    }
}

fn changed(detail: String) -> Refusal {
    Refusal::new(Why::Changed, detail)
}

impl Tags {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Refusal> {
        let mut all = Vec::new();
        for value in headers.get_all(name) {
            let wrong = || {
                let detail =
                    format!("{name} is not `*` or a list of etags in quotes; give if-match: \"ETAG\"");
                Refusal::new(Why::Malformed, detail)
            };
            let text = value.to_str().map_err(|_| wrong())?.trim();
            if text == "*" {
                return Ok(Some(Tags::Any));
            }
            for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                let strong = tag.strip_prefix("W/").unwrap_or(tag);
                let inner =
                    strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(wrong)?;
                // A weak one never holds where something is changed (§8.8.3.2).
                if strong == tag || name == IF_NONE_MATCH {
                    all.push(inner.to_owned());
                }
            }
        }
        Ok(headers.contains_key(name).then_some(Tags::These(all)))
    }

    fn has(&self, etag: &str) -> bool {
        match self {
            Tags::Any => true,
            Tags::These(all) => all.iter().any(|one| one == etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Kind;

    /// By `if-match` and `if-none-match`: what a PUT expects of an object that is there, and of one that is not.
    fn put(is: Option<&str>, is_not: Option<&str>) -> [Result<Option<String>, u16>; 2] {
        let mut headers = HeaderMap::new();
        for (name, value) in [(IF_MATCH, is), (IF_NONE_MATCH, is_not)] {
            value.map(|value| headers.insert(name, value.parse().unwrap()));
        }
        let key = Key::new(Kind::Nic, "web").unwrap();
        [Some("1a"), None].map(|present| {
            let etag = Condition::of(&headers).and_then(|condition| condition.to_put(&key, present));
            etag.map_err(|refusal| refusal.why.status().as_u16())
        })
    }

    #[test]
    fn nobody_replaces_what_they_have_not_seen() {
        let (any, new, seen) = (Ok(None), Ok(Some(String::new())), Ok(Some("1a".to_owned())));
        for (is, is_not, there, absent) in [
            (None, None, Err(428), new.clone()),
            (None, Some("*"), Err(412), new.clone()),
            (Some("*"), None, any, Err(412)),
            (Some("\"1a\""), None, seen.clone(), Err(412)),
            (Some("\"2b\", \"1a\""), None, seen, Err(412)),
            (Some("\"2b\""), None, Err(412), Err(412)),
            (Some("W/\"1a\""), None, Err(412), Err(412)),
            (Some("1a"), None, Err(400), Err(400)),
            (Some("\""), None, Err(400), Err(400)),
        ] {
            assert_eq!(put(is, is_not), [there, absent], "{is:?} {is_not:?}");
        }
    }
}
