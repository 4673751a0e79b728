//! What hangs on a port's connector.

use vfio_device::Interest;

pub use crate::host::{Host, NUMBERS};
pub use crate::paced::Paced;
pub use crate::settings::{Parity, Settings, StopBits};
use crate::spec::{lsr, mcr, msr};

/// One character as it goes over the line, in either direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Character {
    /// The data bits.
    pub data: u8,
    /// What is wrong with it, as LSR bits: `PE`, `FE`, `BI`. `OE` says that others were lost before it.
    /// Other bits mean nothing.
    pub errors: u8,
}

impl Character {
    /// TXD spacing for longer than a frame: a zero without a stop bit. Sent once a break.
    pub const BREAK: Self = Self { data: 0, errors: lsr::BI | lsr::FE };

    /// Whether this is a break.
    pub fn is_break(self) -> bool {
        self.errors & lsr::BI != 0
    }
}

impl From<u8> for Character {
    fn from(data: u8) -> Self {
        Self { data, errors: 0 }
    }
}

/// Where there is room for a character that the transmitter offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// In this port's own receiver: [`Sent::Back`] loses nothing.
    pub back: bool,
    /// On the wire to the card's other port: [`Sent::Across`] loses nothing. Never on a card with one port.
    pub across: bool,
}

/// What became of a character that the transmitter offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The line has taken it.
    Away,
    /// It has come straight back to this port's own receiver.
    Back,
    /// It goes to the receiver of the card's other port. Without [room](Room::across) it counts as [`Held`](Self::Held).
    Across,
    /// The line cannot take it now. The transmitter keeps it and offers it again at the next access
    /// that moves data, or at [`Uart::poll`](crate::uart::Uart::poll).
    Held,
}

/// The far end of TXD, RXD and the modem lines. The methods as they stand are [`LoopbackPlug`].
///
/// No call may block. A line that has to wait says [`Sent::Held`] or `None`; the port is polled after each
/// [`ready`](Self::ready) and [`timer`](Self::timer), when that has changed. Nothing is lost of what a line holds, and
/// nothing overruns of what it keeps until it is asked for it.
///
/// A card calls, always in its own thread: [`start`](Self::start) once, then [`settings`](Self::settings) with those of a reset; at an access the first three
/// as often as the port needs them; then `settings`, if they have changed, and [`settle`](Self::settle). At an event of the host `ready`
/// or `timer`, then the same.
pub trait Line: Send {
    /// TXD. `room` says who could take the character besides the line.
    fn transmit(&mut self, sent: Character, room: Room) -> Sent {
        let _ = sent;
        if room.back { Sent::Back } else { Sent::Held }
    }

    /// RXD: the next character, asked for only when the receiver has room for it, and again each time the guest has read
    /// one. A line that is told to wait by RTS (see [`modem`](Self::modem)) says `None` until that is on again. What the
    /// card's other port has sent [`Across`](Sent::Across) is on its way already, and comes first: the line is asked when
    /// there is no more of that.
    fn receive(&mut self) -> Option<Character> {
        None
    }

    /// The modem lines: takes the outputs as MCR bits (`DTR`, `RTS`), returns the inputs as MSR bits
    /// (`CTS`, `DSR`, `RI`, `DCD`). Called whenever the port looks, also with nothing changed. `across` is what the inputs
    /// would be on a null modem cable from the card's other port; 0 if there is none.
    fn modem(&mut self, outputs: u8, across: u8) -> u8 {
        let _ = (outputs, across);
        msr::CTS | msr::DSR | msr::DCD
    }

    /// Whether it may have characters without end, faster than a driver can read them. A port then receives 256 of
    /// them, and no more until the driver has left its interrupt handler and a quarter of the time that it took has passed,
    /// 1 to 20 ms: one that reads for as long as there is something would never leave it. Both ports of a card rest
    /// together, and a millisecond without an interrupt is a rest too. A paced line needs none.
    fn outruns(&self) -> bool {
        false
    }

    /// The line is part of a device from now on: the place to watch descriptors and to start timers.
    fn start(&mut self, host: &mut Host<'_>) {
        let _ = host;
    }

    /// The guest, or a reset, has set the port up in another way. Not called halfway through, while DLAB is set.
    fn settings(&mut self, settings: Settings) {
        let _ = settings;
    }

    /// An access that concerned the port, or an event, has been dealt with, and nothing more moves until the next one. The
    /// place to see to what that leaves: to watch for other things, or to start a timer after which what has gathered is
    /// written out in one piece. A client like QEMU waits for each store to an I/O port, and a burst of a driver is as
    /// many accesses, 10 to 70 us apart: with a millisecond a burst is one piece, with zero each character is one.
    fn settle(&mut self, host: &mut Host<'_>) {
        let _ = host;
    }

    /// The descriptor that is watched as `n` can be read or written. The port is polled afterwards.
    fn ready(&mut self, n: u32, ready: Interest, host: &mut Host<'_>) {
        let _ = (n, ready, host);
    }

    /// Timer `n` has run out. The port is polled afterwards.
    fn timer(&mut self, n: u32, host: &mut Host<'_>) {
        let _ = (n, host);
    }
}

/// The plug of the kernel sample: TXD is RXD, and CTS, DSR and DCD are on whatever the port does.
///
/// It takes a character only while the receiver has room, so that no burst of any length loses one;
/// what waits, waits in the transmitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopbackPlug;

impl Line for LoopbackPlug {}

/// A null modem cable to the card's other port, which has one too: TXD is the other's RXD, RTS its CTS, DTR its DSR and DCD.
///
/// It takes a character only while there is room on the wire, 16 places long, and the wire gives one up only while the
/// receiver has room: no burst of any length loses one. On a card with one port it takes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CrossoverPlug;

impl Line for CrossoverPlug {
    fn transmit(&mut self, _sent: Character, room: Room) -> Sent {
        if room.across { Sent::Across } else { Sent::Held }
    }

    fn modem(&mut self, _outputs: u8, across: u8) -> u8 {
        across
    }
}

/// What MCR outputs are at the inputs of the far end of a null modem cable.
pub(crate) fn null_modem(outputs: u8) -> u8 {
    let dtr = if outputs & mcr::DTR != 0 { msr::DSR | msr::DCD } else { 0 };
    let rts = if outputs & mcr::RTS != 0 { msr::CTS } else { 0 };
    dtr | rts
}
