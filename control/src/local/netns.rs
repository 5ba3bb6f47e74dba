//! Network namespaces by name, as `ip netns` knows them, and the proof that one is ours.
//!
//! A namespace is ours if a marker file says so: `/run/tidegate/netns/NAME` holds device and inode of the namespace and the
//! control socket of its owner. A namespace of the same name that somebody else made has another inode and is left alone.
//! So what a killed run left behind is found and taken over or removed, and nothing else ever is. The marker is there, and whole, before the
//! name is: whenever a gateway is killed, no namespace of its own is a stranger to the next.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::{info, warn};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// Where we keep markers.
const MARKERS: &str = "/run/tidegate/netns";

/// Why there is no namespace.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// Somebody else's.
    #[error(
        "a namespace of this name exists and is not ours; remove it (ip netns delete {0}) or rename the object"
    )]
    Foreign(String),
    /// Another running gateway's.
    #[error("the gateway at {0} uses a namespace of this name; stop that one or rename the object")]
    InUse(PathBuf),
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// What a marker file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    device: u64,
    inode: u64,
    owner: PathBuf,
}

/// The namespaces of one gateway.
#[derive(Clone, Debug)]
pub struct Namespaces {
    owner: PathBuf,
    markers: PathBuf,
}

impl Namespaces {
    /// `owner` is the control socket, which tells two gateways of one machine apart.
    pub fn new(owner: PathBuf) -> Namespaces {
        Namespaces { owner, markers: MARKERS.into() }
    }

    /// With markers of its own, so that tests and gateways do not see each other's.
    #[cfg(test)]
    pub(super) fn apart(owner: PathBuf, markers: PathBuf) -> Namespaces {
        Namespaces { owner, markers }
    }

    /// Makes the namespace, or takes over the one that a run before left.
    ///
    /// # Errors
    /// [`NetnsError`]; nothing is left behind then.
    pub fn establish(&self, name: &str) -> Result<(), NetnsError> {
        let path = path(name);
        if is_unbound(&path) {
            fs::remove_file(&path).map_err(os("remove a name without a namespace"))?;
        }
        if path.exists() {
            return match self.proof(name) {
                None => Err(NetnsError::Foreign(name.to_owned())),
                Some(owner) if owner != self.owner && is_alive(&owner) => Err(NetnsError::InUse(owner)),
                Some(_) => self.mark(name, &fs::metadata(&path).map_err(os("read the namespace"))?),
            };
        }
        create(&path, |namespace| self.mark(name, namespace))
            .inspect_err(|_| drop(fs::remove_file(self.markers.join(name))))
    }

    /// Runs `work` in a thread inside the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `work` says.
    pub fn enter<T: Send>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, NetnsError> {
        let file = File::open(path(name)).map_err(os("open the namespace"))?;
        let inside = move || {
            setns(&file, CloneFlags::CLONE_NEWNET).map_err(|e| os("enter the namespace")(e.into()))?;
            work().map_err(os("set up the namespace"))
        };
        join(thread::scope(|scope| scope.spawn(inside).join()))
    }

