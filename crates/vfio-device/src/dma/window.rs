//! Writes to a client's file that wait for nobody, whatever the client does to the file meanwhile.
//!
//! `pwrite` takes the inode's lock, which the client can hold for as long as it likes: by a `write` of its own out of memory
//! whose pages somebody (userfaultfd, a FUSE file) is slow to give. The thread would then wait and not even SIGKILL would
//! end it. So the kernel is asked to write to a mapping, by `process_vm_writev` to this very process: that takes no such
//! lock, and what the client has truncated is EFAULT there, where a store would raise SIGBUS. The mapping is there
//! for one write and nothing here ever reads or stores through it. `O_APPEND` and `RLIMIT_FSIZE`, which turn a `pwrite`
//! elsewhere or into SIGXFSZ, are nothing to it.

// UNSAFETY: mappings that are not memory of Rust's, and process_vm_writev, have no safe wrapper in rustix.
#![expect(unsafe_code, reason = "see above")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::Errno;

/// A part of a file, mapped. Never turned into a reference.
struct Window {
    address: *mut c_void,
    length: usize,
}

impl Window {
    /// `length` bytes from `offset` on, both as the file system wants them.
    fn open(file: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Self, Errno> {
        let offset = i64::try_from(offset).map_err(|_| Errno::IO)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses: it replaces nothing.
        let address = unsafe {
            let fd = file.as_raw_fd();
            libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, offset)
        };
        if address == libc::MAP_FAILED {
            return Err(match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => Errno::ACCESS, // F_SEAL_WRITE
                _ => Errno::IO,
            });
        }
        Ok(Self { address, length })
    }

    /// Copies `data` to `offset` bytes into the window; how many got there.
    fn write(&self, offset: usize, data: &[u8]) -> Result<usize, Errno> {
        let local = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let remote =
            libc::iovec { iov_base: self.address.wrapping_byte_add(offset), iov_len: data.len() };
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        if offset.checked_add(data.len()).is_none_or(|end| end > self.length) {
            return Err(Errno::IO);
        }
        // SAFETY: `local` is `data`, which is only read. `remote` lies in the window (checked above), which is this value's
        // alone and to which no reference exists.
        let count = unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) };
        usize::try_from(count).ok().filter(|count| *count != 0).ok_or(Errno::IO)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's alone, and nothing points into it.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// Writes `data` to `offset` of a file that lies in pages of `page` bytes. The file does not become longer.
///
/// # Errors
/// `EACCES` if the file is sealed; `EIO` if it does not reach as far, or there is no memory.
pub(super) fn write(
    file: BorrowedFd<'_>,
    page: u64,
    offset: u64,
    mut data: &[u8],
) -> Result<(), Errno> {
    let into = offset % page;
    let length = (into + data.len() as u64).next_multiple_of(page);
    let length = usize::try_from(length).map_err(|_| Errno::IO)?;
    let window = Window::open(file, offset - into, length)?;
    let mut at = usize::try_from(into).map_err(|_| Errno::IO)?;
    while !data.is_empty() {
        let count = window.write(at, data)?;
        data = data.get(count..).unwrap_or_default();
        at += count;
    }
    Ok(())
}
