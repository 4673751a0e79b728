//! Loads and stores: which bytes the device answers, and which the core.

use super::Device;
use crate::Errno;
use crate::config::{
    COMMAND, COMMAND_BUS_MASTER, COMMAND_HI_INTX_DISABLE, STATUS, STATUS_INTERRUPT,
};
use crate::description::CONFIG;
use crate::irq::INTX;
use crate::region::Part;

impl Device {
    /// Reads `data.len()` bytes of a region.
    ///
    /// # Errors
    /// `EINVAL` for a region that does not exist or is write-only, or bytes that do not all lie in it.
    #[inline(always)]
    pub fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let ops = self.ops.as_mut().ok_or(Errno::NODEV)?;
        let it = self.cx.regions.get(region as usize).ok_or(Errno::INVAL)?;
        it.check(offset, data.len())?;
        if it.is_write_only() {
            return Err(Errno::INVAL);
        }
        if region == CONFIG && self.is_pci {
            self.config_read(offset, data);
            return Ok(());
        }
        self.cx.irqs.holdoff.accessed();
        if it.is_trapped() && !data.is_empty() {
            clear(data);
            ops.region_read(region, offset, data, &mut self.cx);
            return Ok(());
        }
        self.read_parts(region, offset, data)
    }

    /// Reads bytes not all of which are the device's to answer.
    fn read_parts(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let ops = self.ops.as_mut().ok_or(Errno::NODEV)?;
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let it = self.cx.regions.get(region as usize).ok_or(Errno::INVAL)?;
            let part = it.part(at, rest.len());
            let bytes = rest.split_off_mut(..part.length()).ok_or(Errno::INVAL)?;
            match part {
                Part::Memory(_) => it.memory().ok_or(Errno::INVAL)?.read(at, bytes)?,
                Part::Trapped(_) => {
                    clear(bytes);
                    ops.region_read(region, at, bytes, &mut self.cx);
                }
                Part::Msix(part, start, _) => self.cx.irqs.msix_read(part, start, bytes),
            }
            at += part.length() as u64;
        }
        Ok(())
    }

    /// Writes `data` to a region.
    ///
    /// # Errors
    /// `EINVAL` for a region that does not exist or is read-only, or bytes that do not all lie in it.
    #[inline]
    pub fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let ops = self.ops.as_mut().ok_or(Errno::NODEV)?;
        let it = self.cx.regions.get(region as usize).ok_or(Errno::INVAL)?;
        it.check(offset, data.len())?;
        if it.is_read_only() {
            return Err(Errno::INVAL);
        }
        if region == CONFIG && self.is_pci {
            self.config_write(offset, data);
            return Ok(());
        }
        self.cx.irqs.holdoff.accessed();
        if it.is_trapped() && !data.is_empty() {
            ops.region_write(region, offset, data, &mut self.cx);
            return Ok(());
        }
        self.write_parts(region, offset, data)
    }

    /// Writes bytes not all of which are the device's.
    fn write_parts(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let ops = self.ops.as_mut().ok_or(Errno::NODEV)?;
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let it = self.cx.regions.get(region as usize).ok_or(Errno::INVAL)?;
            let part = it.part(at, rest.len());
            let (bytes, after) = rest.split_at_checked(part.length()).ok_or(Errno::INVAL)?;
            match part {
                Part::Memory(_) => it.memory().ok_or(Errno::INVAL)?.write(at, bytes)?,
                Part::Trapped(_) => ops.region_write(region, at, bytes, &mut self.cx),
                Part::Msix(part, start, _) => self.cx.irqs.msix_write(part, start, bytes),
            }
            at += part.length() as u64;
            rest = after;
        }
        Ok(())
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.cx.config.read(offset, data);
        // The one status bit that changes by itself.
        if self.cx.irqs.level(INTX, 0)
            && let Some(status) = STATUS.checked_sub(offset).and_then(|at| data.get_mut(at))
        {
            *status |= STATUS_INTERRUPT;
        }
    }

    fn config_write(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if self.controls.write(&mut self.cx.config, at, data) {
            self.reset();
            return;
        }
        self.controls_written();
        if let Some(ops) = &mut self.ops {
            ops.config_written(offset, data.len(), &mut self.cx);
        }
    }

    /// What the core itself does about configuration space as it now is.
    pub(super) fn controls_written(&mut self) {
        let disabled = self.cx.config.byte(COMMAND + 1) & COMMAND_HI_INTX_DISABLE != 0;
        self.cx.irqs.set_intx_disabled(self.is_pci && disabled);
        let is_master = self.cx.config.byte(COMMAND) & COMMAND_BUS_MASTER != 0;
        self.cx.dma.set_bus_master(is_master || !self.is_pci);
        self.cx.irqs.set_msix_masked(self.controls.is_msix_masked(&self.cx.config));
    }
}

/// Zeroes: what a device leaves out must not be what somebody has been told before. A register takes no call for that.
#[inline]
fn clear(data: &mut [u8]) {
    match data {
        [byte] => *byte = 0,
        [a, b] => [*a, *b] = [0; 2],
        [a, b, c, d] => [*a, *b, *c, *d] = [0; 4],
        _ => data.fill(0),
    }
}
