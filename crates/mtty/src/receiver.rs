//! The receiving half of the UART.

use crate::fifo::Fifo;
use crate::line::Character;
use crate::spec::{FIFO_DEPTH, fcr, lsr};

/// PE, FE and BI belong to one character.
const CHARACTER_ERRORS: u8 = lsr::PE | lsr::FE | lsr::BI;

/// RBR or the receiver FIFO, with the errors that LSR shows.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    fifo: Fifo<Character>,
    fifo_enabled: bool,
    /// Characters that raise Received Data Available.
    trigger: usize,
    /// OE; without FIFOs also PE, FE and BI, which LSR then holds until it is read.
    errors: u8,
    /// Four character times have passed with characters below the trigger level.
    timed_out: bool,
    /// A character has come or gone since this was last taken: the time-out starts again.
    touched: bool,
}

impl Receiver {
    pub const fn depth(fifo_enabled: bool) -> usize {
        if fifo_enabled { FIFO_DEPTH } else { 1 }
    }

    pub fn has_room(&self) -> bool {
        self.fifo.len() < Self::depth(self.fifo_enabled)
    }

    /// A character has been completely received, room or not.
    pub fn receive(&mut self, character: Character) {
        let data = character.data;
        let mut errors = character.errors & CHARACTER_ERRORS;
        self.errors |= character.errors & lsr::OE;
        if !self.has_room() {
            self.errors |= lsr::OE;
            if self.fifo_enabled {
                return; // the one in the shift register is lost, the FIFO stays
            }
            self.fifo.clear(); // RBR: the new one destroys the old one
        }
        if !self.fifo_enabled {
            self.errors |= errors;
            errors = 0;
        }
        self.fifo.push(Character { data, errors });
        self.touched = true;
    }

    /// RBR read; 0 when there is nothing.
    pub fn read(&mut self) -> u8 {
        let Some(character) = self.fifo.pop() else { return 0 };
        self.timed_out = false;
        self.touched = true;
        character.data
    }

    /// DR and the error bits of LSR. Without FIFOs no character has errors of its own, so bit 7 is 0.
    pub fn status(&self) -> u8 {
        let ready = if self.fifo.is_empty() { 0 } else { lsr::DR };
        let any = self.fifo.iter().any(|character| character.errors != 0);
        ready | self.line_errors() | if any { lsr::RCVR_FIFO_ERROR } else { 0 }
    }

    /// OE, PE, FE and BI as LSR shows them now.
    pub fn line_errors(&self) -> u8 {
        self.errors | self.fifo.front().map_or(0, |character| character.errors)
    }

    /// LSR read: what it has shown is acknowledged. Errors further down are shown in their turn.
    pub fn acknowledge_errors(&mut self) {
        self.errors = 0;
        if let Some(character) = self.fifo.front_mut() {
            character.errors = 0;
        }
    }

    pub fn is_triggered(&self) -> bool {
        self.fifo.len() >= self.trigger
    }

    pub fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Whether four character times from now would be a time-out. At trigger level 1, which 16450 mode
    /// has too, there is none.
    pub fn can_time_out(&self) -> bool {
        !self.fifo.is_empty() && !self.is_triggered() && !self.timed_out
    }

    pub fn time_out(&mut self) {
        self.timed_out = true;
    }

    pub fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// RCVR FIFO reset. OE stays until LSR is read, as it is not a thing of the FIFO.
    pub fn clear(&mut self) {
        self.fifo.clear();
        self.timed_out = false;
    }

    /// The FCR bits of the receiver.
    pub fn set_fifo(&mut self, fcr: u8) {
        self.fifo_enabled = fcr & fcr::ENABLE != 0;
        self.trigger = match (self.fifo_enabled, fcr & fcr::TRIGGER) {
            (false, _) | (true, 0x00) => 1,
            (true, 0x40) => 4,
            (true, 0x80) => 8,
            (true, _) => 14,
        };
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            fifo: Fifo::default(),
            fifo_enabled: false,
            trigger: 1,
            errors: 0,
            timed_out: false,
            touched: false,
        }
    }
}
