//! One client's conversation, without its socket: a message in, an answer out.
//!
//! Bytes and descriptors come in, bytes go out, the device is called in between. So the tests of this module are
//! tables of bytes. Every message is complete when it gets here and is gone when it leaves: a refusal cannot put the
//! stream out of step.

use vfio_device::{Device, Errno, IrqData, OpenMode};

use crate::command::Command;
use crate::dma;
use crate::refusal::Refusal;
use crate::region_info;
pub use crate::transport::Fds;
use crate::version::{self, MAX_DATA_XFER_SIZE, Proposal};
use crate::wire::{
    DeviceInfo, DirtyBitmap, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet, RegionAccess, RegionIoFds,
    SingleWrite, WriteMulti,
};

/// Largest message that a client may send, bytes: a `REGION_WRITE` of `max_data_xfer_size`.
pub const MAX_MESSAGE: usize = Header::SIZE + RegionAccess::SIZE + MAX_DATA_XFER_SIZE as usize;
/// Largest body of an answer, bytes: a `REGION_READ` of `max_data_xfer_size`.
pub const MAX_ANSWER: usize = RegionAccess::SIZE + MAX_DATA_XFER_SIZE as usize;

/// What is to be sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Bytes of the body, at the front of the buffer.
    pub body: usize,
    /// The region whose memory's descriptor goes with it.
    pub region_fd: Option<u32>,
}

impl Answer {
    const EMPTY: Self = Self { body: 0, region_fd: None };

    /// An answer of as many bytes of `out` as `rest` leaves.
    fn up_to(out_len: usize, rest: Option<&mut [u8]>) -> Self {
        Self { body: rest.map_or(0, |rest| out_len - rest.len()), region_fd: None }
    }
}

/// The state of a conversation.
///
/// ```
/// use vfio_user_server::session::{Fds, MAX_ANSWER, Session};
/// use vfio_user_server::vfio_device::{Context, Description, Vfio, VfioDevice};
/// use vfio_user_server::wire::{Command, DeviceInfo, Header};
///
/// struct Nothing;
///
/// impl VfioDevice for Nothing {
///     fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
///     fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
///     fn reset(&mut self, _: &mut Context) {}
/// }
///
/// let what = Description::pci(0x1234, 0x5678);
/// let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Nothing))))?;
/// device.register()?;
///
/// let mut session = Session::new();
/// let mut out = vec![0; MAX_ANSWER];
/// let mut say = |command: Command, body: &[u8]| {
///     let msg_size = (Header::SIZE + body.len()) as u32;
///     let command = command.number();
///     let header = Header { msg_id: 1, command, msg_size, flags: Header::COMMAND, error_no: 0 };
///     let answer = session.handle(&mut device, &header, body, &mut Fds::new(), &mut out)?;
///     Ok::<_, vfio_user_server::refusal::Refusal>(out[..answer.body].to_vec())
/// };
/// let mut ask = vec![0; DeviceInfo::SIZE];
/// DeviceInfo { argsz: ask.len() as u32, ..DeviceInfo::default() }.encode(&mut ask);
///
/// assert!(say(Command::DeviceGetInfo, &ask).is_err()); // VERSION comes first
/// say(Command::Version, &[0; 4])?; // 0.0, and no capabilities
/// let body = say(Command::DeviceGetInfo, &ask)?;
/// let (info, _) = DeviceInfo::decode(&body).ok_or("a short answer")?;
/// assert_eq!(info.num_regions, 9);
/// assert!(session.is_open());
/// device.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Session {
    agreed: Option<Proposal>,
    /// Whoever it is may not use the device.
    strange: bool,
}

impl Session {
    /// A conversation in which nothing has been said. The device is opened by `VERSION`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A conversation with somebody who may not use the device: `VERSION` is refused.
    pub(crate) fn of_stranger() -> Self {
        Self { strange: true, ..Self::default() }
    }

    pub(crate) fn is_strange(&self) -> bool {
        self.strange
    }

    /// Whether `VERSION` has been agreed on, and so the device opened. Who drops the session then closes it.
    pub fn is_open(&self) -> bool {
        self.agreed.is_some()
    }

