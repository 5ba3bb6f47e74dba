//! What stands behind the API of a test.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tidegate_control::{
    config::{self, raw::RawGateway},
    desired::{self, Basis, By, Change, Directory, Disk, Head, Refused, Source, Step, Store, Transaction},
    rest::{Answer, Backend, Failed, How, Outcome, PushedRow, Reloaded, Shown, Wish},
    show::{Filter, Rows, Table},
};

/// Desired state without a gateway.
#[derive(Debug)]
pub struct Desk {
    store: Mutex<Store>,
    _folder: TempDir,
}

impl Desk {
    /// With the objects of a configuration file.
    ///
    /// # Panics
    /// Where the file does not hold, or nothing can be kept.
    pub fn new(file: &str) -> Arc<Desk> {
        let folder = TempDir::new().expect("a folder");
        let (mut raw, _) = config::parse_file(file).unwrap_or_else(|problems| panic!("{problems}"));
        let host: RawGateway = raw.gateway.take().unwrap_or_default();
        let objects = desired::documents(raw).unwrap_or_else(|problems| panic!("{problems}"));
        let disk = Directory::open(PathBuf::from(folder.path())).map(|disk| Box::new(disk) as Box<dyn Disk>);
        let by = By { who: "start".into(), source: Source::File, now_ms: 0, confirm_within_ms: None };
        let (store, _) = Store::open(disk, &host, objects, &by).expect("a store");
        Arc::new(Desk { store: Mutex::new(store), _folder: folder })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wish: Wish, how: How, who: String) -> Result<Outcome, Failed> {
        let basis = self.basis();
        let plan = match wish {
            Wish::Steps(transaction) => basis.plan(&transaction)?,
            Wish::File { text, merge, strict } => {
                let mut file = config::read_tree(&text).map_err(Refused::from)?;
                file.as_object_mut().map(|file| file.remove("gateway"));
                let step = if merge { Step::Merge { file } } else { Step::Replace { file } };
                basis.plan(&Transaction { steps: vec![step], expect: None, strict })?
            }
            Wish::Generation(to) => {
                let documents = self.store().documents_of(to)?;
                basis.plan_documents(&documents)?
            }
        };
        let by = By {
            who,
            source: Source::Socket,
            now_ms: 1,
            confirm_within_ms: how.confirm_within_s.map(|seconds| seconds * 1000),
        };
        let generation = if how.dry_run { plan.generation } else { self.store().commit(&plan, &by, None)? };
        Ok(Outcome {
            generation,
            live: !how.dry_run,
            dry_run: how.dry_run,
            changes: plan.changes.iter().map(Shown::of).collect(),
            warnings: plan.warnings,
            confirm_within_s: how.confirm_within_s,
        })
    }
}

impl Backend for Desk {
    fn basis(&self) -> Basis {
        self.store().basis().clone()
    }

    fn heads(&self) -> Vec<Head> {
        self.store().heads().to_vec()
    }

    fn changes_of(&self, generation: u64) -> Result<Vec<Change>, Refused> {
        self.store().changes_of(generation)
    }

    fn change(&self, wish: Wish, how: How, who: String) -> Answer<'_, Result<Outcome, Failed>> {
        Box::pin(async move { self.take(wish, how, who) })
    }

    fn confirm(&self, _: String) -> Answer<'_, Result<Option<u64>, Failed>> {
        Box::pin(async move { Ok(self.store().confirm()?) })
    }

    fn reload(&self, _: String) -> Answer<'_, Result<Reloaded, Failed>> {
        Box::pin(async move { Ok(Reloaded { generation: self.basis().generation, live: true }) })
    }

    fn show<'a>(&'a self, _: Table, _: &'a Filter) -> Answer<'a, Result<Rows, String>> {
        Box::pin(async move { Err("there is no gateway".into()) })
    }

    fn pushed(&self) -> Vec<PushedRow> {
        Vec::new()
    }
}
