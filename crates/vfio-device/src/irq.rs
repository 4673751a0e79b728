//! Interrupts: the device states levels and edges, the client decides what becomes of them
//! (`VFIO_DEVICE_GET_IRQ_INFO`, `VFIO_DEVICE_SET_IRQS`).

mod aio;
pub(crate) mod eventfd;
mod holdoff;
mod info;
mod intercept;
mod missing;
mod msix;

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::Errno;
use crate::sources::{Interest, SourceId, Sources};
use holdoff::Holdoff;
pub use info::{ERR, INTX, IrqAction, IrqData, IrqFlags, IrqInfo, MSI, MSIX, REQ};
use intercept::Intercept;
pub use intercept::{Firing, IrqIntercept};
use missing::Missing;
pub(crate) use msix::MsixPart;
use msix::Table;

#[derive(Debug, Default)]
struct Vector {
    /// Where it goes. `None`: nowhere.
    trigger: Option<File>,
    /// The level that the device states.
    level: bool,
    /// By the client.
    masked: bool,
    /// By itself, when it fired: until the next unmask.
    automasked: bool,
    /// By the guest, in the MSI-X table.
    held: bool,
    /// An event that came while it was held back.
    pending: bool,
    /// It was the rise of the level, and has no meaning when that falls.
    pending_by_level: bool,
    /// Its last firing was made to [stick](Firing::Stuck).
    stuck: bool,
    fired: u64,
}

impl Vector {
    /// Signals the client, if it wants to know.
    fn fire(&mut self) -> bool {
        let Some(eventfd) = &self.trigger else { return false };
        if let Err(errno) = eventfd::signal(eventfd) {
            log::debug!("an interrupt's descriptor is no eventfd and is let go: {errno}");
            self.trigger = None;
            return false;
        }
        self.fired += 1;
        true
    }

    /// `masked`: by the guest, with all the others. What a guest masks stays pending.
    fn clear_client(&mut self, masked: bool) {
        (self.trigger, self.masked, self.automasked, self.stuck) = (None, false, false, false);
        self.pending &= self.held || masked;
    }
}

#[derive(Debug)]
struct Index {
    info: IrqInfo,
    /// The client has set it up and not taken it down since.
    enabled: bool,
    vectors: Vec<Vector>,
}

impl Index {
    fn is_level(&self) -> bool {
        self.info.flags.contains(IrqFlags::AUTOMASKED)
    }
}

/// The interrupts of one device.
///
/// The device says what holds ([`set_level`](Self::set_level)) or what has happened ([`trigger`](Self::trigger)),
/// best in one place and from its state; whether, where and when the client hears of it is settled here. On an
/// automasked index (INTx) a level fires once, masks itself, and fires again at unmask while it holds; INTx that a
/// message has unmasked several times while it held fires when the guest pauses. On any other index a rise of the level
/// fires. With the command register's Interrupt Disable bit set, INTx is held back.
#[derive(Debug)]
pub struct Irqs {
    indexes: Vec<Index>,
    /// Of a device of another bus the numbers of irq indexes mean nothing here.
    is_pci: bool,
    /// By the command register.
    intx_disabled: bool,
    /// By Function Mask.
    msix_masked: bool,
    msix_table: Table,
    pub(crate) holdoff: Holdoff,
    intercept: Option<Intercept>,
    /// The first call of the device's for a vector that it does not have.
    pub(crate) missing: Option<Missing>,
}

impl Irqs {
    pub(crate) fn new(infos: &[IrqInfo], is_pci: bool) -> Self {
        let index = |&info: &IrqInfo| Index {
            info,
            enabled: false,
            vectors: (0..info.count).map(|_| Vector::default()).collect(),
        };
        Self {
            indexes: infos.iter().map(index).collect(),
            is_pci,
            intx_disabled: false,
            msix_masked: false,
            msix_table: Table::new(
                infos.get(MSIX as usize).filter(|_| is_pci).map_or(0, |info| info.count),
            ),
            holdoff: Holdoff::default(),
            intercept: None,
            missing: None,
        }
    }

    /// Number of irq indexes.
    pub fn num_irqs(&self) -> u32 {
        u32::try_from(self.indexes.len()).unwrap_or(u32::MAX)
    }

    /// What index `index` is, `None` beyond the last.
    pub fn info(&self, index: u32) -> Option<IrqInfo> {
        self.indexes.get(index as usize).map(|index| index.info)
    }

    /// States the level of a vector. Safe to call after every access: only changes have an effect. A rise that is held back
    /// is forgotten if the level falls before it could fire. A vector that the
    /// device does not have is ignored.
    pub fn set_level(&mut self, index: u32, vector: u32, high: bool) {
        let is_edge = !self.indexes.get(index as usize).is_some_and(Index::is_level);
        let Some(it) = self.vector(index, vector) else {
            return self.note_missing("set_level", index, vector);
        };
        match (std::mem::replace(&mut it.level, high), high) {
            (false, true) => {
                let before = it.pending;
                let is_open = it.trigger.is_some() && !it.masked && !it.automasked;
                if is_open && self.is_intx(index) && !self.holdoff.risen() {
                    return;
                }
                self.deliver(index, vector, is_edge);
                if let Some(it) = self.vector(index, vector) {
                    it.pending_by_level = it.pending && !before;
                }
            }
            (true, false) if is_edge => it.pending &= !it.pending_by_level,
            (true, false) if self.is_intx(index) => self.holdoff.fallen(),
            _ => (),
        }
    }

