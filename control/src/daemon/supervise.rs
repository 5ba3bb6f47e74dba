//! The watchdog: a fault of the control thread must not end the gateway.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

/// Pause before control starts again, so that a fault at every start does not burn a core.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs `run` until it returns. When it panics, `recover` is told why and `run` is called again; a panic in `recover`
/// itself is survived, too.
pub(super) fn supervise<T>(mut run: impl FnMut() -> T, recover: impl Fn(&str)) -> T {
    loop {
        match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(result) => return result,
            Err(panic) => {
                let why = text(panic.as_ref());
                if catch_unwind(AssertUnwindSafe(|| recover(&why))).is_err() {
                    tracing::error!("recovering failed; the next start tries again");
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// What a panic says.
pub(super) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn control_starts_again_after_a_panic_and_says_why() {
        let (mut starts, faults) = (0, RefCell::new(Vec::new()));
        let result = supervise(
            || {
                starts += 1;
                assert!(starts > 2, "fault {starts}");
                starts
            },
            |why| {
                faults.borrow_mut().push(why.to_owned());
                assert!(faults.borrow().len() > 1, "even recovering may fail");
            },
        );
        assert_eq!((result, faults.into_inner()), (3, vec!["fault 1".to_owned(), "fault 2".to_owned()]));
    }
}
