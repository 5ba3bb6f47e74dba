//! A data centre in network namespaces: an underlay switch, compute hosts with kernel VXLAN devices, VMs, routers, and the
//! gateway process between them. Everything carries the name of its process and goes away with it: on drop, on panic, on
//! SIGINT and SIGTERM; what a killed run left behind is removed by the next one.
//!
//! It needs root and what `make deps` installs.

pub mod agent;
pub mod gateway;
pub mod host;
pub mod idle;
pub mod internet;
pub mod limit;
pub mod management;
pub mod netns;
pub mod probe;
pub mod process;
pub mod prometheus;
pub mod service;
pub mod site;
pub mod stream;
pub mod vlan;

use std::{
    sync::{
        Once,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub use self::{
    gateway::Gateway,
    host::{ComputeHost, Underlay, Vm},
    internet::Internet,
    management::{Keys, Management},
    netns::Netns,
    site::Site,
};

/// How long anything may take to come up before the lab gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Makes namespaces with names of their own.
#[derive(Debug)]
pub struct Lab {
    number: u32,
}

impl Lab {
    /// # Errors
    /// When not root: namespaces need it.
    pub fn new() -> Result<Lab> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        static START: Once = Once::new();
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab makes network namespaces and needs root; try sudo");
        }
        START.call_once(|| {
            netns::sweep();
            // A second handler in the same process is the only way to fail; the first one does the same.
            let _ = ctrlc::set_handler(|| {
                netns::remove_all();
                std::process::exit(130);
            });
        });
        Ok(Lab { number: NEXT.fetch_add(1, Relaxed) })
    }

    /// A new namespace; `role` is for people, unique within the lab.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn netns(&self, role: &str) -> Result<Netns> {
        Netns::new(&format!("{}-{role}", self.number))
    }

    /// A short name that no other lab on this machine uses now, for things that live outside its namespaces.
    pub fn unique(&self, role: &str) -> String {
        format!("{role}-{}-{}", std::process::id(), self.number)
    }
}

/// Asks `ready` again and again until it gives a value; the one place of the lab where time passes.
///
/// # Errors
/// `what` did not come in [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if start.elapsed() > PATIENCE {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}
