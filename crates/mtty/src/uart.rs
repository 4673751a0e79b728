//! The 16550A as a value: registers in, registers out. No bus, no clock, no host.
//!
//! A character takes no time here. The transmitter hands characters to the [`Line`] for as long as the line
//! takes them; those that it does not take stay where software can see them, in the transmitter FIFO, as
//! with a peer that holds CTS off. The shift register is therefore always empty, and TEMT equals THRE.
//! The receiver asks the line for characters only while it has room. So nothing is lost in either
//! direction, at any length of burst. In loop mode ([`mcr::LOOP`]) there is no line to wait for, and an
//! unread receiver overruns as the data sheet says.
//!
//! Where the data sheet leaves a choice, or the transcripts of the kernel sample need another:
//!
//! - A character is carried with all its 8 bits, whatever word length LCR has: so do the sample and QEMU, and
//!   scripts that write 00 to LCR to leave DLAB rely on it. Word length, parity and stop bits count for time only.
//! - THR written while the transmitter is full: the new character is dropped. Those before it stay.
//! - RBR read while the receiver is empty: 0.
//! - MCR keeps AFE (bit 5). While it is set and the receiver is full, RTS is off and CTS reads off, as in
//!   the sample. The transmitter does not look at CTS.
//! - In loop mode the modem outputs are inactive on the line. OUT2 goes on letting INTx through; see
//!   [`Uart::out2`].
//! - In loop mode characters of the line stay with the line. The data sheet disconnects RXD, and loses them.
//! - What is written to THR while a break is sent is lost, as the data sheet has it: drivers use it as a timer. What was
//!   written before and is held goes first: a driver that has waited as long as the characters take believes that they
//!   have gone. A break that begins while the last one is held is part of that. The receiver of a looped break sees one
//!   break character.
//! - The divisor is 0 after reset, and 0 counts as 1.
//! - The time-out runs only while its interrupt could show: FIFOs and ERBFI on, 1 to trigger - 1 characters.

use std::time::Duration;

use crate::fifo::Fifo;
use crate::line::{Character, Line, Room, Sent, Settings};
use crate::receiver::Receiver;
use crate::spec::{self, fcr, ier, iir, lcr, lsr, mcr, msr};

/// A source of interrupts, in falling priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// OE, PE, FE or BI.
    ReceiverLineStatus,
    /// The trigger level is reached.
    ReceivedDataAvailable,
    /// Characters below the trigger level have waited for four character times.
    CharacterTimeout,
    /// The transmitter has emptied.
    ThrEmpty,
    /// A modem input has changed.
    ModemStatus,
}

impl Interrupt {
    /// Bits 3:0 of IIR.
    pub const fn id(self) -> u8 {
        match self {
            Self::ReceiverLineStatus => iir::RECEIVER_LINE_STATUS,
            Self::ReceivedDataAvailable => iir::RECEIVED_DATA_AVAILABLE,
            Self::CharacterTimeout => iir::CHARACTER_TIMEOUT,
            Self::ThrEmpty => iir::THR_EMPTY,
            Self::ModemStatus => iir::MODEM_STATUS,
        }
    }
}

/// What the character timer has to do; see [`Uart::take_timer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// (Re)start: call [`Uart::character_timeout`] once, this long from now.
    Start(Duration),
    /// Forget the last start.
    Stop,
}

/// One port: registers, FIFOs and what they imply.
#[derive(Debug, Clone, Default)]
pub struct Uart {
    // Registers as written, less the bits that do not exist.
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scr: u8,
    dll: u8,
    dlm: u8,

    // The two halves.
    thr: Fifo<u8>,
    receiver: Receiver,
    /// The transmitter has emptied, and nobody has been told yet.
    thr_empty: bool,
    /// A break has begun, and the line has not taken it yet: so many characters of the transmitter are before it.
    break_due: Option<usize>,

    /// MSR: the inputs when last looked at, and the deltas.
    msr: u8,
    /// Whether `msr` has an input to compare with. The first look makes no deltas.
    msr_known: bool,

    /// Whether AFE has RTS off, as the line last saw it.
    held_off: bool,

    /// IIR has reported a source that INTx was on for, and has not been read as "none" since.
    in_service: bool,

    // The character timer, which the owner of the port keeps.
    timing: bool,
    timer: Option<Timer>,
}

impl Uart {
    /// A port after Master Reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Master Reset. [`poll`](Self::poll) afterwards, so that the line sees the outputs go off; stop the timer.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// A load from the register at `offset`, 0 to 7; above, 0.
    pub fn read(&mut self, offset: u8, line: &mut dyn Line) -> u8 {
        match (offset, self.dlab()) {
            (spec::DLL, true) => self.dll,
            (spec::DLM, true) => self.dlm,
            (spec::RBR, false) => {
                let data = self.receiver.read();
                self.settle(line);
                data
            }
            (spec::IER, false) => self.ier,
            (spec::IIR, _) => self.read_iir(),
            (spec::LCR, _) => self.lcr,
            (spec::MCR, _) => self.mcr,
            (spec::LSR, _) => {
                let status = self.receiver.status();
                self.receiver.acknowledge_errors();
                status | if self.thr.is_empty() { lsr::THRE | lsr::TEMT } else { 0 }
            }
            (spec::MSR, _) => {
                self.look_at_modem(line);
                let status = self.msr;
                self.msr &= !msr::DELTAS;
                status
            }
            (spec::SCR, _) => self.scr,
            _ => 0,
        }
    }

