//! Waiting for a descriptor. The one place of the crate with `unsafe`: tokio asks for a promise that the type here keeps.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Says when a descriptor can be read.
#[derive(Debug)]
pub(super) struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    /// Of a descriptor of the same file, so that it stays open whatever its owner does.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) fn of(fd: BorrowedFd<'_>) -> io::Result<Ready> {
        let own = fd.try_clone_to_owned()?;
        #[expect(unsafe_code, reason = "tokio has no safe constructor")]
        // SAFETY: an `OwnedFd` is open until it is dropped, which is not before the `AsyncFd` is, and always says the same number.
        let ready = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
        Ok(Ready(ready))
    }

    /// Waits until there may be something to read, since the last time that all was read.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) async fn wait(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.clear_ready())
    }
}
