//! A port of the card: a UART, what hangs on its connector, and the wire from the card's other port.

use crate::feed::Feed;
use crate::fifo::Fifo;
use crate::host::Host;
use crate::line::{Character, Line, Room, Sent, Settings, null_modem};
use crate::spec::FIFO_DEPTH;
use crate::uart::Uart;

/// One of the card's ports.
pub(crate) struct Port {
    pub uart: Uart,
    pub line: Box<dyn Line>,
    /// Whether an interrupt was pending when the levels were last stated.
    pub pending: bool,
    /// Sent across by the other port, and not received yet.
    arriving: Fifo<Character>,
    /// The modem outputs that the line last saw.
    outputs: u8,
    /// What the line knows of how the port is set up.
    settings: Settings,
    /// Something has been done to it since it last settled.
    touched: bool,
    /// Its driver's client has gone, and no other has come to its registers: nobody would read what it received.
    abandoned: bool,
}

impl Port {
    pub fn new(line: Box<dyn Line>) -> Self {
        Self {
            uart: Uart::new(),
            line,
            pending: false,
            arriving: Fifo::default(),
            outputs: 0,
            settings: Settings::default(),
            touched: false,
            abandoned: false,
        }
    }

    pub fn start(&mut self, host: &mut Host<'_>) {
        self.line.start(host);
        self.line.settings(self.settings);
    }

    /// Master Reset of both ports, which is what there is: the wire between them is empty too. Polling follows.
    pub fn reset(&mut self) {
        self.uart.reset();
        self.arriving.clear();
        self.outputs = 0;
    }

    /// The client goes, or one is at the registers again. Whether that is news; polling follows.
    pub fn abandon(&mut self, abandoned: bool) -> bool {
        std::mem::replace(&mut self.abandoned, abandoned) != abandoned
    }

    /// Does something to the UART, with its line and the other port at hand, and with so much of the line's
    /// characters as `feed` allows. Whether that concerns the other port.
    pub fn act(
        &mut self,
        other: Option<&mut Self>,
        (number, feed): (usize, &mut Feed),
        act: impl FnOnce(&mut Uart, &mut dyn Line),
    ) -> bool {
        self.touched = true;
        let mut end = End {
            line: &mut *self.line,
            arriving: &mut self.arriving,
            outputs: &mut self.outputs,
            far: other.map(|other| (&mut other.arriving, other.outputs)),
            abandoned: self.abandoned,
            number,
            feed,
            moved: false,
        };
        act(&mut self.uart, &mut end);
        end.moved
    }

    /// Tells the line that it is over.
    pub fn settle(&mut self, host: &mut Host<'_>) {
        if !std::mem::take(&mut self.touched) {
            return;
        }
        let settings = self.uart.settings();
        if settings != self.settings && !self.uart.dlab() {
            self.settings = settings;
            self.line.settings(settings);
        }
        self.line.settle(host);
    }
}

/// What the UART sees: its line, and by way of that the other port.
struct End<'a> {
    line: &'a mut dyn Line,
    arriving: &'a mut Fifo<Character>,
    outputs: &'a mut u8,
    /// The wire to the other port, and its outputs.
    far: Option<(&'a mut Fifo<Character>, u8)>,
    /// Outputs are off, and input waits.
    abandoned: bool,
    /// Characters that the line may still hand over before the driver has had its rest.
    feed: &'a mut Feed,
    /// Which port this is.
    number: usize,
    /// Something has moved on the wires.
    moved: bool,
}

impl Line for End<'_> {
    fn transmit(&mut self, sent: Character, room: Room) -> Sent {
        let wire = self.far.as_mut().filter(|(wire, _)| wire.len() < FIFO_DEPTH);
        let done = self.line.transmit(sent, Room { across: wire.is_some(), ..room });
        match (done, wire) {
            (Sent::Across, Some((wire, _))) => {
                wire.push(sent);
                self.moved = true;
                Sent::Away
            }
            (Sent::Across, None) => Sent::Held,
            (done, _) => done,
        }
    }

    fn receive(&mut self) -> Option<Character> {
        if self.abandoned {
            return None;
        }
        let across = self.arriving.pop();
        self.moved |= across.is_some();
        if across.is_some() || !self.line.outruns() {
            return across.or_else(|| self.line.receive());
        }
        self.feed.take(self.number, || self.line.receive())
    }

    fn modem(&mut self, outputs: u8, _across: u8) -> u8 {
        let outputs = if self.abandoned { 0 } else { outputs };
        self.moved |= std::mem::replace(self.outputs, outputs) != outputs && self.far.is_some();
        self.line.modem(outputs, self.far.as_ref().map_or(0, |(_, outputs)| null_modem(*outputs)))
    }
}
