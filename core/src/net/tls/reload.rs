//! A value that can be replaced while others use it.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// Holds the material that the next handshake will use. Sessions that exist keep what they were made with.
///
/// Only checked material can enter, because a `T` such as [`super::ServerTls`] is checked when it is built; so a reload
/// that fails leaves the old material in place.
#[derive(Debug)]
pub struct Reloadable<T>(ArcSwap<T>);

impl<T> Reloadable<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Reloadable(ArcSwap::from_pointee(value))
    }

    /// What is current. Take it once per handshake and keep it for whatever else belongs to that handshake (channel
    /// binding): another call may give newer material.
    pub fn current(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces it.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}
