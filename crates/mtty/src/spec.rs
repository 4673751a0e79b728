//! The 16550A by its data sheet: register offsets and bits, nothing else.
//!
//! Names are those of the National PC16550D data sheet (the SC16C550B has the same registers). The
//! one thing that is not in it is [`mcr::AFE`], which the TL16C550C and the kernel sample have.
//!
//! | offset | DLAB | read  | write | reset |
//! |--------|------|-------|-------|-------|
//! | 0      | 0    | `RBR` | `THR` | empty |
//! | 0      | 1    | `DLL` | `DLL` | 00 (the data sheet leaves it open) |
//! | 1      | 0    | `IER` | `IER` | 00    |
//! | 1      | 1    | `DLM` | `DLM` | 00 (the data sheet leaves it open) |
//! | 2      | -    | `IIR` | `FCR` | 01, 00 |
//! | 3      | -    | `LCR` | `LCR` | 00    |
//! | 4      | -    | `MCR` | `MCR` | 00    |
//! | 5      | -    | `LSR` | -     | 60    |
//! | 6      | -    | `MSR` | -     | X0, X being the modem inputs |
//! | 7      | -    | `SCR` | `SCR` | 00 (the data sheet leaves it open) |

/// Receiver Buffer Register: the oldest unread character (read, DLAB = 0).
pub const RBR: u8 = 0;
/// Transmitter Holding Register: the next character to send (write, DLAB = 0).
pub const THR: u8 = 0;
/// Divisor Latch, least significant byte (DLAB = 1).
pub const DLL: u8 = 0;
/// Interrupt Enable Register (DLAB = 0); see [`ier`].
pub const IER: u8 = 1;
/// Divisor Latch, most significant byte (DLAB = 1).
pub const DLM: u8 = 1;
/// Interrupt Identification Register (read); see [`iir`].
pub const IIR: u8 = 2;
/// FIFO Control Register (write); see [`fcr`].
pub const FCR: u8 = 2;
/// Line Control Register; see [`lcr`].
pub const LCR: u8 = 3;
/// Modem Control Register; see [`mcr`].
pub const MCR: u8 = 4;
/// Line Status Register (read); see [`lsr`].
pub const LSR: u8 = 5;
/// Modem Status Register (read); see [`msr`].
pub const MSR: u8 = 6;
/// Scratch Register: holds a byte, does nothing.
pub const SCR: u8 = 7;

/// Characters that each FIFO holds; without FIFOs (16450 mode) it is one.
pub const FIFO_DEPTH: usize = 16;

/// The crystal, in hertz. Baud rate = `CLOCK_HZ` / (16 * divisor), so divisor 1 is 115200 baud.
pub const CLOCK_HZ: u32 = 1_843_200;

/// Interrupt Enable Register. Bits 7:4 read 0.
pub mod ier {
    /// Enable Received Data Available, and the character time-out.
    pub const ERBFI: u8 = 0x01;
    /// Enable Transmitter Holding Register Empty.
    pub const ETBEI: u8 = 0x02;
    /// Enable Receiver Line Status.
    pub const ELSI: u8 = 0x04;
    /// Enable Modem Status.
    pub const EDSSI: u8 = 0x08;
    /// The bits that exist.
    pub const MASK: u8 = 0x0f;
}

/// Interrupt Identification Register: one source, in falling priority, and the FIFO bits.
pub mod iir {
    /// Nothing is pending.
    pub const NONE: u8 = 0x01;
    /// First: OE, PE, FE or BI. Acknowledged by reading LSR.
    pub const RECEIVER_LINE_STATUS: u8 = 0x06;
    /// Second: the trigger level is reached. Acknowledged by reading RBR below it.
    pub const RECEIVED_DATA_AVAILABLE: u8 = 0x04;
    /// Second: characters below the trigger level, untouched for four character times. RBR.
    pub const CHARACTER_TIMEOUT: u8 = 0x0c;
    /// Third: the transmitter has emptied. Acknowledged by this read, or by writing THR.
    pub const THR_EMPTY: u8 = 0x02;
    /// Fourth: a modem input has changed. Acknowledged by reading MSR.
    pub const MODEM_STATUS: u8 = 0x00;
    /// Both set while the FIFOs are enabled.
    pub const FIFOS_ENABLED: u8 = 0xc0;
}

