//! Files that are there whole or not at all.
//!
//! A file is written under another name, synced, renamed, and the directory is synced. Each begins with a line that says what
//! it is, its version, the SHA-256 of the rest, and how long that is, so that a file that a disk has damaged is known.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
};

use sha2::{Digest as _, Sha256};

use super::super::document::hex;

/// What a file of ours begins with, and the version of what follows.
const MAGIC: &str = "tidegate-state 1";
/// The end of names of files that are being written.
const NEW: &str = ".new";

/// One directory.
pub trait Disk: fmt::Debug + Send {
    /// Names of files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// All of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes a file, or makes it anew; it may be lost until it is synced.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Returns once a file's bytes outlive a loss of power.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Calls a file by another name, in place of what had it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Returns once names outlive a loss of power.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A directory of the file system, that no other gateway uses.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// A sentence: it cannot be made, written, or is another gateway's.
    pub fn open(path: PathBuf) -> Result<Directory, String> {
        let said = |error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(&path).map_err(said)?;
        let lock = File::create(path.join("lock")).map_err(said)?;
        if lock.try_lock().is_err() {
            return Err(format!(
                "{} is used by another gateway; give each its own gateway.state",
                path.display()
            ));
        }
        Ok(Directory { path, _lock: lock })
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = File::options();
        // Keys of VPNs may be in it one day.
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(self.path.join(name))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Writes a file, whole. Where that fails, nothing of that name was written as far as can be helped.
pub(super) fn keep(disk: &mut dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let mut bytes = format!("{MAGIC} {} {}\n", hex(&Sha256::digest(content)), content.len()).into_bytes();
    bytes.extend_from_slice(content);
    let new = format!("{name}{NEW}");
    let done = disk
        .write(&new, &bytes)
        .and_then(|()| disk.sync(&new))
        .and_then(|()| disk.rename(&new, name))
        .and_then(|()| disk.sync_names());
    done.inspect_err(|_| _ = disk.remove(&new))
}

/// The content of a file that [`keep`] wrote.
///
/// # Errors
/// A sentence: why it is not what was written.
pub(super) fn content(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = disk.read(name).map_err(|error| format!("{name}: {error}"))?;
    let damaged = || format!("{name} is damaged");
    let end = bytes.iter().take(128).position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged())?.to_owned();
    let Some(rest) = head.strip_prefix(MAGIC) else {
        let other = head.starts_with("tidegate-state ");
        return Err(if other { format!("{name} is of another version of the program") } else { damaged() });
    };
    let content = bytes.split_off(end + 1);
    let expected = format!(" {} {}", hex(&Sha256::digest(&content)), content.len());
    if rest == expected { Ok(content) } else { Err(damaged()) }
}

/// Removes what was being written when the power went.
pub(super) fn sweep(disk: &mut dyn Disk, names: &[String]) {
    for name in names.iter().filter(|name| name.ends_with(NEW)) {
        let _ = disk.remove(name);
    }
}
