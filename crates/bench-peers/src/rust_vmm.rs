//! The server of the `vfio_user` crate: <https://github.com/rust-vmm/vfio-user>.

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info, vfio_region_sparse_mmap_area,
};
use vfio_user::{
    DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion, SparseArea,
};

use crate::small::{MEMORY, REGISTERS, Small};

/// Region and irq indexes that a PCI device has.
const REGIONS: u32 = 9;
const IRQS: u32 = 5;
const MSI: u32 = 1;

struct Backend {
    small: Small,
    trigger: Option<File>,
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.small.read(region, offset, data);
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.small.write(region, offset, data)
            && let Some(trigger) = &mut self.trigger
        {
            #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
            trigger.write_all(&1u64.to_ne_bytes())?;
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        _: DmaMapFlags,
        _: u64,
        _: u64,
        _: u64,
        _: Option<File>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn dma_unmap(&mut self, _: DmaUnmapFlags, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.small = Small::new();
        Ok(())
    }

    fn set_irqs(&mut self, _: u32, _: u32, _: u32, _: u32, fds: Vec<File>) -> io::Result<()> {
        self.trigger = fds.into_iter().next();
        Ok(())
    }
}

fn region(index: u32, size: u64) -> ServerRegion {
    let flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    let argsz = size_of::<vfio_region_info>() as u32;
    let region_info = vfio_region_info { argsz, flags, index, size, ..Default::default() };
    ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
}

pub fn serve(socket: &Path) -> Result<(), Box<dyn Error>> {
    let memory = memfd_create("region 2", MemfdFlags::CLOEXEC)?;
    ftruncate(&memory, MEMORY)?;
    let regions = (0..REGIONS).map(|index| match index {
        0 => region(index, REGISTERS),
        1 => region(index, MEMORY),
        2 => {
            let mut region = region(index, MEMORY);
            region.region_info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
            let area = vfio_region_sparse_mmap_area { offset: 0, size: MEMORY };
            region.sparse_areas.push(SparseArea { area });
            region.mmap_fd = Some(memory.as_raw_fd());
            region
        }
        _ => region(index, 0),
    });
    let irqs = (0..IRQS).map(|index| IrqInfo {
        index,
        flags: VFIO_IRQ_INFO_EVENTFD,
        count: u32::from(index == MSI),
    });
    let server = Server::new(socket, true, irqs.collect(), regions.collect())?;
    let mut backend = Backend { small: Small::new(), trigger: None };
    // A run is one connection.
    loop {
        server.run(&mut backend)?;
    }
}
