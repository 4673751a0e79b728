//! Who may get at a manager's devices.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown};
use std::path::Path;

use crate::errors::plain;

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
        // Where all others may, a group has nothing more.
        let of_group = mode & 0o066 == 0o060;
        let group = found.map(|found| found.gid()).filter(|gid| of_group && *gid != ours);
        Self { uids, mode, group }
    }

    /// What of it this process can give, tried in a directory of its own. That it is not all is logged: once, and not with
    /// each device.
    pub fn tried_in(self, directory: &Path) -> Self {
        let Some(group) = self.group else { return self };
        // Only who is in a group may give a file to it.
        let tried = tempfile::tempfile_in(directory).and_then(|it| fchown(it, None, Some(group)));
        let Err(error) = tried else { return self };
        let group = name_of(group);
        log::error!(
            "devices' sockets stay this user's alone: they cannot be given to group {group}, as the control socket is \
             ({}); put this user into that group, with systemd by SupplementaryGroups={group} in the service",
            plain(&error)
        );
        Self { mode: 0o600, group: None, ..self }
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

/// Its name if it has one here, and its number otherwise, which does as well.
fn name_of(group: u32) -> String {
    let groups = fs::read("/etc/group").unwrap_or_default();
    let groups = String::from_utf8_lossy(&groups);
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(group)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| group.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group that this process may give files to, and is not in with what it makes.
    fn another_group() -> Option<u32> {
        if rustix::process::geteuid().is_root() {
            return Some(54321);
        }
        let ours = rustix::process::getegid();
        let groups = rustix::process::getgroups().unwrap();
        groups.into_iter().find(|group| *group != ours).map(rustix::process::Gid::as_raw)
    }

    #[test]
    fn a_device_s_socket_has_the_group_of_the_one_that_was_handed_over_where_that_may_more_than_others()
     {
        let Some(group) = another_group() else {
            eprintln!("NOT TESTED: it takes a second group");
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let (handed, socket) = (directory.path().join("handed"), directory.path().join("socket"));
        fs::write(&handed, "").unwrap();
        chown(&handed, None, Some(group)).unwrap();
        for (mode, expected) in [
            (0o660, (0o660, true)),
            (0o620, (0o660, true)),
            (0o600, (0o600, false)),
            (0o640, (0o600, false)),
            (0o606, (0o606, false)),
            (0o666, (0o666, false)),
        ] {
            fs::set_permissions(&handed, Permissions::from_mode(mode)).unwrap();
            fs::write(&socket, "").unwrap();
            fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
            let access = Access::new(None, Some(&handed)).tried_in(directory.path());
            access.grant(&socket).unwrap();
            let found = socket.metadata().unwrap();
            assert_eq!((found.mode() & 0o7777, found.gid() == group), expected, "{mode:o}");
            fs::remove_file(&socket).unwrap();
        }
    }

    #[test]
    fn a_group_is_called_by_its_name_or_else_its_number() {
        assert_eq!((name_of(0), name_of(4_294_967_294)), ("root".into(), "4294967294".into()));
    }

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
