#![cfg(test)]
//! vfio/pci: the class that others derive from. Needs of a core that the functions of a slot share a device set, that
//! all is in place before `register` makes the device visible, that work can be wrapped round register and unregister,
//! and that whoever holds the device is asked to go in every round, by eventfd or else by a notice.

use vfio_device::{Context, Device, Errno, IrqAction, OpenMode, REQ, Unregister, Vfio, VfioDevice};

use super::errno;
use crate::support::{Log, event, free_index, no_registers, plain, set_fds, signals};

/// Bus, slot, function.
type Address = (u8, u8, u8);

struct Function(Log);

impl VfioDevice for Function {
    no_registers!();

    fn request(&mut self, count: u32, cx: &mut Context) -> bool {
        let armed = cx.irqs.is_armed(REQ, 0);
        cx.irqs.trigger(REQ, 0);
        match (armed, count) {
            (true, count) if count % 10 == 0 => self.0.add("relaying a request"),
            (false, 0) => self.0.add("no request channel"),
            _ => (),
        }
        armed
    }

    fn release(self: Box<Self>) {
        self.0.add("release");
    }
}

/// What `vfio_pci_core_register_device` and `_unregister_device` wrap.
struct Bound {
    device: Device,
    log: Log,
}

impl Bound {
    fn probe(vfio: &Vfio, log: &Log, address: Address, vga: bool) -> Result<Self, Errno> {
        let (bus, slot, _) = address;
        let mut device = vfio.alloc(|init| {
            init.assign_device_set(u64::from(bus) << 5 | u64::from(slot));
            Ok((plain().request_irq(), Box::new(Function(log.clone()))))
        })?;
        // From here on the one call that undoes it all is the put.
        if vga {
            return Err(Errno::BUSY);
        }
        log.add("to D3");
        device.register()?;
        Ok(Self { device, log: log.clone() })
    }

    /// As long as somebody has it: ask, and let `wait` do what 10 s would bring.
    fn remove(mut self, mut wait: impl FnMut(&mut Device, u32)) {
        let mut round = 0;
        while self.device.unregister() == Unregister::InUse {
            self.device.request();
            wait(&mut self.device, round);
            round += 1;
        }
        self.log.add("to D0");
    }
}

#[test]
fn pci_what_fails_between_init_and_register_is_undone_by_one_put() {
    let (vfio, log) = (Vfio::new(), Log::default());
    assert_eq!(errno(Bound::probe(&vfio, &log, (0, 2, 0), true).map(|it| it.device)), Errno::BUSY);
    assert_eq!(log.take(), ["release"]);
    assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0));
}

#[test]
fn pci_functions_of_a_slot_share_a_set() {
    let vfio = Vfio::new();
    let probe = |address| Bound::probe(&vfio, &Log::default(), address, false).unwrap();
    let functions = [probe((0, 3, 0)), probe((0, 3, 1)), probe((0, 4, 0)), probe((1, 3, 0))];
    assert_eq!(vfio.device_sets(), 3);
    drop(functions);
    assert_eq!(vfio.device_sets(), 0);
}

#[test]
fn pci_a_client_is_asked_by_eventfd_in_every_round() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let mut bound = Bound::probe(&vfio, &log, (0, 3, 0), false).unwrap();
    bound.device.open(OpenMode::Exclusive).unwrap();
    let (kept, sent) = event();
    set_fds(&mut bound.device, 4, IrqAction::Trigger, vec![sent]).unwrap();
    bound.remove(|device, round| {
        assert_eq!(signals(&kept), 1, "round {round}");
        if round == 20 {
            device.close();
        }
    });
    let relays = ["relaying a request"; 3];
    assert_eq!(log.take(), [&["to D3"], &relays[..], &["to D0", "release"]].concat());
}

#[test]
fn pci_a_client_without_an_eventfd_is_noticed_once() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let mut bound = Bound::probe(&vfio, &log, (0, 3, 0), false).unwrap();
    bound.device.open(OpenMode::Exclusive).unwrap();
    bound.remove(|device, round| {
        if round == 20 {
            device.close();
        }
    });
    assert_eq!(log.take(), ["to D3", "no request channel", "to D0", "release"]);
}
