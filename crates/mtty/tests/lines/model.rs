//! The port as the data sheet has it, a second time: queues, and formulas over them. It shares nothing with the crate.

use std::collections::VecDeque;

use mtty::line::Character;

use super::bits::*;

const CHARACTER_ERRORS: u8 = PE | FE | BI;

/// A port and the far end of its line.
#[derive(Debug, Default)]
pub struct Model {
    ier: u8,
    lcr: u8,
    mcr: u8,
    scr: u8,
    divisor: [u8; 2],
    fifos: bool,
    trigger: u8,
    received: VecDeque<Character>,
    /// OE, and in 16450 mode the others too, until LSR is read.
    noted: u8,
    timed_out: bool,
    /// A break is among the characters; they alone count.
    to_send: VecDeque<Character>,
    thre_due: bool,
    inputs: u8,
    deltas: u8,
    held_off: bool,
    pub line: Ends,
}

/// What is on the line: the model's own.
#[derive(Debug, Default)]
pub struct Ends {
    pub arriving: VecDeque<Character>,
    pub sent: Vec<Character>,
    pub room: usize,
    pub inputs: u8,
    pub outputs: u8,
    pub minds_rts: bool,
}

impl Model {
    fn depth(&self) -> usize {
        if self.fifos { 16 } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.fifos { [1, 4, 8, 14][usize::from(self.trigger)] } else { 1 }
    }

    /// Characters in the transmitter.
    fn waiting(&self) -> usize {
        self.to_send.iter().filter(|it| !it.is_break()).count()
    }

    fn errors(&self) -> u8 {
        self.noted | self.received.front().map_or(0, |it| it.errors)
    }

    /// Bits 5:0 of IIR.
    fn source(&self) -> u8 {
        let sources = [
            (ELSI, self.errors() != 0, 0x06),
            (ERBFI, self.received.len() >= self.trigger(), 0x04),
            (ERBFI, self.timed_out, 0x0c),
            (ETBEI, self.thre_due, 0x02),
            (EDSSI, self.deltas != 0, 0x00),
        ];
        let pending = sources.iter().find(|(enable, holds, _)| self.ier & enable != 0 && *holds);
        pending.map_or(0x01, |(_, _, id)| *id)
    }

    /// Whether the port pulls INTx.
    pub fn intx(&self) -> bool {
        self.source() != 0x01 && self.mcr & OUT2 != 0
    }

    /// Whether four character times from now are a time-out.
    pub fn is_timing(&self) -> bool {
        let waiting = self.received.len();
        self.ier & ERBFI != 0 && waiting > 0 && waiting < self.trigger() && !self.timed_out
    }

    pub fn time_out(&mut self) {
        self.timed_out |= self.is_timing();
    }

    pub fn reset(&mut self) {
        let line = std::mem::take(&mut self.line);
        *self = Self { line, ..Self::default() };
        self.look();
        self.deltas = 0; // nothing to compare with
        self.move_all();
    }

