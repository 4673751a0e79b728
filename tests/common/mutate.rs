//! Makes nonsense of conversations.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

use crate::client::message;
use crate::conversation::{KINDS, Said};
use crate::pump::Sending;
use crate::random::Random;

/// Messages of a conversation at most.
const LONGEST: usize = 40;
/// Values at which counts, sizes and indexes go wrong.
const EDGES: [u32; 20] = [
    0,
    1,
    2,
    4,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    255,
    256,
    4096,
    65535,
    0x10_0000,
    0x10_0001,
    0x7fff_ffff,
    0xffff_ffff,
];

/// A conversation that begins like one of these, and does not go on like it.
pub fn mutated(all: &[Vec<Said>], random: &mut Random) -> Vec<Said> {
    let conversation = &all[random.below(all.len())];
    // VERSION, then a piece from the middle.
    let start = 1 + random.below(conversation.len() - 1);
    let end = (start + 1 + random.below(LONGEST)).min(conversation.len());
    let mut it = vec![conversation[0].clone()];
    it.extend_from_slice(&conversation[start..end]);
    for _ in 0..random.below(8) {
        mutate(&mut it, all, random);
        it.truncate(2 * LONGEST);
    }
    it
}

fn mutate(it: &mut Vec<Said>, all: &[Vec<Said>], random: &mut Random) {
    let at = random.below(it.len());
    // The first message is VERSION, without which all the rest is refused: not too often.
    let at = if at == 0 && !random.once_in(4) { it.len() - 1 } else { at };
    let Some(said) = it.get_mut(at) else { return };
    match random.below(16) {
        0 => flip(&mut said.bytes[12..], random),
        // Framing itself.
        1 if random.once_in(4) => flip(&mut said.bytes, random),
        2 if random.once_in(4) => {
            let length = said.bytes.len() as u32;
            let edge = random.pick(&EDGES);
            let size = random.pick(&[edge, length + 1, length - 1, length + edge.min(1 << 16)]);
            said.bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        }
        3 => {
            let (from, copy) = (at, said.clone());
            let to = from + random.below(it.len() - from + 1);
            it.insert(to, copy);
        }
        4 => _ = it.remove(at),
        5 => {
            let other = random.below(it.len());
            it.swap(at, other);
        }
        6 => {
            let other = &all[random.below(all.len())];
            let from = random.below(other.len());
            it.truncate(at + 1);
            it.extend(other[from..].iter().take(LONGEST / 2).cloned());
        }
        7 => {
            let length = 16 + random.below(said.bytes.len() - 15);
            resize(said, length);
        }
        8 => {
            let length = said.bytes.len() + random.pick(&[1, 4, 8, 24, 4096, 70_000]);
            resize(said, length);
        }
        9 => {
            said.fds = (0..random.pick(&[0, 1, 1, 2, 16, 17, 64, 253]))
                .map(|_| random.pick(&KINDS))
                .collect()
        }
        10 => {
            let command = random.below(20) as u16;
            said.bytes[2..4].copy_from_slice(&command.to_ne_bytes());
        }
        11 => {
            let flags = random.pick(&[0x10, 0x10, 0, 1, 2, 0x11, 0x20, 0x21, 0xffff_ffc0]);
            said.bytes[8..12].copy_from_slice(&u32::to_ne_bytes(flags));
        }
        12 => word(&mut said.bytes, 16, random),
        13 => {
            let id = random.next() as u16;
            said.bytes[..2].copy_from_slice(&id.to_ne_bytes());
        }
        14 => {
            let body: Vec<u8> = (0..random.below(64)).map(|_| random.next() as u8).collect();
            let said = message(random.next() as u16, random.below(20) as u16, 0, &body);
            it.insert(at, Said { bytes: said, fds: Vec::new(), answer: None });
        }
        _ => {
            let words = said.bytes.len() / 4;
            if words > 4 {
                let place = 4 * (4 + random.below(words - 4));
                word(&mut said.bytes, place, random);
            }
        }
    }
    if it.is_empty() {
        it.push(all[0][0].clone());
    }
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
}

fn word(bytes: &mut [u8], at: usize, random: &mut Random) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&random.pick(&EDGES).to_ne_bytes());
    }
}

/// Another length, and the header says so.
fn resize(said: &mut Said, length: usize) {
    said.bytes.resize(length, 0xa5);
    said.bytes[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
}

/// The conversation as it goes over the socket: several messages at once, or one in pieces. Descriptors go with the first
/// byte of what carries them.
pub fn sendings(said: &[Said], random: &mut Random) -> Vec<Sending> {
    let mut all: Vec<Sending> = Vec::new();
    let style = random.below(4);
    for said in said {
        let mut bytes = said.bytes.as_slice();
        let merges = style < 2 && said.fds.is_empty() && !random.once_in(4);
        if let Some(last) = all.last_mut().filter(|_| merges) {
            last.bytes.extend_from_slice(bytes);
            continue;
        }
        let mut fds = said.fds.clone();
        while style == 3 && bytes.len() > 1 && random.once_in(2) {
            let (head, tail) = bytes.split_at(1 + random.below(bytes.len() - 1));
            all.push(Sending { bytes: head.to_vec(), fds: std::mem::take(&mut fds) });
            bytes = tail;
        }
        all.push(Sending { bytes: bytes.to_vec(), fds });
    }
    all
}
