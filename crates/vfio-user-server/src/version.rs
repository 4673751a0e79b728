//! `VERSION`: what the client proposes, checked, and what this server answers (spec, "VFIO_USER_VERSION").
//!
//! The body is two numbers and, optionally, capabilities as NUL-terminated JSON. It is the only text in the
//! protocol. The server is picky about what it understands and deaf to what it does not: a capability of the wrong
//! type or out of range is refused, an unknown one is ignored. Of a key given twice the last counts.

use serde_json::{Map, Value};
use vfio_device::Dma;

use crate::refusal::Refusal;
use crate::wire::Version;

/// Largest body accepted, bytes. QEMU sends 198; what a hostile proposal costs in memory is bounded by this.
pub const MAX_BODY: usize = 4096;
/// Descriptors that this server takes with one message. QEMU has the same limit.
pub const MAX_MSG_FDS: usize = 16;
/// Largest `count` of a transfer, bytes: the spec's default.
pub const MAX_DATA_XFER_SIZE: u32 = 1 << 20;
/// DMA maps at one time: the spec's default, and the most that QEMU accepts.
pub const MAX_DMA_MAPS: usize = Dma::MAX_MAPS;
/// Files of memory that a device with DMA keeps open for its client, at one time.
pub const MAX_DMA_FILES: usize = Dma::MAX_FILES;
/// Smallest unit of a DMA map, bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Most descriptors a message that a proposal may name. Linux passes no more than 253; libvfio-user draws this line.
const MAX_PROPOSED_FDS: u64 = 1024;

/// What the client can do, by its own account. Keys left out have the spec's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Minor version; the major one is 0. Any is fine: the answer is 0, which every client of major 0 must speak.
    pub minor: u16,
    /// Descriptors that the client takes with one message; 0 means that none can be sent to it.
    pub max_msg_fds: u64,
    /// Largest `count`, bytes, of a `DMA_READ` or `DMA_WRITE` to this client. May be 0: no such transfer is possible.
    pub max_data_xfer_size: u64,
    /// DMA maps that the client means to hold at one time.
    pub max_dma_maps: u64,
    /// Page sizes of the client's DMA maps, or'ed together.
    pub pgsizes: u64,
    /// Whether it would take server-to-client commands on a second socket.
    pub twin_socket: bool,
    /// Whether it can send `REGION_WRITE_MULTI`.
    pub write_multiple: bool,
}

impl Default for Proposal {
    fn default() -> Self {
        Self {
            minor: 0,
            max_msg_fds: 1,
            max_data_xfer_size: 1 << 20,
            max_dma_maps: 65535,
            pgsizes: 4096,
            twin_socket: false,
            write_multiple: false,
        }
    }
}

/// Checks the body of a `VERSION` command.
///
/// # Errors
///
/// A major version other than 0 is refused before the text is looked at, since another major may write it
/// otherwise. Every error is EINVAL and ends the session.
pub fn parse(body: &[u8]) -> Result<Proposal, Refusal> {
    let size = body.len();
    let (version, data) = Version::decode(body).ok_or(Refusal::VersionSize { size })?;
    if version.major != 0 {
        return Err(Refusal::VersionMajor { major: version.major });
    }
    if size > MAX_BODY {
        return Err(Refusal::VersionSize { size });
    }
    let mut proposal = Proposal { minor: version.minor, ..Proposal::default() };
    if data.is_empty() {
        return Ok(proposal);
    }

    let (0, text) = data.split_last().ok_or(Refusal::VersionText)? else {
        return Err(Refusal::VersionText);
    };
    if text.contains(&0) {
        return Err(Refusal::VersionText);
    }
    let text = str::from_utf8(text).map_err(|_| Refusal::VersionText)?;
    // serde_json gives up at 128 levels of nesting, and at numbers that no f64 can hold.
    let Ok(Value::Object(top)) = serde_json::from_str(text) else {
        return Err(Refusal::VersionJson);
    };
    if let Some(capabilities) = object(&top, "capabilities")? {
        proposal.read(capabilities)?;
    }
    Ok(proposal)
}

impl Proposal {
    fn read(&mut self, capabilities: &Map<String, Value>) -> Result<(), Refusal> {
        number(capabilities, "max_msg_fds", &mut self.max_msg_fds, |n| n <= MAX_PROPOSED_FDS)?;
        number(capabilities, "max_data_xfer_size", &mut self.max_data_xfer_size, |_| true)?;
        number(capabilities, "max_dma_maps", &mut self.max_dma_maps, |_| true)?;
        number(capabilities, "pgsizes", &mut self.pgsizes, |n| n >= PAGE_SIZE)?;
        boolean(capabilities, "write_multiple", &mut self.write_multiple)?;
        if let Some(twin) = object(capabilities, "twin_socket")? {
            boolean(twin, "supported", &mut self.twin_socket)?;
            number(twin, "fd_index", &mut 0, |_| true)?;
        }
        // Gone from the spec, but clients still send it. Checked all the same, as libvfio-user does.
        if let Some(migration) = object(capabilities, "migration")? {
            number(migration, "pgsize", &mut 0, |n| n != 0 && n % PAGE_SIZE == 0)?;
            number(migration, "max_bitmap_size", &mut 0, |_| true)?;
        }
        Ok(())
    }
}

/// Takes the whole number at `name`, if there is one, provided that it is in range.
fn number(
    from: &Map<String, Value>,
    name: &'static str,
    to: &mut u64,
    in_range: impl Fn(u64) -> bool,
) -> Result<(), Refusal> {
    let Some(value) = from.get(name) else { return Ok(()) };
    *to = value.as_u64().filter(|n| in_range(*n)).ok_or(Refusal::Capability { name })?;
    Ok(())
}

/// Takes the boolean at `name`, if there is one.
fn boolean(from: &Map<String, Value>, name: &'static str, to: &mut bool) -> Result<(), Refusal> {
    let Some(value) = from.get(name) else { return Ok(()) };
    *to = value.as_bool().ok_or(Refusal::Capability { name })?;
    Ok(())
}

/// The object at `name`, if there is one.
fn object<'a>(
    from: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    let Some(value) = from.get(name) else { return Ok(None) };
    value.as_object().map(Some).ok_or(Refusal::Capability { name })
}

/// Writes the body of the answer to `out` and returns its size, at most 198 bytes; `None` if `out` is too small.
///
/// QEMU 11.1 takes version 0.0 and nothing else, reserves 214 bytes for the whole message, and warns of
/// capabilities it does not know. So minor is 0 and the keys are few: `write_multiple` if it was proposed, and never
/// `twin_socket` or `migration`, which no device here has a use for.
pub fn reply(proposal: &Proposal, out: &mut [u8]) -> Option<usize> {
    // The answer must be a subset of the proposal. Any page of 4 KiB or more will do, so one of the client's own
    // is named, the smallest.
    let pgsizes = proposal.pgsizes & !(PAGE_SIZE - 1);
    let pgsize = pgsizes & pgsizes.wrapping_neg();
    let write_multiple = if proposal.write_multiple { r#","write_multiple":true"# } else { "" };
    let text = format!(
        concat!(
            r#"{{"capabilities":{{"max_msg_fds":{},"max_data_xfer_size":{},"#,
            r#""max_dma_maps":{},"pgsizes":{}{}}}}}"#,
            "\0"
        ),
        MAX_MSG_FDS, MAX_DATA_XFER_SIZE, MAX_DMA_MAPS, pgsize, write_multiple,
    );
    let rest = Version { major: 0, minor: 0 }.encode(out)?;
    rest.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(Version::SIZE + text.len())
}
