//! How this program was built, as `build.rs` of the package saw it.

/// The commit, and `-dirty` where what counts had changes; `unknown` outside a repository.
pub const REVISION: &str = env!("TIDEGATE_REVISION");

/// The compiler.
pub const RUSTC: &str = env!("TIDEGATE_RUSTC");

/// CPU and features that the compiler was told.
pub const CPU: &str = env!("TIDEGATE_CPU");

/// Whether DPDK's C functions are inlined at link time.
pub const LTO: bool = matches!(env!("TIDEGATE_LTO").as_bytes(), b"yes");

/// Whether it is an optimised build.
pub const OPTIMISED: bool = !cfg!(debug_assertions);
