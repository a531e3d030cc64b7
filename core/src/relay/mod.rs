//! Being written: one client's life.