    /// Carries one command out. `fds` are those that came with it; what is left of them is the caller's to close. The
    /// body of the answer is written to `out`, which has room for [`MAX_ANSWER`] bytes.
    ///
    /// # Errors
    /// The [`Refusal`] to answer; nothing has been done then.
    #[inline(always)]
    pub fn handle(
        &mut self,
        device: &mut Device,
        header: &Header,
        body: &[u8],
        fds: &mut Fds,
        out: &mut [u8],
    ) -> Result<Answer, Refusal> {
        if !header.is_command() {
            return Err(Refusal::NotACommand { flags: header.flags });
        }
        let Some(agreed) = &self.agreed else {
            return self.version(device, header, body, fds, out);
        };
        let command = Command::try_from(header.command)?;
        if !fds.is_empty() && !matches!(command, Command::DmaMap | Command::DeviceSetIrqs) {
            return Err(Refusal::Descriptors { count: fds.len() });
        }
        let message = Message { command, body };
        match command {
            Command::RegionRead => region_read(device, message, out),
            Command::RegionWrite => region_write(device, message, out),
            _ => other(device, agreed, message, fds, out),
        }
    }

    /// The first message. It makes the client the device's user: if there is one already, this is where the second
    /// hears of it.
    #[cold]
    fn version(
        &mut self,
        device: &mut Device,
        header: &Header,
        body: &[u8],
        fds: &Fds,
        out: &mut [u8],
    ) -> Result<Answer, Refusal> {
        if Command::try_from(header.command) != Ok(Command::Version) {
            return Err(Refusal::BeforeVersion { number: header.command });
        }
        if !fds.is_empty() {
            return Err(Refusal::Descriptors { count: fds.len() });
        }
        if self.strange {
            return Err(Refusal::NotAllowed);
        }
        let proposal = version::parse(body)?;
        device.open(OpenMode::Exclusive).map_err(Refusal::open)?;
        let body = version::reply(&proposal, out).unwrap_or(0);
        self.agreed = Some(proposal);
        Ok(Answer { body, region_fd: None })
    }
}

/// A command and its body.
#[derive(Clone, Copy)]
struct Message<'a> {
    command: Command,
    body: &'a [u8],
}

impl Message<'_> {
    fn wrong_size(&self) -> Refusal {
        Refusal::BodySize { command: self.command, size: self.body.len() }
    }

    fn empty(&self) -> Result<(), Refusal> {
        if self.body.is_empty() { Ok(()) } else { Err(self.wrong_size()) }
    }

    /// The body as one struct and nothing else.
    fn fixed<T: crate::wire::Field>(&self) -> Result<T, Refusal> {
        match T::take(self.body) {
            Some((request, [])) => Ok(request),
            _ => Err(self.wrong_size()),
        }
    }
}

/// Everything but loads and stores: not for the path of these.
#[inline(never)]
fn other(
    device: &mut Device,
    agreed: &Proposal,
    message: Message<'_>,
    fds: &mut Fds,
    out: &mut [u8],
) -> Result<Answer, Refusal> {
    let command = message.command;
    match command {
        Command::RegionWriteMulti if agreed.write_multiple => {
            region_write_multi(device, message, out)
        }
        Command::Version => Err(Refusal::SecondVersion),
        Command::DmaMap => dma_map(device, message, fds),
        Command::DmaUnmap => dma_unmap(device, message, out),
        Command::DeviceGetInfo => device_info(device, message, out),
        Command::DeviceGetRegionInfo => {
            let request = message.fixed()?;
            region_info::answer(device, request, agreed.max_msg_fds != 0, out)
        }
        Command::DeviceGetRegionIoFds => region_io_fds(device, message, out),
        Command::DeviceGetIrqInfo => irq_info(device, message, out),
        Command::DeviceSetIrqs => set_irqs(device, message, fds),
        Command::DeviceReset => {
            message.empty()?;
            device.reset();
            Ok(Answer::EMPTY)
        }
        Command::DmaRead | Command::DmaWrite => Err(Refusal::WrongDirection { command }),
        _ => Err(Refusal::NotOffered { command }),
    }
}

