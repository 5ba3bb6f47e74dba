//! The gateway among kernel hosts in network namespaces. `make test-lab` runs all of it and fails without root; plain
//! `cargo test` leaves these tests out, with a word about it, where there is no root.

mod itself;

use tidegate_tests::lab::Lab;

/// A lab, or `None` where there can be none and nobody asked for one.
fn lab() -> Option<Lab> {
    match Lab::new() {
        Ok(lab) => Some(lab),
        Err(why) if std::env::var_os("TIDEGATE").is_none() => {
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}
