//! The gateway behind the REST API.

use std::{path::Path, sync::Arc};

use super::{change, reload::ReloadError, shared::Shared, zstack::Agents};
use crate::{
    desired::{Basis, Change, Head, Refused},
    rest::{Answer, Backend, Failed, How, Outcome, PushedRow, Reloaded, Wish},
    show::{Filter, Rows, Table},
};

/// What requests work on.
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) agents: Agents,
    /// The host's own file.
    pub(super) file: Arc<Path>,
}

impl Backend for Desk {
    fn basis(&self) -> Basis {
        self.shared.store().basis().clone()
    }

    fn heads(&self) -> Vec<Head> {
        self.shared.store().heads().to_vec()
    }

    fn changes_of(&self, generation: u64) -> Result<Vec<Change>, Refused> {
        self.shared.store().changes_of(generation)
    }

    fn change(&self, wish: Wish, how: How, who: String) -> Answer<'_, Result<Outcome, Failed>> {
        Box::pin(async move {
            let outcome = match wish {
                Wish::Steps(transaction) => change::transact(&self.shared, transaction, how, who).await,
                Wish::File { text, merge, strict } => {
                    change::apply(&self.shared, text, merge, strict, how, who).await
                }
                Wish::Generation(to) => change::roll_back(&self.shared, to, how, who).await,
            };
            Ok(outcome?)
        })
    }

    fn confirm(&self, who: String) -> Answer<'_, Result<Option<u64>, Failed>> {
        Box::pin(async move { Ok(change::confirm(&self.shared, &who).await?) })
    }

    fn reload(&self, who: String) -> Answer<'_, Result<Reloaded, Failed>> {
        Box::pin(async move { Ok(change::reload(&self.shared, &self.file, who).await?) })
    }

    fn show<'a>(&'a self, table: Table, filter: &'a Filter) -> Answer<'a, Result<Rows, String>> {
        Box::pin(self.shared.show(table, filter))
    }

    fn pushed(&self) -> Vec<PushedRow> {
        self.agents.pushed()
    }
}

impl From<ReloadError> for Failed {
    fn from(error: ReloadError) -> Failed {
        match error {
            ReloadError::Refused(why) => why.into(),
            ReloadError::Read { .. } => Failed::Unreadable(error.to_string()),
            ReloadError::Gone(why) => Failed::Gone(why),
        }
    }
}
