//! Tests that see everything.
