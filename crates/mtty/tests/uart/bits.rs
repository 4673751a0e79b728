//! Offsets and bits, written out again from the data sheet: a slip in `spec.rs` cannot hide here.

pub const RBR: u8 = 0;
pub const THR: u8 = 0;
pub const DLL: u8 = 0;
pub const IER: u8 = 1;
pub const DLM: u8 = 1;
pub const IIR: u8 = 2;
pub const FCR: u8 = 2;
pub const LCR: u8 = 3;
pub const MCR: u8 = 4;
pub const LSR: u8 = 5;
pub const MSR: u8 = 6;
pub const SCR: u8 = 7;

pub const ERBFI: u8 = 1 << 0;
pub const ETBEI: u8 = 1 << 1;
pub const ELSI: u8 = 1 << 2;
pub const EDSSI: u8 = 1 << 3;

pub const WLS_8: u8 = 3;
pub const STB: u8 = 1 << 2;
pub const PEN: u8 = 1 << 3;
pub const SET_BREAK: u8 = 1 << 6;
pub const DLAB: u8 = 1 << 7;

pub const DTR: u8 = 1 << 0;
pub const RTS: u8 = 1 << 1;
pub const OUT1: u8 = 1 << 2;
pub const OUT2: u8 = 1 << 3;
pub const LOOP: u8 = 1 << 4;
pub const AFE: u8 = 1 << 5;

pub const DR: u8 = 1 << 0;
pub const OE: u8 = 1 << 1;
pub const PE: u8 = 1 << 2;
pub const FE: u8 = 1 << 3;
pub const BI: u8 = 1 << 4;
pub const THRE: u8 = 1 << 5;
pub const TEMT: u8 = 1 << 6;
pub const RCVR_FIFO_ERROR: u8 = 1 << 7;

pub const DCTS: u8 = 1 << 0;
pub const DDSR: u8 = 1 << 1;
pub const TERI: u8 = 1 << 2;
pub const DDCD: u8 = 1 << 3;
pub const CTS: u8 = 1 << 4;
pub const DSR: u8 = 1 << 5;
pub const RI: u8 = 1 << 6;
pub const DCD: u8 = 1 << 7;