    /// A store of `value` to the register at `offset`, 0 to 7; LSR, MSR and above: ignored.
    pub fn write(&mut self, offset: u8, value: u8, line: &mut dyn Line) {
        match (offset, self.dlab()) {
            (spec::DLL, true) => self.dll = value,
            (spec::DLM, true) => self.dlm = value,
            (spec::THR, false) => self.write_thr(value, line),
            (spec::IER, false) => self.write_ier(value),
            (spec::FCR, _) => self.write_fcr(value, line),
            (spec::LCR, _) => self.write_lcr(value, line),
            (spec::MCR, _) => self.write_mcr(value, line),
            (spec::SCR, _) => self.scr = value,
            _ => {}
        }
    }

    /// The line has news: characters, room, or other modem inputs.
    pub fn poll(&mut self, line: &mut dyn Line) {
        self.look_at_modem(line);
        self.settle(line);
    }

    /// The pending source of the highest priority; INTR is active while there is one.
    pub fn interrupt(&self) -> Option<Interrupt> {
        let enabled = |bit| self.ier & bit != 0;
        if enabled(ier::ELSI) && self.receiver.line_errors() != 0 {
            Some(Interrupt::ReceiverLineStatus)
        } else if enabled(ier::ERBFI) && self.receiver.is_triggered() {
            Some(Interrupt::ReceivedDataAvailable)
        } else if enabled(ier::ERBFI) && self.receiver.is_timed_out() {
            Some(Interrupt::CharacterTimeout)
        } else if enabled(ier::ETBEI) && self.thr_empty {
            Some(Interrupt::ThrEmpty)
        } else if enabled(ier::EDSSI) && self.msr & msr::DELTAS != 0 {
            Some(Interrupt::ModemStatus)
        } else {
            None
        }
    }

    /// Whether a driver is at work on INTx: it has read IIR, and will again until there is no source left. So do all that
    /// are known, unless they close the port.
    pub fn in_service(&self) -> bool {
        self.in_service
    }

    /// Whether the OUT2 output is active. On a PC card INTR reaches the bus only then.
    ///
    /// The register bit alone: loop mode forces the pin inactive, by the letter of the data sheet, but it also says
    /// that interrupts are fully operational then, and self-tests wait for them. QEMU and others gate no more than this.
    pub fn out2(&self) -> bool {
        self.mcr & mcr::OUT2 != 0
    }

    /// What to do with the character timer since this was last asked. Ask after each call that may change
    /// the port.
    pub fn take_timer(&mut self) -> Option<Timer> {
        self.timer.take()
    }

    /// The timer of [`take_timer`](Self::take_timer) has run out. Without one running: nothing.
    pub fn character_timeout(&mut self) {
        if self.timing {
            self.timing = false;
            self.receiver.time_out();
        }
    }

    /// How the port is set up.
    pub fn settings(&self) -> Settings {
        Settings::of(self.lcr, u16::from_le_bytes([self.dll, self.dlm]))
    }

    /// Whether offsets 0 and 1 are DLL and DLM now: the settings may be half written.
    pub fn dlab(&self) -> bool {
        self.lcr & lcr::DLAB != 0
    }

