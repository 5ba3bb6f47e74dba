//! C return codes as results.

use std::{fmt, io};

use crate::{log, sys};

/// A DPDK function refused: which, why, and what DPDK printed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The function.
    pub call: &'static str,
    /// A positive errno value; 0 when DPDK gave none.
    pub errno: i32,
    /// DPDK's own words, lines joined with `; `; empty when it said nothing.
    pub said: String,
}

impl Error {
    /// No such device or file.
    pub const ENOENT: i32 = 2;
    /// Permission.
    pub const EPERM: i32 = 1;
    /// Out of memory.
    pub const ENOMEM: i32 = 12;
    /// Permission.
    pub const EACCES: i32 = 13;
    /// In use.
    pub const EBUSY: i32 = 16;
    /// Is there already.
    pub const EEXIST: i32 = 17;
    /// No such device.
    pub const ENODEV: i32 = 19;
    /// Bad argument.
    pub const EINVAL: i32 = 22;
    /// The device cannot do it.
    pub const ENOTSUP: i32 = 95;

    /// The error of `call` with `errno` of either sign, and with what DPDK said since `mark`.
    pub(crate) fn new(call: &'static str, errno: i32, mark: log::Mark) -> Error {
        let said = log::since(mark);
        // Many drivers return -1 for any failure; read as EPERM it would mislead.
        let errno = if errno == -1 && !said.is_empty() { 0 } else { errno.saturating_abs() };
        Error { call, errno, said }
    }

    /// The same with the thread's `rte_errno`, for functions that return a null pointer or -1.
    pub(crate) fn from_rte_errno(call: &'static str, mark: log::Mark) -> Error {
        // SAFETY: reads a thread-local variable of libdpdk; no precondition.
        Error::new(call, unsafe { sys::tg_shim_errno() }, mark)
    }

    /// Whether the cause is a missing right.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Error::EPERM | Error::EACCES)
            || self.said.contains("Permission denied")
            || self.said.contains("Operation not permitted")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.call)?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        if !self.said.is_empty() {
            write!(f, " [DPDK said: {}]", self.said)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns "0 or more is good, negative is -errno" into a result.
pub(crate) fn check(call: &'static str, mark: log::Mark, code: i32) -> Result<u32, Error> {
    u32::try_from(code).map_err(|_| Error::new(call, code, mark))
}