/// FIFO Control Register. With [`ENABLE`](fcr::ENABLE) clear the other bits are not programmed.
pub mod fcr {
    /// Enable both FIFOs; a change clears both.
    pub const ENABLE: u8 = 0x01;
    /// Clear the receiver FIFO; clears itself.
    pub const RCVR_RESET: u8 = 0x02;
    /// Clear the transmitter FIFO; clears itself.
    pub const XMIT_RESET: u8 = 0x04;
    /// DMA mode select: RXRDY and TXRDY pins, which no card wires.
    pub const DMA_MODE: u8 = 0x08;
    /// Receiver trigger: 00 = 1, 40 = 4, 80 = 8, c0 = 14 characters.
    pub const TRIGGER: u8 = 0xc0;
}

/// Line Control Register.
pub mod lcr {
    /// Word Length Select: 5, 6, 7 or 8 bits.
    pub const WLS: u8 = 0x03;
    /// Number of Stop Bits: set = 2, or 1.5 with 5-bit words.
    pub const STB: u8 = 0x04;
    /// Parity Enable: one more bit in the frame.
    pub const PEN: u8 = 0x08;
    /// Even Parity Select.
    pub const EPS: u8 = 0x10;
    /// Stick Parity: the parity bit is the opposite of EPS.
    pub const STICK: u8 = 0x20;
    /// Set Break: TXD is forced to spacing.
    pub const SET_BREAK: u8 = 0x40;
    /// Divisor Latch Access Bit: offsets 0 and 1 are DLL and DLM.
    pub const DLAB: u8 = 0x80;
}

/// Modem Control Register. Bits 7:6 read 0.
pub mod mcr {
    /// Data Terminal Ready.
    pub const DTR: u8 = 0x01;
    /// Request To Send.
    pub const RTS: u8 = 0x02;
    /// Output 1, not wired.
    pub const OUT1: u8 = 0x04;
    /// Output 2, which on a PC card lets INTR through to the bus.
    pub const OUT2: u8 = 0x08;
    /// Loop: the transmitter feeds the receiver, the modem outputs feed the modem inputs.
    pub const LOOP: u8 = 0x10;
    /// Autoflow Control Enable (TL16C550C; the PC16550D forces the bit to 0).
    pub const AFE: u8 = 0x20;
    /// The bits that exist.
    pub const MASK: u8 = 0x3f;
}

/// Line Status Register.
pub mod lsr {
    /// Data Ready: the receiver holds at least one character.
    pub const DR: u8 = 0x01;
    /// Overrun Error: a character was lost. Cleared by reading LSR.
    pub const OE: u8 = 0x02;
    /// Parity Error of the character on top. Cleared by reading LSR.
    pub const PE: u8 = 0x04;
    /// Framing Error of the character on top. Cleared by reading LSR.
    pub const FE: u8 = 0x08;
    /// Break Interrupt of the character on top. Cleared by reading LSR.
    pub const BI: u8 = 0x10;
    /// Transmitter Holding Register (or FIFO) Empty.
    pub const THRE: u8 = 0x20;
    /// Transmitter Empty: THR or FIFO, and the shift register.
    pub const TEMT: u8 = 0x40;
    /// At least one PE, FE or BI in the receiver FIFO. 0 without FIFOs.
    pub const RCVR_FIFO_ERROR: u8 = 0x80;
}

/// Modem Status Register: the inputs in bits 7:4, what has changed since the last read in 3:0.
pub mod msr {
    /// Delta Clear To Send.
    pub const DCTS: u8 = 0x01;
    /// Delta Data Set Ready.
    pub const DDSR: u8 = 0x02;
    /// Trailing Edge Ring Indicator: RI has gone off.
    pub const TERI: u8 = 0x04;
    /// Delta Data Carrier Detect.
    pub const DDCD: u8 = 0x08;
    /// Clear To Send.
    pub const CTS: u8 = 0x10;
    /// Data Set Ready.
    pub const DSR: u8 = 0x20;
    /// Ring Indicator.
    pub const RI: u8 = 0x40;
    /// Data Carrier Detect.
    pub const DCD: u8 = 0x80;
    /// The four inputs.
    pub const INPUTS: u8 = CTS | DSR | RI | DCD;
    /// The four deltas: each is its input's bit shifted down by four.
    pub const DELTAS: u8 = DCTS | DDSR | TERI | DDCD;
}
