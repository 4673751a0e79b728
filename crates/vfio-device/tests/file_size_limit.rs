//! Under RLIMIT_FSIZE a write to a file beyond the limit ends the process (SIGXFSZ), and how large its file is a client
//! says. Alone in its binary: the limit is the process's.

#![cfg(test)]

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::process::{Resource, Rlimit, setrlimit};
use vfio_device::{
    Context, Description, DmaRange, Errno, OpenMode, SharedMemory, Vfio, VfioDevice,
};

/// At a reset it reads and writes its client's memory.
struct Engine;

impl VfioDevice for Engine {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, cx: &mut Context) {
        assert_eq!(cx.dma.read(1 << 20, &mut [0]), Ok(()));
        assert_eq!(cx.dma.write(1 << 20, &[1]), Ok(()));
        assert_eq!(cx.dma.write((2 << 20) - 1, &[1]), Ok(()));
    }
}

#[test]
fn a_limit_for_the_size_of_files_is_none_for_dma_and_refuses_memory() -> Result<(), Errno> {
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), maximum: None })?;
    let mut device = Vfio::new().alloc(|_| Ok((Description::other().dma(), Box::new(Engine))))?;
    device.register()?;
    device.open(OpenMode::Exclusive)?;
    // The client's own limits let it make a larger one.
    setrlimit(Resource::Fsize, Rlimit { current: None, maximum: None })?;
    let memory = memfd_create("large", MemfdFlags::CLOEXEC)?;
    ftruncate(&memory, 2 << 20)?;
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), maximum: None })?;
    let range = DmaRange { address: 0, size: 2 << 20, readable: true, writable: true };
    device.dma_map(range, Some((memory, 0)))?;
    device.reset();
    for refused in [SharedMemory::new("large", 2 << 20), SharedMemory::new("large", (1 << 20) + 1)]
    {
        assert_eq!(refused.unwrap_err(), Errno::FBIG);
    }
    assert!(SharedMemory::new("small", 1 << 20).is_ok());
    Ok(())
}