    /// An event has happened: fires the vector, or once at unmask if it is masked. A vector that the device does not have
    /// is ignored.
    pub fn trigger(&mut self, index: u32, vector: u32) {
        if self.get(index, vector).is_none() {
            return self.note_missing("trigger", index, vector);
        }
        self.deliver(index, vector, true);
    }

    /// Signals irq index REQ, by which a client of a PCI device is asked to let go of it. Whether it listens.
    pub(crate) fn request(&mut self) -> bool {
        let armed = self.is_pci && self.is_armed(REQ, 0);
        if armed {
            self.trigger(REQ, 0);
        }
        armed
    }

    fn is_intx(&self, index: u32) -> bool {
        self.is_pci && index == INTX
    }

    /// The level last stated.
    pub fn level(&self, index: u32, vector: u32) -> bool {
        self.get(index, vector).is_some_and(|vector| vector.level)
    }

    /// How often the client was signalled through this vector since the device was made.
    pub fn fired(&self, index: u32, vector: u32) -> u64 {
        self.get(index, vector).map_or(0, |vector| vector.fired)
    }

    /// Whether the client has given this vector somewhere to go.
    pub fn is_armed(&self, index: u32, vector: u32) -> bool {
        self.get(index, vector).is_some_and(|vector| vector.trigger.is_some())
    }

    /// The command register's Interrupt Disable bit.
    pub(crate) fn set_intx_disabled(&mut self, disabled: bool) {
        if std::mem::replace(&mut self.intx_disabled, disabled) && !disabled {
            self.deliver(INTX, 0, false);
        }
    }

    /// `VFIO_DEVICE_SET_IRQS`. `sources` takes the eventfds by which the client unmasks.
    ///
    /// # Errors
    /// `EINVAL` for an index, range, action or data that the index does not take, or if another of INTx, MSI and MSI-X
    /// is set up; `EBADF` and the like for a descriptor that cannot be used.
    pub(crate) fn set<F>(
        &mut self,
        (index, action): (u32, IrqAction),
        range: Range<u32>,
        data: IrqData<'_, F>,
        sources: &mut Sources,
    ) -> Result<(), Errno>
    where
        F: ExactSizeIterator<Item = OwnedFd>,
    {
        let info = self.info(index).ok_or(Errno::INVAL)?;
        if range.start > range.end || range.end > info.count {
            return Err(Errno::INVAL);
        }
        match (action, data) {
            (IrqAction::Trigger, IrqData::None) if range == (0..0) => {
                self.disable(index, sources);
                Ok(())
            }
            _ if range.is_empty() => Err(Errno::INVAL),
            (IrqAction::Trigger, IrqData::Eventfd(fds)) => self.install(index, range, fds),
            (IrqAction::Trigger, data) => {
                // As vfio-pci has it: there is nothing to fire by hand on an index that is not set up.
                if !self.indexes.get(index as usize).is_some_and(|index| index.enabled) {
                    return Err(Errno::INVAL);
                }
                self.each(range, &data, |irqs, vector| irqs.deliver(index, vector, true))
            }
            _ if !info.flags.contains(IrqFlags::MASKABLE) => Err(Errno::INVAL),
            (IrqAction::Unmask, IrqData::Eventfd(fds)) => {
                Self::watch_unmask(index, range, fds, sources)
            }
            (IrqAction::Mask, IrqData::Eventfd(_)) => Err(Errno::INVAL),
            (IrqAction::Mask, data) => self.each(range, &data, |irqs, vector| {
                if let Some(vector) = irqs.vector(index, vector) {
                    vector.masked = true;
                }
            }),
            (IrqAction::Unmask, data) => {
                self.each(range, &data, |irqs, vector| irqs.unmask_by_message(index, vector))
            }
        }
    }

    /// Lets a vector through again: what held or came while it was masked fires now.
    pub(crate) fn unmask(&mut self, index: u32, vector: u32) {
        if let Some(it) = self.vector(index, vector) {
            (it.masked, it.automasked) = (false, false);
            self.deliver(index, vector, false);
        }
    }

    /// Forgets all that belongs to the open. Levels are the device's and stay. The MSI-X table goes: whoever comes next may
    /// keep one of his own, and would never unmask here.
    pub(crate) fn close(&mut self, sources: &mut Sources) {
        self.msix_masked = false;
        self.reset_msix_table();
        for index in 0..self.num_irqs() {
            self.disable(index, sources);
        }
    }

