//! The environment of DPDK: memory, devices, threads. Once per process.

use std::{
    collections::BTreeSet,
    ffi::{CString, NulError, c_char, c_int},
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use thiserror::Error as ThisError;

use crate::{Error, error::check, log, mempool::Retired, sys};

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// Hugepages where enough are free, else ordinary pages.
    #[default]
    Auto,
    /// Hugepages, or no start.
    Required,
    /// Ordinary pages: for tests and virtual devices. Physical devices then need an IOMMU.
    Off,
}

/// How EAL starts.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// See [`Hugepages`].
    pub hugepages: Hugepages,
    /// Memory in MiB: the limit with ordinary pages (touched only where used), the amount taken at start with hugepages.
    pub memory_mib: u32,
    /// Nothing in the file system: no hugepage files, no runtime folder, no secondary processes. Several such processes
    /// never meet, and even SIGKILL leaves nothing behind.
    pub in_memory: bool,
    /// Names the files of this process where `in_memory` is off.
    pub file_prefix: String,
    /// Whether PCI devices may be probed. They are not probed here: [`Port::probe`](crate::port::Port::probe) does it one
    /// by one, so that each has its own error.
    pub pci: bool,
    /// The CPU to which the calling thread is pinned. With `None` its affinity stays as it is.
    pub main_lcore: Option<u16>,
    /// What DPDK may say; see [`log`].
    pub log_level: log::Level,
}

impl Default for EalOptions {
    fn default() -> EalOptions {
        EalOptions {
            hugepages: Hugepages::Auto,
            memory_mib: 256,
            in_memory: true,
            file_prefix: "dpdk-sys".to_owned(),
            pci: false,
            main_lcore: None,
            log_level: log::Level::Notice,
        }
    }
}

/// Why EAL did not start. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum EalError {
    /// DPDK can be initialised once per process, also after clean-up.
    #[error("DPDK was initialised before in this process; start a new process")]
    Again,
    /// Too few hugepages.
    #[error(
        "{wanted_mib} MiB of hugepages are wanted, {free_mib} MiB are free; reserve more (sysctl vm.nr_hugepages=N) or \
         turn them off"
    )]
    NoHugepages {
        /// Needed.
        wanted_mib: u32,
        /// Free now.
        free_mib: u32,
    },
    /// No such CPU for this process.
    #[error("lcore {lcore} is not there; this process may use {available}")]
    NoLcore {
        /// Wanted.
        lcore: u16,
        /// Usable CPUs as a list.
        available: String,
    },
    /// Missing rights.
    #[error(
        "no permission to start DPDK; run as root or with CAP_SYS_ADMIN, CAP_IPC_LOCK and CAP_NET_ADMIN: {0}"
    )]
    NoPermission(Error),
    /// Another process lives under the same prefix.
    #[error("file prefix `{0}` is in use by another DPDK process; stop that one, or give another prefix")]
    PrefixInUse(String),
    /// An option with a zero byte.
    #[error("an option of DPDK has a zero byte: {0}")]
    BadOption(#[from] NulError),
    /// Anything else.
    #[error("DPDK does not start: {0}")]
    Failed(Error),
}

/// EAL, initialised. Cloning shares it; when the last clone goes, and with it the last port, pool and lcore, EAL cleans
/// up.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hugepages: bool,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// DPDK's numbers of the ports in use, so that a device probed twice is noticed: DPDK calls that success.
    ports: BTreeSet<u16>,
    /// Pools ever made.
    pools: usize,
    /// A port relies on every mbuf coming from the same pool.
    one_pool: bool,
    /// Pools nobody allocates from any more, to be freed at the end.
    retired: Vec<Retired>,
}

/// Set by the first [`Eal::init`] of the process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Initialises EAL on the calling thread, which becomes DPDK's main lcore; no worker lcores are made. It also starts
    /// DPDK's own interrupt thread, and loads all drivers. Takes about 0.1 s.
    ///
    /// # Errors
    /// [`EalError`]; after an error of EAL itself the process cannot try again ([`EalError::Again`]).
    pub fn init(options: &EalOptions) -> Result<Eal, EalError> {
        let hugepages = decide_hugepages(options)?;
        let arguments = arguments(options, hugepages)?;
        if INITIALISED.swap(true, Ordering::SeqCst) {
            return Err(EalError::Again);
        }
        log::capture();
        let mark = log::mark();
        // EAL permutes argv and keeps pointers into it (prefix, device names), so the strings are never freed.
        let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
        let argc = argv.len() as c_int;
        argv.push(std::ptr::null_mut());
        let argv = Box::leak(argv.into_boxed_slice());
        // SAFETY: 1. called once per process (the flag above); 2. argv has argc C strings, then null, writable and never
        // freed.
        let code = unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) };
        if code < 0 {
            return Err(why_not(options, Error::from_rte_errno("rte_eal_init", mark)));
        }
        Ok(Eal(Arc::new(Inner { hugepages, books: Mutex::default() })))
    }

    /// Whether packet memory is in hugepages.
    pub fn has_hugepages(&self) -> bool {
        self.0.hugepages
    }

    /// Marks a port as in use; false when it is already.
    pub(crate) fn claim_port(&self, port: u16) -> bool {
        self.books().ports.insert(port)
    }

    /// The reverse of [`Eal::claim_port`].
    pub(crate) fn release_port(&self, port: u16) {
        self.books().ports.remove(&port);
    }

    /// Whether another pool may be made; counts it.
    pub(crate) fn claim_pool(&self) -> bool {
        let mut books = self.books();
        let may = !(books.one_pool && books.pools > 0);
        books.pools += usize::from(may);
        may
    }

    /// Whether there is just one pool; if so, it stays that way.
    pub(crate) fn stay_with_one_pool(&self) -> bool {
        let mut books = self.books();
        books.one_pool |= books.pools == 1;
        books.one_pool
    }

    pub(crate) fn retire_pool(&self, pool: Retired) {
        self.books().retired.push(pool);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: both read what EAL set.
        let on_main = unsafe { sys::tg_shim_lcore_id() == sys::tg_shim_main_lcore() };
        let pools = &mut self.books.get_mut().unwrap_or_else(PoisonError::into_inner).retired;
        if !on_main || !pools.iter().all(Retired::is_whole) {
            // The main thread may be freeing an mbuf right now, or an mbuf is still held: the memory must stay. The end
            // of the process frees it all; devices are closed already, by their ports.
            return;
        }
        for pool in pools.drain(..) {
            // SAFETY: 1. all mbufs are home and nobody holds the pool; 2. threads that free into a cache are registered
            // lcores, which hold an `Eal` and so are gone, and the main thread, which is here.
            unsafe { pool.free() }
        }
        let mark = log::mark();
        // SAFETY: the last handle: no port, pool or lcore is left. An error has nobody to go to.
        let _ = check("rte_eal_cleanup", mark, unsafe { sys::rte_eal_cleanup() });
    }
}