fn check_argsz(argsz: u32, least: usize) -> Result<(), Refusal> {
    if (argsz as usize) < least { Err(Refusal::Argsz { argsz }) } else { Ok(()) }
}

fn dma_map(device: &mut Device, message: Message<'_>, fds: &mut Fds) -> Result<Answer, Refusal> {
    let request: DmaMap = message.fixed()?;
    if fds.len() > 1 {
        return Err(Refusal::Descriptors { count: fds.len() });
    }
    dma::map(device, &request, fds.take_only())?;
    Ok(Answer::EMPTY)
}

fn dma_unmap(device: &mut Device, message: Message<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
    let (request, rest) = DmaUnmap::decode(message.body).ok_or_else(|| message.wrong_size())?;
    let with_bitmap = request.flags & DmaUnmap::GET_DIRTY_BITMAP != 0;
    if rest.len() != if with_bitmap { DirtyBitmap::SIZE } else { 0 } {
        return Err(message.wrong_size());
    }
    dma::unmap(device, &request)?;
    Ok(Answer::up_to(out.len(), request.encode(out)))
}

fn device_info(device: &Device, message: Message<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
    let request: DeviceInfo = message.fixed()?;
    check_argsz(request.argsz, DeviceInfo::SIZE)?;
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let info = DeviceInfo {
        argsz: DeviceInfo::SIZE as u32,
        flags: flag(device.can_reset(), DeviceInfo::RESET) | flag(device.is_pci(), DeviceInfo::PCI),
        num_regions: device.num_regions(),
        num_irqs: device.irqs().num_irqs(),
    };
    Ok(Answer::up_to(out.len(), info.encode(out)))
}

/// No device here hands accesses to the kernel: the answer for a region that exists is "none".
fn region_io_fds(device: &Device, message: Message<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
    let request: RegionIoFds = message.fixed()?;
    let RegionIoFds { argsz, flags, index, count } = request;
    check_argsz(argsz, RegionIoFds::SIZE)?;
    if argsz > MAX_DATA_XFER_SIZE {
        return Err(Refusal::Argsz { argsz });
    }
    if flags != 0 || count != 0 {
        return Err(Refusal::Flags { flags: flags | count });
    }
    if device.region(index).is_none_or(|region| region.size() == 0) {
        return Err(Refusal::Region { index });
    }
    let none = RegionIoFds { argsz: RegionIoFds::SIZE as u32, ..request };
    Ok(Answer::up_to(out.len(), none.encode(out)))
}

fn irq_info(device: &Device, message: Message<'_>, out: &mut [u8]) -> Result<Answer, Refusal> {
    let request: IrqInfo = message.fixed()?;
    check_argsz(request.argsz, IrqInfo::SIZE)?;
    let index = request.index;
    let info = device.irqs().info(index).ok_or(Refusal::IrqIndex { index })?;
    let info =
        IrqInfo { argsz: IrqInfo::SIZE as u32, flags: info.flags.bits(), index, count: info.count };
    Ok(Answer::up_to(out.len(), info.encode(out)))
}

fn set_irqs(device: &mut Device, message: Message<'_>, fds: &mut Fds) -> Result<Answer, Refusal> {
    let (request, data) = IrqSet::decode(message.body).ok_or_else(|| message.wrong_size())?;
    let IrqSet { argsz, flags, index, start, count } = request;
    if argsz as usize != message.body.len() {
        return Err(Refusal::Argsz { argsz });
    }
    let (kind, action) = irq_flags(flags)?;
    if data.len() != if kind == IrqSet::DATA_BOOL { count as usize } else { 0 } {
        return Err(message.wrong_size());
    }
    let fds_fit = fds.is_empty() || kind == IrqSet::DATA_EVENTFD && fds.len() == count as usize;
    if !fds_fit {
        return Err(Refusal::Descriptors { count: fds.len() });
    }
    let info = device.irqs().info(index).ok_or(Refusal::IrqIndex { index })?;
    let end = start.checked_add(count).filter(|end| *end <= info.count);
    let range = start..end.ok_or(Refusal::IrqRange { index, start, count })?;
    if kind == IrqSet::DATA_EVENTFD && !fds.are_anonymous() {
        return Err(Refusal::NotAnEventfd);
    }
    let data = match kind {
        IrqSet::DATA_NONE => IrqData::None,
        IrqSet::DATA_BOOL => IrqData::Bool(data),
        _ => IrqData::Eventfd(fds.drain()),
    };
    device.set_irqs(index, action, range, data).map_err(|errno| match errno {
        Errno::BADF => Refusal::NotAnEventfd,
        _ => Refusal::IrqAction { index, flags },
    })?;
    Ok(Answer::EMPTY)
}

