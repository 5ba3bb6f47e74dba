//! The gateway behind the REST API, and where the API is served.

use std::{net::TcpListener, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::{change, place::Place, reload::ReloadError, shared::Shared, zstack::Agents};
use crate::{
    config::Config,
    desired::{Basis, Change, Head, Refused, Who},
    rest::{Access, Answer, Backend, Doors, Failed, How, Outcome, PushedRow, Reloaded, Server, Wish},
    show::{Filter, Rows, Table},
};

/// Addresses of the API, and who is let in there.
pub(super) type Api = (Vec<TcpListener>, Arc<Access>);

/// Takes the addresses and reads tokens and certificates, so that what does not work is found before anything else starts.
pub(super) fn prepare(config: &Config) -> Result<Option<Api>> {
    let Some(api) = &config.gateway.api else { return Ok(None) };
    let listen = |address| {
        let listener = TcpListener::bind(address);
        let listener = listener.with_context(|| {
            format!("cannot serve the API on {address}; give another gateway.api.listen, or leave it out")
        })?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listeners = api.listen.iter().map(listen).collect::<Result<_>>()?;
    let access = Access::new(api.clone()).map_err(anyhow::Error::msg)?;
    Ok(Some((listeners, Arc::new(access))))
}

/// Serves the API on a thread of its own: on the control socket, and where `gateway.api` says.
pub(super) fn start(shared: &Arc<Shared>, agents: &Agents, place: &Place, file: &Path) -> Result<Server> {
    let clone = |(listeners, access): &Api| {
        let listeners = listeners.iter().map(TcpListener::try_clone).collect::<Result<_, _>>()?;
        Ok::<_, std::io::Error>((listeners, Arc::clone(access)))
    };
    let doors = Doors {
        socket: Some(place.control.try_clone().context("the control socket")?),
        tcp: place.api.as_ref().map(clone).transpose().context("gateway.api")?,
    };
    let desk = Desk { shared: Arc::clone(shared), agents: agents.clone(), file: file.into() };
    let state = shared.gateway().desired().config().gateway.state.clone();
    let server = Server::start(doors, Arc::new(desk), Arc::clone(&shared.api), &state);
    server.context("cannot start the thread of the API")
}

/// What requests work on.
struct Desk {
    shared: Arc<Shared>,
    agents: Agents,
    /// The host's own file.
    file: Arc<Path>,
}

impl Backend for Desk {
    fn basis(&self) -> Basis {
        self.shared.store().basis().clone()
    }

    fn generations(&self) -> watch::Receiver<u64> {
        self.shared.generations.subscribe()
    }

    fn heads(&self) -> Vec<Head> {
        self.shared.store().heads().to_vec()
    }

    fn changes_of(&self, generation: u64) -> Result<Vec<Change>, Refused> {
        // The store is free again before the file is read.
        let past = self.shared.store().past(generation)?;
        past.changes()
    }

    fn change(&self, wish: Wish, how: How, who: Who) -> Answer<'_, Result<Outcome, Failed>> {
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

    fn confirm(&self, who: Who) -> Answer<'_, Result<Option<u64>, Failed>> {
        Box::pin(async move { Ok(change::confirm(&self.shared, &who.name).await?) })
    }

    fn reload(&self, who: Who) -> Answer<'_, Result<Reloaded, Failed>> {
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