/// The arguments as DPDK's Getting Started Guide, "EAL parameters", lists them.
fn arguments(options: &EalOptions, hugepages: bool) -> Result<Vec<CString>, EalError> {
    let mut list = vec!["dpdk".to_owned(), "--no-telemetry".to_owned()];
    list.push(match options.main_lcore {
        Some(lcore) => format!("--lcores={lcore}"),
        // One lcore that floats over all CPUs this thread may use, as far as EAL can count: its affinity stays.
        None => {
            let known = cpus().into_iter().filter(|cpu| *cpu < sys::RTE_MAX_LCORE as usize);
            format!("--lcores=0@({})", join(&known.collect::<Vec<_>>()))
        }
    });
    list.push(format!("--log-level={}", options.log_level as u8));
    list.push(format!("-m{}", options.memory_mib));
    match (options.in_memory, hugepages) {
        (true, true) => list.push("--in-memory".to_owned()),
        // DPDK refuses --no-huge with --in-memory; without hugepages the shared configuration is all there is to omit.
        (true, false) => list.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]),
        (false, true) => {
            list.extend([
                "--huge-unlink=always".to_owned(),
                format!("--file-prefix={}", options.file_prefix),
            ]);
        }
        (false, false) => {
            list.extend(["--no-huge".to_owned(), format!("--file-prefix={}", options.file_prefix)]);
        }
    }
    // An allow list that names no network device: nothing is probed at start, and `rte_dev_probe` adds to it later.
    list.push(if options.pci { "--allow=0000:00:00.0" } else { "--no-pci" }.to_owned());
    list.into_iter().map(|argument| CString::new(argument).map_err(EalError::from)).collect()
}

fn decide_hugepages(options: &EalOptions) -> Result<bool, EalError> {
    check_lcores(options.main_lcore.as_slice())?;
    let free_mib = free_hugepages_mib();
    match options.hugepages {
        Hugepages::Off => Ok(false),
        Hugepages::Auto => Ok(free_mib >= options.memory_mib),
        Hugepages::Required if free_mib >= options.memory_mib => Ok(true),
        Hugepages::Required => Err(EalError::NoHugepages { wanted_mib: options.memory_mib, free_mib }),
    }
}

/// Whether the calling thread may use all these CPUs.
///
/// # Errors
/// [`EalError::NoLcore`] names the first that is not there.
pub fn check_lcores(lcores: &[u16]) -> Result<(), EalError> {
    let available = cpus();
    match lcores.iter().find(|lcore| !available.contains(&usize::from(**lcore))) {
        Some(&lcore) => Err(EalError::NoLcore { lcore, available: join(&available) }),
        None => Ok(()),
    }
}

/// Free hugepages of all sizes in MiB, as the kernel counts them.
pub fn free_hugepages_mib() -> u32 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let free_kib = sizes.flatten().filter_map(|size| {
        let page_kib =
            size.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()?;
        let free = fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse::<u64>().ok()?;
        Some(page_kib * free)
    });
    u32::try_from(free_kib.sum::<u64>() / 1024).unwrap_or(u32::MAX)
}

/// The CPUs that this thread may use.
fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

fn join(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn why_not(options: &EalOptions, error: Error) -> EalError {
    if error.said.contains("another primary process") {
        EalError::PrefixInUse(options.file_prefix.clone())
    } else if error.is_permission() {
        EalError::NoPermission(error)
    } else {
        EalError::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lcore_that_is_not_there_is_named_together_with_those_that_are() {
        let options = EalOptions { main_lcore: Some(9999), ..EalOptions::default() };
        let error = Eal::init(&options).unwrap_err();
        assert!(
            matches!(&error, EalError::NoLcore { lcore: 9999, available } if !available.is_empty()),
            "{error}"
        );
    }

    #[test]
    fn required_hugepages_that_are_missing_are_an_error_that_says_what_to_do() {
        let options =
            EalOptions { hugepages: Hugepages::Required, memory_mib: u32::MAX, ..EalOptions::default() };
        let error = Eal::init(&options).unwrap_err();
        assert!(error.to_string().contains("sysctl vm.nr_hugepages"), "{error}");
    }
}
