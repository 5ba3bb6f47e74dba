//! DPDK's log, caught before it reaches the terminal: the last lines are kept for error messages and for whoever logs.

use std::{
    collections::VecDeque,
    ffi::{c_char, c_int, c_long, c_void},
    ptr, slice,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::sys;

/// Lines that are kept; older ones go.
const LINES_MAX: usize = 256;

/// How much DPDK says: every line of this level and of the graver ones. The numbers are DPDK's (`rte_log.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// RTE_LOG_CRIT and graver.
    Critical = 3,
    /// RTE_LOG_ERR.
    Error = 4,
    /// RTE_LOG_WARNING.
    Warning = 5,
    /// RTE_LOG_NOTICE.
    Notice = 6,
    /// RTE_LOG_INFO.
    Info = 7,
    /// RTE_LOG_DEBUG.
    Debug = 8,
}

/// What DPDK adds to every failed probe, which tells nothing.
const EMPTY_WORDS: &str = "Failed to attach device on primary process";

/// One line of DPDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How grave.
    pub level: Level,
    /// As DPDK wrote it, without the line end.
    pub text: String,
}

/// A moment in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

struct Buffer {
    lines: VecDeque<Line>,
    /// Lines ever written, so that a [`Mark`] stays right when old ones go.
    written: u64,
    /// Lines ever drained.
    drained: u64,
}

static BUFFER: Mutex<Buffer> = Mutex::new(Buffer { lines: VecDeque::new(), written: 0, drained: 0 });

fn buffer() -> MutexGuard<'static, Buffer> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines that came since the last call, oldest first. At most 256 are kept in between. Takes a lock; not for workers.
pub fn drain() -> Vec<Line> {
    let mut buffer = buffer();
    let new = usize::try_from(buffer.written - buffer.drained).unwrap_or(usize::MAX).min(buffer.lines.len());
    buffer.drained = buffer.written;
    buffer.lines.iter().skip(buffer.lines.len() - new).cloned().collect()
}

/// Now.
pub(crate) fn mark() -> Mark {
    Mark(buffer().written)
}

/// What was said since, in one line: warnings and graver where there are any, else everything.
pub(crate) fn since(mark: Mark) -> String {
    let buffer = buffer();
    let new = usize::try_from(buffer.written - mark.0).unwrap_or(usize::MAX).min(buffer.lines.len());
    let lines = buffer.lines.iter().skip(buffer.lines.len() - new);
    let lines: Vec<&Line> = lines.filter(|line| !line.text.ends_with(EMPTY_WORDS)).collect();
    let grave = lines.iter().any(|line| line.level <= Level::Warning);
    let said =
        lines.iter().filter(|line| !grave || line.level <= Level::Warning).map(|line| line.text.as_str());
    said.collect::<Vec<_>>().join("; ")
}

fn push(level: Level, text: &str) {
    let mut buffer = buffer();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if buffer.lines.len() == LINES_MAX {
            buffer.lines.pop_front();
        }
        buffer.lines.push_back(Line { level, text: line.to_owned() });
        buffer.written += 1;
    }
}

/// Points DPDK's log here. Without effect where the C library refuses a stream; then DPDK writes to stderr.
pub(crate) fn capture() {
    let functions = sys::cookie_io_functions_t { write: Some(write), ..Default::default() };
    // SAFETY: 1. the mode is a C string; 2. `write` needs no cookie; 3. the stream is never closed, so DPDK and the C
    // library may use it until the process ends. The buffer mode is set before the first write.
    unsafe {
        let stream = sys::fopencookie(ptr::null_mut(), c"w".as_ptr(), functions);
        if !stream.is_null() {
            sys::setvbuf(stream, ptr::null_mut(), sys::_IOLBF as c_int, 0);
            sys::rte_openlog_stream(stream);
        }
    }
}

/// Takes what the C library has buffered: whole lines, from any thread, one call at a time (the stream's lock).
unsafe extern "C" fn write(_cookie: *mut c_void, bytes: *const c_char, len: usize) -> c_long {
    // SAFETY: fopencookie(3): the buffer holds `len` bytes.
    let text = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), len) };
    // SAFETY: reads a thread-local variable of libdpdk.
    let level = match unsafe { sys::rte_log_cur_msg_loglevel() } {
        ..=3 => Level::Critical,
        4 => Level::Error,
        5 => Level::Warning,
        6 => Level::Notice,
        7 => Level::Info,
        _ => Level::Debug,
    };
    push(level, &String::from_utf8_lossy(text));
    c_long::try_from(len).unwrap_or(c_long::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_quote_the_grave_lines_and_only_the_new_ones() {
        push(Level::Error, "old\n");
        let since_here = mark();
        push(Level::Info, "chatter\n");
        assert_eq!(since(since_here), "chatter");
        push(Level::Error, "it broke\nfor good\n");
        assert_eq!(since(since_here), "it broke; for good");
        for n in 0..2 * LINES_MAX {
            push(Level::Info, &n.to_string());
        }
        assert_eq!(drain().len(), LINES_MAX);
        assert!(drain().is_empty());
    }
}
