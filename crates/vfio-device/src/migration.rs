//! A device's part in migration.
//!
//! No client of vfio-user migrates yet (QEMU 11.1 sends none of the messages), and so the server refuses them. This is
//! the place that a device which wants to be ready for it fills in.

use crate::Errno;

/// What a device adds to a migration stream: its registers. Configuration space, mapped memory and the state of
/// interrupts belong to the core, which saves them itself.
pub trait Migration {
    /// Names the record; never changes.
    fn kind(&self) -> &'static str;

    /// Rises when the layout of the record does.
    fn version(&self) -> u16;

    /// Appends the device's record.
    fn save(&self, record: &mut Vec<u8>);

    /// Takes a record over: all of it, or nothing.
    ///
    /// # Errors
    /// `EINVAL` for a record that is not one of this device in this version, or holds impossible values.
    fn load(&mut self, version: u16, record: &[u8]) -> Result<(), Errno>;
}
