//! The file of the flow table: from it, a gateway that was killed goes on with its translated connections.
//!
//! It is in memory (a hugetlbfs or a tmpfs), so it ends with the machine's run, and has the name of the control socket, so that two
//! gateways of one machine have two. Where there is no place for it, the table is in memory of the process: the gateway works,
//! and its connections end with it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::{
    fcntl::{FallocateFlags, OFlag, fallocate},
    sys::statfs::{HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs},
    unistd::geteuid,
};
use tidegate_fastpath::flow::{FileFor, FlowMemory, FlowTableError, NotKept};
use tracing::{info, warn};

use crate::config::{Gateway, Hugepages};

/// Where every Linux has a tmpfs.
const SHM: &str = "/dev/shm";
/// Pages of the hugetlbfs that we use.
const HUGE_PAGE_BYTES: i64 = 2 << 20;
/// How often, and after which pause, a lock is tried: who had it may be ending right now.
const LOCK_TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// The memory of the flow table and where it is.
#[derive(Debug)]
pub(super) struct FlowFile {
    /// `None`: in no file.
    path: Option<PathBuf>,
}

/// A place for the file.
struct Candidate {
    path: PathBuf,
    what: FileFor,
}

impl FlowFile {
    /// Takes the file over or makes it. With `fresh`, one that is there is removed first.
    ///
    /// # Errors
    /// When another gateway has it, or there is no memory at all.
    pub(super) fn take(config: &Gateway, fresh: bool) -> Result<(FlowFile, FlowMemory)> {
        let candidates = candidates(config);
        if fresh {
            candidates.iter().for_each(|candidate| drop(fs::remove_file(&candidate.path)));
        }
        for Candidate { path, what } in &candidates {
            let Some(file) = existing(path)? else { continue };
            match what.check(&file) {
                Ok(()) => match FlowMemory::of_file(file, what) {
                    Ok(memory) => return Ok((FlowFile { path: Some(path.clone()) }, memory)),
                    Err(error) => warn!("{error}"),
                },
                Err(NotKept::Absent) => {}
                Err(why) => warn!(
                    file = %path.display(),
                    "the connections of the gateway before are forgotten: {why}"
                ),
            }
            let _ = fs::remove_file(path);
        }
        for Candidate { path, what } in &candidates {
            match make(path, what) {
                Ok(memory) => {
                    info!(file = %path.display(), "the flow table is new");
                    return Ok((FlowFile { path: Some(path.clone()) }, memory));
                }
                Err(error) => {
                    let _ = fs::remove_file(path);
                    info!(file = %path.display(), "the flow table cannot be here: {error}");
                }
            }
        }
        warn!("connections will not go on after a crash: no tmpfs or hugetlbfs has room for the flow table");
        let memory = FlowMemory::private(config.limits.flows, config.workers.len())?;
        Ok((FlowFile { path: None }, memory))
    }

    /// Where it is, for people.
    pub(super) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }

    /// Removes the file: its connections end with this process.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// The places for the file, best first.
fn candidates(config: &Gateway) -> Vec<Candidate> {
    let boot = boot();
    let directories: Vec<PathBuf> = match &config.flow_state.directory {
        Some(directory) => vec![directory.clone()],
        None => {
            let huge = (config.hugepages != Hugepages::Off).then(hugetlbfs).flatten();
            huge.into_iter().chain([SHM.into()]).collect()
        }
    };
    let name = name_of(&config.control_socket);
    let candidate = |directory: PathBuf| {
        let Some(hugepages) = kind(&directory) else {
            warn!(directory = %directory.display(), "is no tmpfs, and no hugetlbfs with pages of 2 MiB");
            return None;
        };
        let (capacity, workers) = (config.limits.flows, config.workers.len());
        Some(Candidate { path: directory.join(&name), what: FileFor { capacity, workers, boot, hugepages } })
    };
    directories.into_iter().filter_map(candidate).collect()
}

/// Whether a directory is on a hugetlbfs; `None` where it is on anything but that or a tmpfs.
fn kind(directory: &Path) -> Option<bool> {
    let on = statfs(directory).ok()?;
    match on.filesystem_type() {
        TMPFS_MAGIC => Some(false),
        HUGETLBFS_MAGIC if on.block_size() == HUGE_PAGE_BYTES => Some(true),
        _ => None,
    }
}