    pub fn read(&mut self, offset: u8) -> u8 {
        let dlab = self.lcr & DLAB != 0;
        match offset {
            0 | 1 if dlab => self.divisor[usize::from(offset)],
            0 => {
                let character = self.received.pop_front();
                self.timed_out &= character.is_none();
                self.move_all();
                character.map_or(0, |it| it.data)
            }
            1 => self.ier,
            2 => {
                let source = self.source();
                self.thre_due &= source != 0x02;
                source | if self.fifos { 0xc0 } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr,
            5 => {
                let some = |bit, holds| if holds { bit } else { 0 };
                let any = self.received.iter().any(|it| it.errors != 0);
                let lsr = some(DR, !self.received.is_empty())
                    | some(THRE | TEMT, self.waiting() == 0)
                    | some(RCVR_FIFO_ERROR, any)
                    | self.errors();
                self.noted = 0;
                self.received.front_mut().into_iter().for_each(|it| it.errors = 0);
                lsr
            }
            6 => self.inputs | std::mem::take(&mut self.deltas),
            _ => self.scr,
        }
    }

    pub fn write(&mut self, offset: u8, value: u8) {
        let dlab = self.lcr & DLAB != 0;
        match offset {
            0 | 1 if dlab => self.divisor[usize::from(offset)] = value,
            0 => {
                let is_lost = self.lcr & SET_BREAK != 0;
                self.thre_due = is_lost && self.waiting() == 0;
                if !is_lost && self.waiting() < self.depth() {
                    self.to_send.push_back(value.into());
                }
            }
            1 => {
                self.thre_due |= value & !self.ier & ETBEI != 0 && self.waiting() == 0;
                self.ier = value & 0x0f;
            }
            2 => self.write_fcr(value),
            3 => {
                let begins = value & !self.lcr & SET_BREAK != 0;
                if begins && !self.to_send.iter().any(|it| it.is_break()) {
                    self.to_send.push_back(Character { data: 0, errors: BI | FE });
                }
                self.lcr = value;
            }
            4 => {
                self.mcr = value & 0x3f;
                self.look();
            }
            7 => self.scr = value,
            _ => (),
        }
        self.move_all();
    }

    fn write_fcr(&mut self, value: u8) {
        let on = value & 1 != 0;
        let changes = on != self.fifos;
        if changes || on && value & 2 != 0 {
            self.received.clear();
            self.timed_out = false;
        }
        if (changes || on && value & 4 != 0) && self.waiting() != 0 {
            self.to_send.retain(|it| it.is_break());
            self.thre_due = true;
        }
        (self.fifos, self.trigger) = (on, value >> 6);
    }

    /// The line has news.
    pub fn poll(&mut self) {
        self.look();
        self.move_all();
    }

    fn receive(&mut self, character: Character) {
        let mut errors = character.errors & CHARACTER_ERRORS;
        self.noted |= character.errors & OE;
        if self.received.len() == self.depth() {
            self.noted |= OE;
            if self.fifos {
                return;
            }
            self.received.clear();
        }
        if !self.fifos {
            self.noted |= errors;
            errors = 0;
        }
        self.received.push_back(Character { data: character.data, errors });
    }

    /// Whether the character has left.
    fn send(&mut self, character: Character) -> bool {
        if self.mcr & LOOP != 0 {
            self.receive(character);
        } else if self.line.sent.len() < self.line.room {
            self.line.sent.push(character);
        } else {
            return false;
        }
        true
    }

    fn move_all(&mut self) {
        loop {
            while let Some(&character) = self.to_send.front()
                && self.send(character)
            {
                self.to_send.pop_front();
                if !character.is_break() {
                    self.thre_due = self.waiting() == 0;
                }
            }
            while self.mcr & LOOP == 0
                && self.received.len() < self.depth()
                && (!self.line.minds_rts || self.line.outputs & RTS != 0)
                && let Some(character) = self.line.arriving.pop_front()
            {
                self.receive(character);
            }
            let before = self.held_off;
            self.look();
            if !before || self.held_off {
                return;
            }
        }
    }

    fn look(&mut self) {
        self.held_off = self.mcr & AFE != 0 && self.received.len() == self.depth();
        let rts = self.mcr & RTS != 0 && !self.held_off;
        let dtr = self.mcr & DTR != 0;
        let bit = |bit, holds| if holds { bit } else { 0 };
        let mut inputs = self.line.inputs & 0xf0;
        self.line.outputs = bit(DTR, dtr) | bit(RTS, rts);
        if self.mcr & LOOP != 0 {
            let (out1, out2) = (self.mcr & OUT1 != 0, self.mcr & OUT2 != 0);
            self.line.outputs = 0;
            inputs = bit(DSR, dtr) | bit(CTS, rts) | bit(RI, out1) | bit(DCD, out2);
        }
        if self.held_off {
            inputs &= !CTS;
        }
        let changed = inputs ^ self.inputs;
        self.deltas |= bit(DCTS, changed & CTS != 0) | bit(DDSR, changed & DSR != 0);
        self.deltas |= bit(DDCD, changed & DCD != 0);
        self.deltas |= bit(TERI, changed & self.inputs & RI != 0);
        self.inputs = inputs;
    }
}
