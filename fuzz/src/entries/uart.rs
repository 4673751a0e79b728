//! The serial card's registers, its lines and time, beside the model that the card's own tests have.

use super::bits::{IER, LCR, LSR, MCR};
use super::input::Input;
use super::pair::{Act, Pair};

/// Bytes of a port's BAR.
const PORT: usize = 8;

/// After one byte of settings, an act is a byte and, where it needs one, another one.
pub fn uart(data: &[u8]) {
    let mut input = Input(data);
    let settings = input.byte();
    let mut pair = Pair::new([settings & 1 != 0, settings & 2 != 0]);
    while !input.is_empty() {
        let what = input.byte();
        let (port, register) = (usize::from(what >> 7), what >> 4 & 7);
        let act = match what & 0xf {
            0..=2 => Act::Read(register),
            3..=5 => Act::Write(register, input.byte()),
            6 => Act::Drain(1 + input.byte() % 40),
            7 => Act::Fill(1 + input.byte() % 20),
            8 => Act::Arrive(1 + input.byte() % 30, 0),
            9 => Act::Arrive(1, input.byte()),
            10 => Act::Take(input.byte() % 30),
            11 => Act::Inputs(input.byte()),
            12 => Act::Time,
            13 => {
                wide_read(&mut pair, port, register, input.byte());
                continue;
            }
            14 => {
                let length = usize::from(input.byte()) % 12;
                wide_write(&mut pair, port, register, input.bytes(length));
                continue;
            }
            _ if register == 7 => Act::Reset,
            _ => Act::Read([LSR, IER, LCR, MCR][usize::from(register & 3)]),
        };
        pair.act(port, act);
    }
    for port in [0, 1] {
        (0..8).for_each(|register| _ = pair.read(port, register));
    }
}

/// An access of any length: one byte after the other, each at its own register; none if it does not fit.
fn wide_read(pair: &mut Pair, port: usize, register: u8, length: u8) {
    let mut data = vec![0; usize::from(length) % 12];
    let fits = usize::from(register) + data.len() <= PORT;
    let done = pair.card.device().region_read(port as u32, register.into(), &mut data);
    assert_eq!(done.is_ok(), fits, "{} bytes at {register}", data.len());
    let wanted: Vec<u8> = (0..data.len())
        .filter(|_| fits)
        .map(|at| pair.models[port].read(register + at as u8))
        .collect();
    assert!(!fits || data == wanted, "{data:x?}, not {wanted:x?}, at {register} of port {port}");
    pair.check();
}

fn wide_write(pair: &mut Pair, port: usize, register: u8, data: &[u8]) {
    let fits = usize::from(register) + data.len() <= PORT;
    let done = pair.card.device().region_write(port as u32, register.into(), data);
    assert_eq!(done.is_ok(), fits, "{} bytes at {register}", data.len());
    if fits {
        for (register, value) in (register..).zip(data) {
            pair.models[port].write(register, *value);
        }
    }
    pair.check();
}
