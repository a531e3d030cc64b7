//! Who may use the machine: light tests run beside each other, a heavy one (load, timing, memory) runs alone.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Held for as long as a test runs.
#[derive(Debug)]
pub enum Turn {
    /// Beside other light tests.
    Light(RwLockReadGuard<'static, ()>),
    /// Alone.
    Heavy(RwLockWriteGuard<'static, ()>),
}

/// Waits for a turn beside others.
pub fn light() -> Turn {
    Turn::Light(MACHINE.read())
}

/// Waits for the machine to be free.
pub fn heavy() -> Turn {
    Turn::Heavy(MACHINE.write())
}