    /// All levels low, nothing pending and the MSI-X table at rest, as after a reset. Where interrupts go, and which are
    /// masked by the client, stays.
    pub(crate) fn reset(&mut self) {
        self.reset_msix_table();
        for vector in self.indexes.iter_mut().flat_map(|index| &mut index.vectors) {
            (vector.level, vector.pending) = (false, false);
        }
        self.holdoff.reset();
    }

    fn disable(&mut self, index: u32, sources: &mut Sources) {
        if let Some(it) = self.indexes.get_mut(index as usize) {
            it.enabled = false;
            let masked = index == MSIX && self.msix_masked;
            it.vectors.iter_mut().for_each(|vector| vector.clear_client(masked));
            sources.remove_unmask(index);
        }
        if self.is_intx(index) {
            self.holdoff.reset();
        }
    }

    fn install(
        &mut self,
        index: u32,
        range: Range<u32>,
        mut fds: impl ExactSizeIterator<Item = OwnedFd>,
    ) -> Result<(), Errno> {
        if fds.len() != 0 && fds.len() != range.len() {
            return Err(Errno::INVAL);
        }
        let modes = [INTX, MSI, MSIX];
        let in_use = |&other: &u32| {
            other != index && self.indexes.get(other as usize).is_some_and(|it| it.enabled)
        };
        if self.is_pci && modes.contains(&index) && modes.iter().any(in_use) {
            return Err(Errno::INVAL);
        }
        // All or nothing: a descriptor that cannot be used leaves what was installed before.
        let files = range
            .clone()
            .map(|_| fds.next().map(eventfd::accept).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(it) = self.indexes.get_mut(index as usize) {
            it.enabled = true;
        }
        for (vector, file) in range.zip(files) {
            if let Some(it) = self.vector(index, vector) {
                // What went to the old descriptor may never have been seen; what the client masked stays masked.
                (it.trigger, it.automasked) = (file, false);
                self.deliver(index, vector, false);
            }
        }
        Ok(())
    }

    fn watch_unmask(
        index: u32,
        range: Range<u32>,
        fds: impl ExactSizeIterator<Item = OwnedFd>,
        sources: &mut Sources,
    ) -> Result<(), Errno> {
        if fds.len() == 0 {
            range.for_each(|vector| sources.remove(SourceId::Unmask { index, vector }));
            return Ok(());
        }
        if fds.len() != range.len() {
            return Err(Errno::INVAL);
        }
        let files = fds.map(eventfd::accept).collect::<Result<Vec<_>, _>>()?;
        for (vector, file) in range.zip(files) {
            sources.insert(SourceId::Unmask { index, vector }, file.into(), Interest::READ);
        }
        Ok(())
    }

    /// Calls `act` for the vectors that `data` picks out of `range`.
    fn each<F>(
        &mut self,
        range: Range<u32>,
        data: &IrqData<'_, F>,
        act: impl Fn(&mut Self, u32),
    ) -> Result<(), Errno> {
        match data {
            IrqData::Bool(bytes) if bytes.len() != range.len() => return Err(Errno::INVAL),
            IrqData::Bool(bytes) => {
                range
                    .zip(bytes.iter())
                    .filter(|(_, byte)| **byte != 0)
                    .for_each(|(vector, _)| act(self, vector));
            }
            _ => range.for_each(|vector| act(self, vector)),
        }
        Ok(())
    }

    /// The one place where an interrupt goes out. `event`: something has just happened, apart from any level that holds.
    fn deliver(&mut self, index: u32, vector: u32, event: bool) {
        let disabled = self.is_intx(index) && self.intx_disabled;
        let msix_masked = index == MSIX && self.msix_masked;
        let Some(it) = self.indexes.get_mut(index as usize) else { return };
        let is_level = it.is_level();
        let Some(it) = it.vectors.get_mut(vector as usize) else { return };
        // What a guest masks it can look for in the pending bits, whether or not the client has a descriptor for it yet.
        let held = it.held || msix_masked;
        it.pending_by_level &= !event;
        if disabled || held || it.masked || it.automasked {
            it.pending |= event && (held || it.trigger.is_some());
        } else if event || it.pending || (is_level && (it.level || it.stuck)) {
            // What a guest has been shown as pending waits for somebody who hears of it.
            it.pending &= it.trigger.is_none();
            let firing = match &mut self.intercept {
                Some(intercept) if it.trigger.is_some() => intercept.0(index, vector),
                _ => Firing::Signalled,
            };
            it.stuck = firing == Firing::Stuck;
            it.automasked = firing != Firing::Lost && it.fire() && is_level;
        }
    }

    fn get(&self, index: u32, vector: u32) -> Option<&Vector> {
        self.indexes.get(index as usize)?.vectors.get(vector as usize)
    }

    fn vector(&mut self, index: u32, vector: u32) -> Option<&mut Vector> {
        self.indexes.get_mut(index as usize)?.vectors.get_mut(vector as usize)
    }
}
