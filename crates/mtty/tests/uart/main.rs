//! The data sheet of the UART, as tests: black box, through register reads and writes only.
#![cfg(test)]

mod bits;
mod fifos;
mod golden;
mod interrupts;
mod linux;
mod loop_mode;
mod plug;
mod random;
mod registers;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use mtty::line::{Character, Line, LoopbackPlug, Room, Sent};
use mtty::uart::{Interrupt, Timer, Uart};

use bits::*;

/// A UART with something on its line.
struct Port<L> {
    uart: Uart,
    line: L,
}

impl Port<LoopbackPlug> {
    fn with_plug() -> Self {
        Self { uart: Uart::new(), line: LoopbackPlug }
    }
}

impl Port<Wire> {
    fn with_wire() -> Self {
        Self { uart: Uart::new(), line: Wire::default() }
    }

    /// The host sends, and the port is told.
    fn arrive(&mut self, characters: impl IntoIterator<Item = impl Into<Character>>) {
        self.line.arriving.extend(characters.into_iter().map(Into::into));
        self.poll();
    }
}

impl<L: Line> Port<L> {
    fn read(&mut self, offset: u8) -> u8 {
        self.uart.read(offset, &mut self.line)
    }

    fn write(&mut self, offset: u8, value: u8) {
        self.uart.write(offset, value, &mut self.line);
    }

    fn write_all(&mut self, offset: u8, values: impl IntoIterator<Item = u8>) {
        values.into_iter().for_each(|value| self.write(offset, value));
    }

    fn poll(&mut self) {
        self.uart.poll(&mut self.line);
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.uart.interrupt()
    }

    /// Reads RBR for as long as DR is set.
    fn drain(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        while self.read(LSR) & DR != 0 {
            data.push(self.read(RBR));
        }
        data
    }

    /// How long the character timer has just been started for.
    fn timer(&mut self) -> Option<Duration> {
        match self.uart.take_timer() {
            Some(Timer::Start(duration)) => Some(duration),
            _ => None,
        }
    }

    /// Lets more time pass than any timer takes.
    fn wait(&mut self) {
        if self.timer().is_some() {
            self.uart.character_timeout();
        }
    }
}

/// A host end that the test holds in its hand.
struct Wire {
    arriving: VecDeque<Character>,
    sent: Vec<Character>,
    /// Characters that it takes before it holds.
    room: usize,
    inputs: u8,
    outputs: u8,
}

impl Default for Wire {
    fn default() -> Self {
        let (arriving, sent) = Default::default();
        Self { arriving, sent, room: usize::MAX, inputs: CTS | DSR | DCD, outputs: 0 }
    }
}

impl Line for Wire {
    fn transmit(&mut self, sent: Character, _room: Room) -> Sent {
        if self.sent.len() >= self.room {
            return Sent::Held;
        }
        self.sent.push(sent);
        Sent::Away
    }

    fn receive(&mut self) -> Option<Character> {
        self.arriving.pop_front()
    }

    fn modem(&mut self, outputs: u8, _across: u8) -> u8 {
        self.outputs = outputs;
        self.inputs
    }
}
