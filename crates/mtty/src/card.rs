//! The PCI function around the ports.

use vfio_device::{
    BarKind, Context, Description, INTX, Interest, IrqFlags, MSI, Region, Share, VfioDevice,
};

use crate::connector::Port;
use crate::feed::Feed;
use crate::host::{self, Host};
use crate::line::Line;
use crate::uart::{Timer, Uart};

/// Bytes of a port's BAR.
const PORT_SIZE: u64 = 8;

/// What the sample puts into configuration space outside of any capability: vendor-specific bytes without a known
/// meaning, and a name.
const VENDOR_BYTES: [u8; 16] = [0x23, 0, 0, 0x80, 0x23, 0, 0, 0, 0x23, 0, 0, 0, 0x23, 0, 0, 0];
const NAME: &[u8] = b"PCI Serial/UART";

/// A card with one or two ports: BAR n is port n.
pub(crate) struct Card {
    ports: Vec<Port>,
    feed: Feed,
    /// Its ports in the parent's pool.
    _share: Share,
}

impl Card {
    /// With a port for each line.
    pub(crate) fn new(lines: Vec<Box<dyn Line>>, share: Share) -> Self {
        let ports = lines.into_iter().map(Port::new).collect();
        Self { ports, feed: Feed::new(), _share: share }
    }

    /// The card as a client sees it: a WCH CH352, which Linux drives by class and with a quirk of its own.
    pub(crate) fn description(ports: u32) -> Description {
        let mut card = Description::pci(0x4348, 0x3253)
            .subsystem(0x4348, 0x3253)
            .revision(0x10)
            .class(0x07, 0x00, 0x02)
            .status_high(0x02) // DEVSEL medium
            .initial_command(0x0001)
            .config_bytes(0x40, &VENDOR_BYTES)
            .config_bytes(0x60, NAME)
            .intx()
            // As the sample has it: the index without a capability, so that no guest can enable it but a client can.
            .irq(MSI, IrqFlags::MSI, 1);
        for port in 0..ports {
            card = card.bar(port, BarKind::Io, Region::trapped(PORT_SIZE));
        }
        card
    }

    /// Does something to a port, and sees to what moves on the wire between the ports.
    fn act(&mut self, port: u32, act: impl FnOnce(&mut Uart, &mut dyn Line)) {
        if self.act_alone(port, act) {
            while self.poll_all() {}
        }
    }

    /// Does something to a port. Whether that concerns the other one.
    fn act_alone(&mut self, port: u32, act: impl FnOnce(&mut Uart, &mut dyn Line)) -> bool {
        let feed = &mut self.feed;
        match (self.ports.as_mut_slice(), port) {
            ([port], 0) => port.act(None, (0, feed), act),
            ([port, other], 0) => port.act(Some(other), (0, feed), act),
            ([other, port], 1) => port.act(Some(other), (1, feed), act),
            _ => false,
        }
    }

    /// A client is at the registers of a port.
    fn attend(&mut self, port: u32) {
        if self.ports.get_mut(port as usize).is_some_and(|it| it.abandon(false)) {
            self.act(port, Uart::poll);
        }
    }

    fn poll_all(&mut self) -> bool {
        // No short cut: each has its turn.
        self.act_alone(0, Uart::poll) | self.act_alone(1, Uart::poll)
    }

    /// Has a line do what the host wants of it, then looks at what has come of it.
    fn host_event(
        &mut self,
        port: u32,
        cx: &mut Context,
        act: impl FnOnce(&mut dyn Line, &mut Host<'_>),
    ) {
        if let Some(it) = self.ports.get_mut(port as usize) {
            act(&mut *it.line, &mut Host::new(&mut cx.sources, &mut cx.timers, port));
        }
        self.act(port, Uart::poll);
    }

    /// States what holds now: the one place where interrupts and timers follow from the ports.
    fn sync(&mut self, cx: &mut Context) {
        let mut intx = false;
        let mut in_service = false;
        for (number, port) in (0..).zip(&mut self.ports) {
            let id = host::id(number, host::TIME_OUT);
            match port.uart.take_timer() {
                Some(Timer::Start(after)) => cx.timers.start(id, after),
                Some(Timer::Stop) => cx.timers.stop(id),
                None => (),
            }
            port.settle(&mut Host::new(&mut cx.sources, &mut cx.timers, number));
            let pending = port.uart.interrupt().is_some();
            // OUT2 stands between INTR and the bus. A message needs no bus line, and each port sends its own.
            intx |= pending && port.uart.out2();
            if pending && !port.pending {
                cx.irqs.trigger(MSI, 0);
            }
            port.pending = pending;
            in_service |= port.uart.in_service();
        }
        // The level first: a service that ends signals what still holds.
        cx.irqs.set_level(INTX, 0, intx);
        cx.irqs.set_in_service(in_service);
        self.feed.settle(intx, &mut cx.timers);
    }
}

/// The register at an offset, so many bytes into an access.
fn register(offset: u64, position: usize) -> Option<u8> {
    u8::try_from(offset).ok()?.checked_add(u8::try_from(position).ok()?)
}

impl VfioDevice for Card {
    fn start(&mut self, cx: &mut Context) {
        for (number, port) in (0..).zip(&mut self.ports) {
            port.start(&mut Host::new(&mut cx.sources, &mut cx.timers, number));
        }
        while self.poll_all() {}
        self.sync(cx);
    }

    /// The ports keep their registers. Whoever comes next will reset them, and what had been received would be lost.
    fn close(&mut self, cx: &mut Context) {
        for port in &mut self.ports {
            port.abandon(true);
        }
        while self.poll_all() {}
        self.sync(cx);
    }

    /// Each byte is an access to the register at its own offset, in ascending order.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        self.attend(region);
        for (position, byte) in data.iter_mut().enumerate() {
            if let Some(register) = register(offset, position) {
                self.act(region, |uart, line| *byte = uart.read(register, line));
            }
        }
        self.sync(cx);
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.attend(region);
        for (position, &byte) in data.iter().enumerate() {
            if let Some(register) = register(offset, position) {
                self.act(region, |uart, line| uart.write(register, byte, line));
            }
        }
        self.sync(cx);
    }

    fn reset(&mut self, cx: &mut Context) {
        self.ports.iter_mut().for_each(Port::reset);
        while self.poll_all() {}
        self.sync(cx);
    }

    fn timer(&mut self, id: u32, cx: &mut Context) {
        let (port, number) = host::port_and_number(id);
        if number == host::TIME_OUT {
            self.act(port, |uart, _| uart.character_timeout());
        } else if number == host::REST {
            self.feed = Feed::new();
            while self.poll_all() {}
        } else {
            self.host_event(port, cx, |line, host| line.timer(number, host));
        }
        self.sync(cx);
    }

    fn ready(&mut self, id: u32, ready: Interest, cx: &mut Context) {
        let (port, number) = host::port_and_number(id);
        self.host_event(port, cx, |line, host| line.ready(number, ready, host));
        self.sync(cx);
    }
}
