//! What the API stands in front of: desired state, and the gateway that it is put into force in.

use std::{fmt, future::Future, pin::Pin};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    desired::{Basis, Change, Document, Head, Refused, Transaction, Who},
    show::{Filter, Rows, Table},
    zstack,
};

/// What comes later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A gateway as the API sees it.
pub trait Backend: Send + Sync + 'static {
    /// The present generation.
    fn basis(&self) -> Basis;

    /// Says when there is another one.
    fn generations(&self) -> watch::Receiver<u64>;

    /// The generations that there were, oldest first; the last one is the present one.
    fn heads(&self) -> Vec<Head>;

    /// What a generation changed.
    ///
    /// # Errors
    /// [`Refused`].
    fn changes_of(&self, generation: u64) -> Result<Vec<Change>, Refused>;

    /// Does what is wanted, or says what it would bring. All of it, or nothing.
    fn change(&self, wish: Wish, how: How, who: Who) -> Answer<'_, Result<Outcome, Failed>>;

    /// Lets the present generation stay; its number, `None` where none waits for that.
    fn confirm(&self, who: Who) -> Answer<'_, Result<Option<u64>, Failed>>;

    /// Applies the host's own file.
    fn reload(&self, who: Who) -> Answer<'_, Result<Reloaded, Failed>>;

    /// The rows of a table, or what is wrong with the filter.
    fn show<'a>(&'a self, table: Table, filter: &'a Filter) -> Answer<'a, Result<Rows, String>>;

    /// What managers pushed to router agents.
    fn pushed(&self) -> Vec<PushedRow>;
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub enum Wish {
    /// These steps.
    Steps(Transaction),
    /// The objects of a file, YAML or JSON.
    File {
        /// The file.
        text: String,
        /// Objects that it does not have stay.
        merge: bool,
        /// Refused where anything that it writes would not be active.
        strict: bool,
    },
    /// An earlier generation.
    Generation(u64),
}

/// How a change is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct How {
    /// Say what it would bring, and change nothing.
    pub dry_run: bool,
    /// Fall back unless it is confirmed within so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
}

/// What a change brought, or would bring.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The generation in force afterwards.
    pub generation: u64,
    /// Whether all workers use it; false for a dry run that would change something.
    pub live: bool,
    /// Whether nothing was changed because only a look was wanted.
    pub dry_run: bool,
    /// What changes.
    pub changes: Vec<Shown>,
    /// What was written and is not in force, and what was in force and is no more.
    pub warnings: Vec<String>,
    /// Seconds in which it must be confirmed.
    pub confirm_within_s: Option<u64>,
}

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Its section in the file.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its etag afterwards; `null` where it goes.
    pub etag: Option<String>,
    /// `null` where it is new.
    pub before: Value,
    /// `null` where it goes.
    pub after: Value,
}

impl Shown {
    /// A change as it is shown.
    pub fn of(change: &Change) -> Shown {
        let body = |document: Option<&Document>| document.map_or(Value::Null, Document::body);
        Shown {
            kind: change.key.kind.to_string(),
            id: change.key.id.to_string(),
            etag: change.after.as_ref().map(|document| document.etag()),
            before: body(change.before.as_deref()),
            after: body(change.after.as_deref()),
        }
    }
}

/// What came of reading the host's own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// The generation in force.
    pub generation: u64,
    /// Whether all workers use it; if not, they had not said so in time.
    pub live: bool,
}

/// An object that a manager pushed, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushedRow {
    /// The router agent.
    pub agent: String,
    /// Its VPC router.
    pub vpc: String,
    /// What was pushed.
    #[serde(flatten)]
    pub object: zstack::Object,
}

/// Why nothing has changed.
#[derive(Debug)]
pub enum Failed {
    /// What is wrong with it, or somebody was faster, or it cannot be kept.
    Refused(Refused),
    /// The host's own file cannot be read: why.
    Unreadable(String),
    /// The gateway ends, or its control thread failed: which.
    Gone(&'static str),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Refused(why) => why.fmt(f),
            Failed::Unreadable(why) => f.write_str(why),
            Failed::Gone(why) => f.write_str(why),
        }
    }
}

impl From<Refused> for Failed {
    fn from(why: Refused) -> Failed {
        Failed::Refused(why)
    }
}
