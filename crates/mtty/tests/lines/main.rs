//! The card with other lines than the plug: the host behind them, the crossover, characters that take time.
#![cfg(test)]

#[path = "../uart/bits.rs"]
#[expect(dead_code, reason = "not each test needs each bit")]
mod bits;
mod crossover;
mod driver;
mod far;
mod host;
mod make;
mod model;
mod paced;
mod pair;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;

use mtty::Mtty;
use mtty::line::{Character, Line, LoopbackPlug, Room, Sent};
use vfio_device::testing::Harness;
use vfio_device::{Interest, MdevDriver, MdevType};

use bits::*;
use far::{Far, INTX, card, kind, load, store};

const NULL_MODEM_OFF: u8 = 0;

/// Reads a port for as long as DR is set.
fn drain(card: &mut Harness, port: u32) -> Vec<u8> {
    let mut data = Vec::new();
    while load(card, port, LSR) & DR != 0 {
        data.push(load(card, port, RBR));
    }
    data
}

fn set_divisor(card: &mut Harness, port: u32, divisor: u16, lcr: u8) {
    let [low, high] = divisor.to_le_bytes();
    store(card, port, LCR, DLAB | lcr);
    store(card, port, DLL, low);
    store(card, port, DLM, high);
    store(card, port, LCR, lcr);
}

fn plug() -> Box<dyn Line> {
    Box::new(LoopbackPlug)
}