    fn fifo_enabled(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    fn looped(&self) -> bool {
        self.mcr & mcr::LOOP != 0
    }

    /// Only the source that it reports is acknowledged, and of those only THRE.
    fn read_iir(&mut self) -> u8 {
        let source = self.interrupt();
        self.in_service = source.is_some() && self.out2();
        if source == Some(Interrupt::ThrEmpty) {
            self.thr_empty = false;
        }
        let fifos = if self.fifo_enabled() { iir::FIFOS_ENABLED } else { 0 };
        source.map_or(iir::NONE, Interrupt::id) | fifos
    }

    fn write_thr(&mut self, value: u8, line: &mut dyn Line) {
        self.thr_empty = false;
        if self.lcr & lcr::SET_BREAK != 0 {
            self.thr_empty = self.thr.is_empty();
        } else if self.thr.len() < Receiver::depth(self.fifo_enabled()) {
            self.thr.push(value);
        }
        self.settle(line);
    }

    fn write_ier(&mut self, value: u8) {
        let risen = value & !self.ier;
        self.ier = value & ier::MASK;
        self.in_service &= self.ier != 0;
        if risen & ier::ETBEI != 0 && self.thr.is_empty() {
            self.thr_empty = true;
        }
        self.keep_time();
    }

    fn write_fcr(&mut self, value: u8, line: &mut dyn Line) {
        let changed = (value ^ self.fcr) & fcr::ENABLE != 0;
        let programmed = if value & fcr::ENABLE != 0 { value } else { 0 };
        if changed || programmed & fcr::RCVR_RESET != 0 {
            self.receiver.clear();
        }
        if (changed || programmed & fcr::XMIT_RESET != 0) && !self.thr.is_empty() {
            self.thr.clear();
            self.thr_empty = true;
            self.break_due = self.break_due.map(|_| 0);
        }
        self.fcr = programmed & (fcr::ENABLE | fcr::DMA_MODE | fcr::TRIGGER);
        self.receiver.set_fifo(self.fcr);
        self.settle(line);
    }

    fn write_lcr(&mut self, value: u8, line: &mut dyn Line) {
        if value & !self.lcr & lcr::SET_BREAK != 0 {
            self.break_due.get_or_insert(self.thr.len());
        }
        self.lcr = value;
        self.settle(line);
    }

    fn write_mcr(&mut self, value: u8, line: &mut dyn Line) {
        self.look_at_modem(line);
        self.mcr = value & mcr::MASK;
        self.in_service &= self.out2();
        self.look_at_modem(line);
        self.settle(line);
    }

    /// Moves what can be moved, until nothing does: a line may have room only once it has been read.
    fn settle(&mut self, line: &mut dyn Line) {
        loop {
            while self.send(line) | self.receive(line) {}
            // A line that AFE had told to wait by RTS may have something when it is told to go on.
            let before = self.held_off;
            if self.mcr & mcr::AFE != 0 {
                self.look_at_modem(line);
            }
            if !before || self.held_off {
                break;
            }
        }
        self.keep_time();
    }

    /// Whether the transmitter got rid of anything.
    fn send(&mut self, line: &mut dyn Line) -> bool {
        let mut moved = false;
        loop {
            if self.break_due == Some(0) {
                if !self.carry(Character::BREAK, line) {
                    break;
                }
                self.break_due = None;
                moved = true;
            }
            let Some(&data) = self.thr.front() else { break };
            if !self.carry(data.into(), line) {
                break;
            }
            self.thr.pop();
            self.thr_empty = self.thr.is_empty();
            self.break_due = self.break_due.map(|before| before.saturating_sub(1));
            moved = true;
        }
        moved
    }

    /// Whether `character` has left the transmitter.
    fn carry(&mut self, character: Character, line: &mut dyn Line) -> bool {
        let sent = if self.looped() {
            Sent::Back
        } else {
            line.transmit(character, Room { back: self.receiver.has_room(), across: false })
        };
        if sent == Sent::Back {
            self.receiver.receive(character);
        }
        sent != Sent::Held
    }

    /// Whether the receiver got anything.
    fn receive(&mut self, line: &mut dyn Line) -> bool {
        let mut moved = false;
        while !self.looped()
            && self.receiver.has_room()
            && let Some(character) = line.receive()
        {
            self.receiver.receive(character);
            moved = true;
        }
        moved
    }

    /// Shows the line the modem outputs, and notes in MSR what the inputs have become.
    fn look_at_modem(&mut self, line: &mut dyn Line) {
        let hold_off = self.mcr & mcr::AFE != 0 && !self.receiver.has_room();
        let mut outputs = self.mcr;
        self.held_off = hold_off;
        if hold_off {
            outputs &= !mcr::RTS;
        }
        let connected = if self.looped() { 0 } else { mcr::DTR | mcr::RTS };
        let mut inputs = line.modem(outputs & connected, 0) & msr::INPUTS;
        if self.looped() {
            let wires = [
                (mcr::DTR, msr::DSR),
                (mcr::RTS, msr::CTS),
                (mcr::OUT1, msr::RI),
                (mcr::OUT2, msr::DCD),
            ];
            inputs = wires.iter().filter(|(from, _)| outputs & from != 0).map(|(_, to)| to).sum();
        }
        if hold_off {
            inputs &= !msr::CTS;
        }
        if self.msr_known {
            let before = self.msr & msr::INPUTS;
            let changed = (before ^ inputs) & !msr::RI | before & !inputs & msr::RI;
            self.msr = inputs | self.msr & msr::DELTAS | changed >> 4;
        } else {
            self.msr = inputs;
            self.msr_known = true;
        }
    }

    /// Starts or stops the character timer as the receiver now needs it.
    fn keep_time(&mut self) {
        let touched = self.receiver.take_touched();
        let wanted = self.ier & ier::ERBFI != 0 && self.receiver.can_time_out();
        if wanted && (touched || !self.timing) {
            self.timer = Some(Timer::Start(self.settings().time_of(4)));
        } else if self.timing && !wanted {
            self.timer = Some(Timer::Stop);
        }
        self.timing = wanted;
    }
}
