//! The control thread and its tools.
