//! Who may get at a manager's devices.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Who may connect to devices: what the system looks at, and what the devices' endpoints do.
#[derive(Clone, Debug)]
pub struct Access {
    /// The users whose processes may; all, if there is no list.
    pub uids: Option<Vec<u32>>,
    /// Of a device's socket.
    mode: u32,
    /// Its group, unless it is this process's.
    group: Option<u32>,
}

impl Access {
    /// As the control socket at `handed` has it, which whoever manages the machine has made: who may use that may use what
    /// is made by it. Without one devices are this user's alone.
    pub fn new(uids: Option<Vec<u32>>, handed: Option<&Path>) -> Self {
        let found = handed.and_then(|path| fs::metadata(path).ok());
        // To connect is to write.
        let writable = found.as_ref().map_or(0, |found| found.mode() & 0o022);
        let mode = 0o600 | writable | writable << 1;
        let ours = rustix::process::getegid().as_raw();
        let group = found.map(|found| found.gid()).filter(|gid| mode & 0o060 != 0 && *gid != ours);
        Self { uids, mode, group }
    }

    /// Whether anybody else may, as far as the system is asked.
    pub fn is_for_others(&self) -> bool {
        self.mode != 0o600
    }

    /// Opens a socket for them, which until then is this user's alone.
    pub(super) fn grant(&self, socket: &Path) -> io::Result<()> {
        if !self.is_for_others() {
            return Ok(());
        }
        chown(socket, None, self.group)?;
        fs::set_permissions(socket, Permissions::from_mode(self.mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(mode: u32) -> u32 {
        let directory = tempfile::tempdir().unwrap();
        let (handed, socket) = (directory.path().join("handed"), directory.path().join("socket"));
        for (path, mode) in [(&handed, mode), (&socket, 0o600)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let access = Access::new(None, Some(&handed));
        assert_eq!(access.is_for_others(), mode & 0o022 != 0);
        access.grant(&socket).unwrap();
        socket.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_device_s_socket_is_as_the_one_that_was_handed_over_and_its_owner_s_at_least() {
        for (handed, expected) in [
            (0o600, 0o600),
            (0o000, 0o600),
            (0o755, 0o600),
            (0o660, 0o660),
            (0o620, 0o660),
            (0o602, 0o606),
            (0o4777, 0o666),
        ] {
            assert_eq!(mode_of(handed), expected, "{handed:o}");
        }
        assert!(!Access::new(None, None).is_for_others());
        assert!(!Access::new(None, Some(Path::new("/no/such"))).is_for_others());
    }
}
