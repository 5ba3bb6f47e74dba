//! What is wrong with a document, where, and what to do about it.

use std::fmt;

/// One mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where it is: `vpc_networks[2].gateway`. Empty for the document as a whole.
    pub path: String,
    /// The id of the object it is in, as far as it has one.
    pub id: Option<String>,
    /// The value that is wrong, as it was written (cut short when long).
    pub value: Option<String>,
    /// What is wrong: a sentence without capital and full stop that goes on from the value.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

/// All mistakes of a document, in the order of its sections; never empty.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    /// `vpc_networks[2].gateway (vpc-1-3): 192.168.9.1 is outside 192.168.22.0/24; give an address in it`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "document" } else { &self.path })?;
        if let Some(id) = &self.id {
            write!(f, " ({id})")?;
        }
        f.write_str(": ")?;
        if let Some(value) = &self.value {
            write!(f, "{value} ")?;
        }
        write!(f, "{}; {}", self.what, self.way_out)
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problems {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Longest value that a problem repeats, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// A value as a problem shows it: on one line, cut short when long.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(VALUE_CHARS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        text.push('…');
    }
    if text.is_empty() { "\"\"".to_owned() } else { text }
}
