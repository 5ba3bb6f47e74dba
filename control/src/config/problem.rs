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
    /// Whether another object has to do with it.
    #[serde(skip)]
    pub cause: Cause,
}

/// What has to change before an object holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The object itself: it cannot be right, whatever else there is.
    #[default]
    Itself,
    /// Something that it names is not there.
    Missing,
    /// It does not go together with something that is there.
    Clash,
}

impl Problem {
    /// A mistake of the document as a whole.
    pub(super) fn of_document(what: String, way_out: &str) -> Problem {
        Problem {
            path: String::new(),
            id: None,
            value: None,
            what,
            way_out: way_out.into(),
            cause: Cause::Itself,
        }
    }
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

/// Most problems that are kept; nobody reads more at once, and hostile documents could have millions.
pub(super) const PROBLEMS_MAX: usize = 1000;

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Found {
    problems: Vec<Problem>,
    dropped: usize,
    all: bool,
}

impl Found {
    /// Keeps all problems, however many.
    pub(super) fn all() -> Found {
        Found { all: true, ..Found::default() }
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.problems.push(problem);
        }
    }

    /// Whether further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        !self.all && self.problems.len() >= PROBLEMS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many it keeps so far.
    pub(super) fn len(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn into_problems(mut self) -> Problems {
        if self.dropped > 0 {
            let what = format!("has {} problems more", self.dropped);
            self.problems.push(Problem::of_document(what, "correct these first"));
        }
        Problems(self.problems)
    }
}

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