/// Where a hugetlbfs of 2 MiB pages is mounted.
fn hugetlbfs() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.find_map(|fields| match fields[..] {
        [_, directory, "hugetlbfs", ..] => Some(PathBuf::from(directory)).filter(|d| kind(d) == Some(true)),
        _ => None,
    })
}

/// One name per control socket: `/run/a-b/control.sock` is `tidegate-run-a%2db-control.sock.flows`.
fn name_of(socket: &Path) -> String {
    let escaped = socket.to_string_lossy().replace('%', "%25").replace('-', "%2d").replace('/', "-");
    format!("tidegate{escaped}.flows")
}

/// The present run of the machine.
fn boot() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or_default()
}

/// The file, locked, if it is there and ours alone. One that somebody else could have made is removed.
fn existing(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Ok(fs::remove_file(path).map(|()| None)?),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        warn!(file = %path.display(), "is not this gateway's, and is removed");
        return Ok(fs::remove_file(path).map(|()| None)?);
    }
    let (tries, pause) = LOCK_TRIES;
    for _ in 0..tries {
        if file.try_lock().is_ok() {
            return Ok(Some(file));
        }
        thread::sleep(pause);
    }
    bail!("another gateway uses {}; stop it, or give this one another gateway.control_socket", path.display())
}

fn make(path: &Path, what: &FileFor) -> Result<FlowMemory, MakeError> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.try_lock().map_err(io::Error::from)?;
    // All of it now, so that no worker meets a full file system later.
    let len = i64::try_from(what.bytes()).map_err(io::Error::other)?;
    fallocate(&file, FallocateFlags::empty(), 0, len).map_err(io::Error::from)?;
    Ok(FlowMemory::of_file(file, what)?)
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Table(#[from] FlowTableError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn gateway(directory: &Path, flows: u32) -> Gateway {
        let text = format!(
            "gateway: {{ ports: [{{ id: wan, device: net_null0 }}], limits: {{ flows: {flows} }}, \
             flow_state: {{ directory: {} }}, control_socket: {}/a-b/c.sock }}",
            directory.display(),
            directory.display()
        );
        config::parse(&text).unwrap_or_else(|problems| panic!("{problems}")).gateway
    }

    fn in_shm() -> tempfile::TempDir {
        tempfile::tempdir_in(SHM).unwrap()
    }

    #[test]
    fn a_file_is_made_taken_over_refused_and_removed() {
        let dir = in_shm();
        let config = gateway(dir.path(), 4096);
        let (file, memory) = FlowFile::take(&config, false).unwrap();
        let path = file.path.clone().unwrap();
        assert!(!memory.is_kept() && path.exists());
        assert!(path.file_name().unwrap().to_str().unwrap().ends_with("-a%2db-c.sock.flows"));
        assert!(FlowFile::take(&config, false).unwrap_err().to_string().contains("another gateway uses"));
        drop(memory);
        let (_, memory) = FlowFile::take(&config, false).unwrap();
        assert!(memory.is_kept());
        drop(memory);
        let (_, memory) = FlowFile::take(&config, true).unwrap();
        assert!(!memory.is_kept(), "fresh");
        drop(memory);
        // Other limits, and a file that was cut.
        let (_, memory) = FlowFile::take(&gateway(dir.path(), 8192), false).unwrap();
        assert!(!memory.is_kept());
        drop(memory);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        let (file, memory) = FlowFile::take(&gateway(dir.path(), 8192), false).unwrap();
        assert!(!memory.is_kept());
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_somebody_else_could_have_made_is_not_believed() {
        let dir = in_shm();
        let config = gateway(dir.path(), 4096);
        let (file, memory) = FlowFile::take(&config, false).unwrap();
        drop(memory);
        let path = file.path.unwrap();
        let mut open_to_all = fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut open_to_all, 0o666);
        fs::set_permissions(&path, open_to_all).unwrap();
        assert!(!FlowFile::take(&config, false).unwrap().1.is_kept());
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(!FlowFile::take(&config, false).unwrap().1.is_kept());
        assert!(elsewhere.exists(), "what a link leads to is left alone");
    }

    #[test]
    fn without_a_place_the_table_is_the_process_s_own() {
        let config = gateway(Path::new("/proc"), 4096);
        let (file, memory) = FlowFile::take(&config, false).unwrap();
        assert!(file.path.is_none() && !memory.is_kept());
    }
}
