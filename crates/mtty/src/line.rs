//! What hangs on a port's connector.

use crate::spec::{lsr, msr};

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

/// What became of a character that the transmitter offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The line has taken it.
    Away,
    /// It has come straight back to this port's own receiver.
    Back,
    /// The line cannot take it now. The transmitter keeps it and offers it again at the next access
    /// that moves data, or at [`Uart::poll`](crate::uart::Uart::poll).
    Held,
}

/// The far end of TXD, RXD and the modem lines. The methods as they stand are [`LoopbackPlug`].
///
/// No call may block: a line that has to wait says [`Sent::Held`] or `None`, and has the port polled when
/// that has changed.
pub trait Line: Send {
    /// TXD. `room` says whether this port's own receiver could take a character.
    fn transmit(&mut self, sent: Character, room: bool) -> Sent {
        let _ = sent;
        if room { Sent::Back } else { Sent::Held }
    }

    /// RXD: the next character, asked for only when the receiver has room for it.
    fn receive(&mut self) -> Option<Character> {
        None
    }

    /// The modem lines: takes the outputs as MCR bits (`DTR`, `RTS`), returns the inputs as MSR bits
    /// (`CTS`, `DSR`, `RI`, `DCD`). Called whenever the port looks, also with nothing changed.
    fn modem(&mut self, outputs: u8) -> u8 {
        let _ = outputs;
        msr::CTS | msr::DSR | msr::DCD
    }
}

/// The plug of the kernel sample: TXD is RXD, and CTS, DSR and DCD are on whatever the port does.
///
/// It takes a character only while the receiver has room, so that no burst of any length loses one;
/// what waits, waits in the transmitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopbackPlug;

impl Line for LoopbackPlug {}