/// The one kind of data and the one action that the flags must name.
fn irq_flags(flags: u32) -> Result<(u32, vfio_device::IrqAction), Refusal> {
    use vfio_device::IrqAction::{Mask, Trigger, Unmask};
    let data = flags & (IrqSet::DATA_NONE | IrqSet::DATA_BOOL | IrqSet::DATA_EVENTFD);
    let action = match flags ^ data {
        IrqSet::ACTION_MASK => Mask,
        IrqSet::ACTION_UNMASK => Unmask,
        IrqSet::ACTION_TRIGGER => Trigger,
        _ => return Err(Refusal::Flags { flags }),
    };
    if data.is_power_of_two() { Ok((data, action)) } else { Err(Refusal::Flags { flags }) }
}

fn out_of_range(access: &RegionAccess) -> Refusal {
    Refusal::RegionRange { index: access.region, offset: access.offset, count: access.count }
}

#[inline(always)]
fn region_read(
    device: &mut Device,
    message: Message<'_>,
    out: &mut [u8],
) -> Result<Answer, Refusal> {
    let access: RegionAccess = message.fixed()?;
    if access.count > MAX_DATA_XFER_SIZE {
        return Err(Refusal::TransferSize { count: access.count });
    }
    let count = access.count as usize;
    let data = access
        .encode(out)
        .and_then(|rest| rest.get_mut(..count))
        .ok_or_else(|| out_of_range(&access))?;
    device.region_read(access.region, access.offset, data).map_err(|_| out_of_range(&access))?;
    Ok(Answer { body: RegionAccess::SIZE + count, region_fd: None })
}

#[inline]
fn region_write(
    device: &mut Device,
    message: Message<'_>,
    out: &mut [u8],
) -> Result<Answer, Refusal> {
    let (access, data) = RegionAccess::decode(message.body).ok_or_else(|| message.wrong_size())?;
    if access.count > MAX_DATA_XFER_SIZE {
        return Err(Refusal::TransferSize { count: access.count });
    }
    if data.len() != access.count as usize {
        return Err(message.wrong_size());
    }
    device.region_write(access.region, access.offset, data).map_err(|_| out_of_range(&access))?;
    Ok(Answer::up_to(out.len(), access.encode(out)))
}

/// Writes in order, up to the first that the device has no room for; the answer says how many were done.
fn region_write_multi(
    device: &mut Device,
    message: Message<'_>,
    out: &mut [u8],
) -> Result<Answer, Refusal> {
    let (request, entries) =
        WriteMulti::decode(message.body).ok_or_else(|| message.wrong_size())?;
    let count = request.wr_cnt;
    if count.checked_mul(SingleWrite::SIZE as u64) != Some(entries.len() as u64) {
        return Err(Refusal::WriteCount { count });
    }
    let writes = || {
        entries
            .chunks_exact(SingleWrite::SIZE)
            .filter_map(SingleWrite::decode)
            .map(|(write, _)| write)
    };
    if let Some(bad) = writes().find(|write| !(1..=8).contains(&write.count)) {
        return Err(Refusal::WriteSize { count: bad.count });
    }
    let done = writes()
        .take_while(|write| {
            let data = write.data.get(..write.count as usize).unwrap_or(&[]);
            device.region_write(write.region, write.offset, data).is_ok()
        })
        .count();
    Ok(Answer::up_to(out.len(), WriteMulti { wr_cnt: done as u64 }.encode(out)))
}
