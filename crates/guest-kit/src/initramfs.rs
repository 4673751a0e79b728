//! The guest's root file system: a cpio archive in the "newc" format of the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// An archive in the making. Entries are owned by root; later ones replace earlier ones of the same name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    directories: Vec<String>,
}

impl Initramfs {
    /// An executable file at an absolute path. Makes the directories above it.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        self.with_parents(path, FILE, contents);
    }

    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.directories.iter().any(|made| made == path) {
            return;
        }
        self.directories.push(path.to_owned());
        self.with_parents(path, DIRECTORY, &[]);
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn with_parents(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.entry(path, mode, contents);
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check; a file whose
        // size has more than 32 bits would not fit the guest either.
        let (size, name_size) = (contents.len(), name.len() + 1);
        let numbers =
            [self.entries as usize, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, read back as the format has them.
    fn read_back(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let number = |n: usize| {
                usize::from_str_radix(
                    std::str::from_utf8(&bytes[6 + n * 8..14 + n * 8]).unwrap(),
                    16,
                )
                .unwrap()
            };
            let (mode, size, name_size) = (number(1) as u32, number(6), number(11));
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            entries.push((name.clone(), mode, bytes[data..data + size].to_vec()));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
            if name == "TRAILER!!!" {
                assert!(bytes.is_empty());
                return entries;
            }
        }
    }

    #[test]
    fn files_and_the_directories_above_them_are_archived_once_and_aligned() {
        let mut initramfs = Initramfs::default();
        initramfs.file("/a/b/one", b"12345");
        initramfs.file("/a/b/two", b"");
        initramfs.directory("/a");
        let entry = |name: &str, mode, contents: &[u8]| (name.to_owned(), mode, contents.to_vec());
        assert_eq!(
            read_back(&initramfs.finish()),
            [
                entry("a", 0o40755, b""),
                entry("a/b", 0o40755, b""),
                entry("a/b/one", 0o100755, b"12345"),
                entry("a/b/two", 0o100755, b""),
                entry("TRAILER!!!", 0, b""),
            ]
        );
    }
}
