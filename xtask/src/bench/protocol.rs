//! What the clients here say of the protocol. They share nothing with the server: numbers and layouts are the
//! specification's, written out again.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

/// Bytes of a header.
pub const HEADER: usize = 16;
/// Commands.
pub const VERSION: u16 = 1;
pub const DEVICE_GET_REGION_INFO: u16 = 5;
pub const DEVICE_SET_IRQS: u16 = 8;
pub const REGION_READ: u16 = 9;
pub const REGION_WRITE: u16 = 10;
/// Header flag: no reply, not even an error.
pub const NO_REPLY: u32 = 0x10;

/// A whole message, of id 1.
pub fn message(command: u16, flags: u32, body: &[u8]) -> Vec<u8> {
    let size = (HEADER + body.len()) as u32;
    let mut bytes = [1, command].map(u16::to_ne_bytes).concat();
    bytes.extend([size, flags, 0].map(u32::to_ne_bytes).concat());
    bytes.extend(body);
    bytes
}

/// A load of so many bytes.
pub fn load(region: u32, offset: u64, size: u32) -> Vec<u8> {
    message(REGION_READ, 0, &access(region, offset, size))
}

pub fn store(flags: u32, region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    let mut body = access(region, offset, data.len() as u32);
    body.extend(data);
    message(REGION_WRITE, flags, &body)
}

fn access(region: u32, offset: u64, size: u32) -> Vec<u8> {
    let mut body = offset.to_ne_bytes().to_vec();
    body.extend([region, size].map(u32::to_ne_bytes).concat());
    body
}
