//! `DEVICE_GET_REGION_INFO`: what a region is, its capabilities, and the descriptor by which it is mapped.

use vfio_device::{Device, Region};

use crate::refusal::Refusal;
use crate::session::Answer;
use crate::wire::{CapHeader, RegionInfo, RegionType, SparseArea, SparseMmap};

/// Writes the answer to `out`. With less room at the client than the capabilities need (`argsz`), they are left out and
/// the answer says how much it would have taken; the descriptor goes along in both cases, unless the client takes none.
pub(crate) fn answer(
    device: &Device,
    request: RegionInfo,
    takes_fd: bool,
    out: &mut [u8],
) -> Result<Answer, Refusal> {
    let RegionInfo { argsz, index, .. } = request;
    if (argsz as usize) < RegionInfo::SIZE {
        return Err(Refusal::Argsz { argsz });
    }
    let region = device.region(index).ok_or(Refusal::Region { index })?;
    let needed = RegionInfo::SIZE + capabilities_size(region);
    let has_room = argsz as usize >= needed && out.len() >= needed;
    let has_capabilities = needed > RegionInfo::SIZE;
    let can_map = region.memory().is_some() && takes_fd;

    let mut flags = 0;
    for (set, bit) in [
        (region.size() != 0 && !region.is_write_only(), RegionInfo::READ),
        (region.size() != 0 && !region.is_read_only(), RegionInfo::WRITE),
        (can_map, RegionInfo::MMAP),
        (has_capabilities && has_room, RegionInfo::CAPS),
    ] {
        flags |= if set { bit } else { 0 };
    }
    let info = RegionInfo {
        argsz: u32::try_from(needed).unwrap_or(u32::MAX),
        flags,
        index,
        cap_offset: if has_capabilities && has_room { RegionInfo::SIZE as u32 } else { 0 },
        size: region.size(),
        offset: 0,
    };
    let rest = info.encode(out).ok_or(Refusal::Argsz { argsz })?;
    let mut body = RegionInfo::SIZE;
    if has_room {
        capabilities(region, rest);
        body = needed;
    }
    Ok(Answer { body, region_fd: can_map.then_some(index) })
}

fn sparse_size(region: &Region) -> usize {
    region.areas().map_or(0, |areas| SparseMmap::SIZE + areas.len() * SparseArea::SIZE)
}

fn capabilities_size(region: &Region) -> usize {
    sparse_size(region) + region.kind().map_or(0, |_| RegionType::SIZE)
}

/// Writes the chain; the caller has seen to the room.
fn capabilities(region: &Region, out: &mut [u8]) -> Option<()> {
    let mut out = out;
    if let Some(areas) = region.areas() {
        let behind = u32::try_from(RegionInfo::SIZE + sparse_size(region)).ok()?;
        let next = region.kind().map_or(0, |_| behind);
        let nr_areas = u32::try_from(areas.len()).ok()?;
        let header = CapHeader { id: SparseMmap::ID, version: 1, next };
        out = SparseMmap { header, nr_areas, reserved: 0 }.encode(out)?;
        for area in areas {
            out = SparseArea { offset: area.start, size: area.end - area.start }.encode(out)?;
        }
    }
    if let Some((region_type, subtype)) = region.kind() {
        let header = CapHeader { id: RegionType::ID, version: 1, next: 0 };
        RegionType { header, region_type, subtype }.encode(out)?;
    }
    Some(())
}