    /// Removes the namespaces of this gateway, and those whose gateway is gone, where `which` says so.
    pub fn remove_where(&self, which: impl Fn(&str) -> bool) {
        let Ok(markers) = fs::read_dir(&self.markers) else { return };
        for entry in markers.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            // One that is being written; perhaps another gateway's.
            if name.starts_with('.') {
                continue;
            }
            match self.proof(&name) {
                Some(owner) if owner == self.owner || !is_alive(&owner) => {
                    if which(&name) {
                        info!(namespace = name, "removed");
                        self.remove(&name);
                    }
                }
                Some(_) => {}
                // The namespace is gone or another one has its name: the marker says nothing any more.
                None => drop(fs::remove_file(entry.path())),
            }
        }
    }

    /// Writes the marker of a namespace, which is there whole or not at all.
    fn mark(&self, name: &str, namespace: &Metadata) -> Result<(), NetnsError> {
        let marker = Marker { device: namespace.dev(), inode: namespace.ino(), owner: self.owner.clone() };
        let text = serde_json::to_vec(&marker).map_err(|e| os("write the marker")(e.into()))?;
        fs::create_dir_all(&self.markers).map_err(os("make the directory of markers"))?;
        let draft = self.markers.join(format!(".{name}"));
        fs::write(&draft, text).map_err(os("write the marker"))?;
        fs::rename(&draft, self.markers.join(name)).map_err(os("write the marker"))
    }

    /// The owner of a namespace that a marker proves to be a gateway's.
    fn proof(&self, name: &str) -> Option<PathBuf> {
        let text = fs::read(self.markers.join(name)).ok()?;
        let marker: Marker = serde_json::from_slice(&text).ok()?;
        let meta = fs::metadata(path(name)).ok()?;
        ((meta.dev(), meta.ino()) == (marker.device, marker.inode)).then_some(marker.owner)
    }

    fn remove(&self, name: &str) {
        unname(&path(name));
        drop(fs::remove_file(self.markers.join(name)));
    }
}

/// Where a namespace of this name is.
pub fn path(name: &str) -> PathBuf {
    Path::new(NAMES).join(name)
}

/// Whether this is a name without a namespace: the empty file on which one would be mounted. A gateway that is killed while
/// it makes or removes a namespace leaves that.
fn is_unbound(path: &Path) -> bool {
    let (Ok(file), Ok(names)) = (fs::symlink_metadata(path), fs::metadata(NAMES)) else { return false };
    file.is_file() && file.len() == 0 && file.dev() == names.dev()
}

/// Whether a gateway listens on this control socket.
fn is_alive(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// A new namespace, bound to its name as `ip netns add` does it, by a thread that ends in it. `note` hears of it before it has the name.
///
/// # Errors
/// [`NetnsError`]; there is no such name then.
pub(super) fn create(
    path: &Path,
    note: impl FnOnce(&Metadata) -> Result<(), NetnsError> + Send,
) -> Result<(), NetnsError> {
    const OWN: &str = "/proc/thread-self/ns/net";
    share_names()?;
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| os("make a network namespace")(e.into()))?;
        note(&fs::metadata(OWN).map_err(os("read the namespace"))?)?;
        File::create_new(path).map_err(os("make a name in /run/netns"))?;
        mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| os("bind the namespace to its name")(e.into()))
            .inspect_err(|_| drop(fs::remove_file(path)))
    };
    join(thread::scope(|scope| scope.spawn(make).join()))
}

/// Makes `/run/netns` a shared mount, so that names are seen in all mount namespaces and can be removed from any.
fn share_names() -> Result<(), NetnsError> {
    fs::create_dir_all(NAMES).map_err(os("make /run/netns"))?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, NAMES, None::<&str>, shared, None::<&str>);
    if share().is_err() {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NAMES), NAMES, None::<&str>, bind, None::<&str>)
            .and_then(|()| share())
            .map_err(|e| os("share /run/netns")(e.into()))?;
    }
    Ok(())
}

/// Takes the name away; the namespace ends with the last process and TAP in it.
pub(super) fn unname(path: &Path) {
    if let Err(error) = umount2(path, MntFlags::MNT_DETACH) {
        warn!(namespace = %path.display(), "cannot unmount: {error}");
    }
    if let Err(error) = fs::remove_file(path) {
        warn!(namespace = %path.display(), "cannot remove: {error}");
    }
}

fn os(what: &'static str) -> impl Fn(io::Error) -> NetnsError {
    move |source| NetnsError::Os { what, source }
}

fn join<T>(result: thread::Result<Result<T, NetnsError>>) -> Result<T, NetnsError> {
    result.unwrap_or_else(|_| Err(os("finish")(io::Error::other("a thread of ours panicked"))))
}
