//! The PCI function around the ports.

use vfio_device::{BarKind, Context, Description, INTX, IrqFlags, MSI, Region, Share, VfioDevice};

use crate::line::{Line, LoopbackPlug};
use crate::uart::{Timer, Uart};

/// Bytes of a port's BAR.
const PORT_SIZE: u64 = 8;

/// What the sample puts into configuration space outside of any capability: vendor-specific bytes without a known
/// meaning, and a name.
const VENDOR_BYTES: [u8; 16] = [0x23, 0, 0, 0x80, 0x23, 0, 0, 0, 0x23, 0, 0, 0, 0x23, 0, 0, 0];
const NAME: &[u8] = b"PCI Serial/UART";

struct Port {
    uart: Uart,
    line: Box<dyn Line>,
    /// Whether an interrupt was pending when the levels were last stated.
    pending: bool,
}

/// A card with one or two ports: BAR n is port n.
pub(crate) struct Card {
    ports: Vec<Port>,
    /// Its ports in the parent's pool.
    _share: Share,
}

impl Card {
    pub(crate) fn new(ports: u32, share: Share) -> Self {
        let port = |_| Port { uart: Uart::new(), line: Box::new(LoopbackPlug), pending: false };
        Self { ports: (0..ports).map(port).collect(), _share: share }
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

    /// The port of a region, and the register at an offset in it.
    fn port(&mut self, region: u32, offset: u64, position: usize) -> Option<(&mut Port, u8)> {
        let register = u8::try_from(offset).ok()?.checked_add(u8::try_from(position).ok()?)?;
        Some((self.ports.get_mut(region as usize)?, register))
    }

    /// States what holds now: the one place where interrupts and timers follow from the ports.
    fn sync(&mut self, cx: &mut Context) {
        let mut intx = false;
        for (id, port) in (0..).zip(&mut self.ports) {
            match port.uart.take_timer() {
                Some(Timer::Start(after)) => cx.timers.start(id, after),
                Some(Timer::Stop) => cx.timers.stop(id),
                None => (),
            }
            let pending = port.uart.interrupt().is_some();
            // OUT2 stands between INTR and the bus. A message needs no bus line, and each port sends its own.
            intx |= pending && port.uart.out2();
            if pending && !port.pending {
                cx.irqs.trigger(MSI, 0);
            }
            port.pending = pending;
        }
        cx.irqs.set_level(INTX, 0, intx);
    }
}

impl VfioDevice for Card {
    /// Each byte is an access to the register at its own offset, in ascending order.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        for (position, byte) in data.iter_mut().enumerate() {
            if let Some((port, register)) = self.port(region, offset, position) {
                *byte = port.uart.read(register, &mut *port.line);
            }
        }
        self.sync(cx);
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        for (position, &byte) in data.iter().enumerate() {
            if let Some((port, register)) = self.port(region, offset, position) {
                port.uart.write(register, byte, &mut *port.line);
            }
        }
        self.sync(cx);
    }

    fn reset(&mut self, cx: &mut Context) {
        for port in &mut self.ports {
            port.uart.reset();
            port.uart.poll(&mut *port.line);
        }
        self.sync(cx);
    }

    fn timer(&mut self, id: u32, cx: &mut Context) {
        if let Some(port) = self.ports.get_mut(id as usize) {
            port.uart.character_timeout();
        }
        self.sync(cx);
    }
}
