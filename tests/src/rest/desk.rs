//! What stands behind the API of a test.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tidegate_control::{
    config::{self, raw::RawGateway},
    desired::{
        self, Basis, By, Change, Directory, Disk, Head, Refused, Source, Step, Store, Transaction, Who,
    },
    rest::{Answer, Backend, Failed, How, Outcome, PushedRow, Reloaded, Shown, Wish},
    show::{Filter, Rows, Table},
};
use tokio::sync::watch;

/// Files in memory.
#[derive(Debug, Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let bytes = self.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Desired state without a gateway.
#[derive(Debug)]
pub struct Desk {
    store: Mutex<Store>,
    generations: watch::Sender<u64>,
    _folder: Option<TempDir>,
}

impl Desk {
    /// With the objects of a configuration file.
    ///
    /// # Panics
    /// Where the file does not hold, or nothing can be kept.
    pub fn new(file: &str) -> Arc<Desk> {
        let folder = TempDir::new().expect("a folder");
        let disk = Directory::open(PathBuf::from(folder.path())).map(|disk| Box::new(disk) as Box<dyn Disk>);
        Desk::with(file, disk, Some(folder))
    }

    /// The same; what comes later is not kept.
    ///
    /// # Panics
    /// Where the file does not hold.
    pub fn in_memory(file: &str) -> Arc<Desk> {
        Desk::with(file, Ok(Box::new(Memory::default())), None)
    }

    fn with(file: &str, disk: Result<Box<dyn Disk>, String>, folder: Option<TempDir>) -> Arc<Desk> {
        let (mut raw, _) = config::parse_file(file).unwrap_or_else(|problems| panic!("{problems}"));
        let host: RawGateway = raw.gateway.take().unwrap_or_default();
        let objects = desired::documents(raw).unwrap_or_else(|problems| panic!("{problems}"));
        let by = By { who: Who::new("start", Source::File), now_ms: 0, confirm_within_ms: None };
        let (store, _) = Store::open(disk, &host, objects, &by).expect("a store");
        Arc::new(Desk { store: Mutex::new(store), generations: watch::Sender::new(1), _folder: folder })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wish: Wish, how: How, who: Who) -> Result<Outcome, Failed> {
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
                let past = self.store().past(to)?;
                past.present().plan_documents(&past.documents()?)?
            }
        };
        let by = By { who, now_ms: 1, confirm_within_ms: how.confirm_within_s.map(|seconds| seconds * 1000) };
        let generation = if how.dry_run { plan.generation } else { self.store().commit(&plan, &by, None)? };
        self.generations.send_replace(generation);
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

    fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn heads(&self) -> Vec<Head> {
        self.store().heads().to_vec()
    }

    fn changes_of(&self, generation: u64) -> Result<Vec<Change>, Refused> {
        self.store().past(generation)?.changes()
    }

    fn change(&self, wish: Wish, how: How, who: Who) -> Answer<'_, Result<Outcome, Failed>> {
        Box::pin(async move { self.take(wish, how, who) })
    }

    fn confirm(&self, _: Who) -> Answer<'_, Result<Option<u64>, Failed>> {
        Box::pin(async move { Ok(self.store().confirm()?) })
    }

    fn reload(&self, _: Who) -> Answer<'_, Result<Reloaded, Failed>> {
        Box::pin(async move { Ok(Reloaded { generation: self.basis().generation, live: true }) })
    }

    fn show<'a>(&'a self, _: Table, _: &'a Filter) -> Answer<'a, Result<Rows, String>> {
        Box::pin(async move { Err("there is no gateway".into()) })
    }

    fn pushed(&self) -> Vec<PushedRow> {
        Vec::new()
    }
}
