//! What a device's author can describe, as a Linux guest's own PCI code finds it: BARs of every kind, an expansion ROM,
//! capabilities, and the resets that a guest can ask for.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use guest_kit::{Guest, Tools, vfio_user_device};
use vfio_device::{
    BarKind, BarOffset, Capability, Context, Description, Device, Region, SharedMemory, Vfio,
    VfioDevice,
};
use vfio_user_server::{DEFAULT_POLL, Endpoint, EventLoop, Listener};

const SOON: Duration = Duration::from_secs(120);

/// Counts its resets.
struct Counter(Arc<AtomicU32>);

impl VfioDevice for Counter {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn device(vfio: &Vfio, description: Description, resets: &Arc<AtomicU32>) -> Device {
    let counter = Counter(Arc::clone(resets));
    let mut device = vfio.alloc(|_| Ok((description, Box::new(counter)))).unwrap();
    device.register().unwrap();
    device
}

/// Everything that a PCI Express function can have.
fn express() -> Description {
    let rom = SharedMemory::new_read_only("rom", 4096).unwrap();
    // Signature, length in 512 bytes, and where the PCI data structure is: none of this host's business.
    let mut image = [0x55, 0xaa, 8].to_vec();
    image.resize(0x18, 0);
    image.extend([0x1c, 0, 0, 0]);
    image.extend(b"PCIR\x34\x12\x01\x7a\0\0\x18\0\0\0\0\0\x08\0\0\0\0\x80\0\0");
    image.extend(b"hello from the ROM");
    rom.write(0, &image).unwrap();
    let table = BarOffset { bar: 0, offset: 0x2000 };
    let pending = BarOffset { bar: 0, offset: 0x3000 };
    Description::pci(0x1234, 0x7a01)
        .class(0x08, 0x80, 0x00)
        .bar(0, BarKind::Memory64, Region::trapped(0x4000))
        .bar(2, BarKind::Prefetchable64, Region::trapped(1 << 20))
        .bar(4, BarKind::Memory32, Region::trapped(4096))
        .rom(Region::mapped(rom))
        .msix(33, table, pending)
        .capability(Capability::pci_express())
        .capability(Capability::power_management_with_reset())
        .capability(Capability::vendor(b"vendor"))
        .extended_capability(Capability::serial_number(0x0102_0304_0506_0708))
        .extended_capability(Capability::vendor_extended(0x1234, 1, b"extended"))
}

/// Everything that a conventional function can have.
fn conventional() -> Description {
    Description::pci(0x1234, 0x7a02)
        .class(0x08, 0x80, 0x00)
        .bar(0, BarKind::Io, Region::trapped(64))
        .bar(1, BarKind::Prefetchable32, Region::trapped(1 << 16))
        .intx()
        .msi(5)
        .capability(Capability::advanced_features())
        .capability(Capability::power_management())
}

/// The functions of the guest's half.
const SCRIPT: &str = r#"
function_at() { # DEVICE: where sysfs has it
    for d in /sys/bus/pci/devices/*; do [ "$(cat $d/device)" = 0x$1 ] && echo $d; done
}
reset_by() { # DEVICE METHOD
    d=$(function_at $1); echo $2 > $d/reset_method && echo 1 > $d/reset
}
"#;

#[test]
fn linux_finds_what_was_described_and_its_resets_reach_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let resets: [Arc<AtomicU32>; 2] = Default::default();
    let vfio = Vfio::new();
    let mut event_loop = EventLoop::new(DEFAULT_POLL).unwrap();
    for (name, description, resets) in
        [("express", express(), &resets[0]), ("conventional", conventional(), &resets[1])]
    {
        let listener = Listener::bind(&path(name)).unwrap();
        let device = device(&vfio, description, resets);
        event_loop.add(Endpoint::new(device, listener)).unwrap();
    }
    let handle = event_loop.handle();
    let server = thread::spawn(move || event_loop.run(|_, _| ()).unwrap());

    let behind_a_port = |socket: &Path| {
        let device = vfio_user_device(socket);
        device.replacen('{', r#"{"bus":"slot-1","#, 1)
    };
    let mut guest = Guest::builder(&Tools::prepare().unwrap())
        .args(["-device", "pcie-root-port,id=slot-1,slot=1,chassis=1"])
        .args(["-device", &behind_a_port(&path("express"))])
        .device(&vfio_user_device(&path("conventional")))
        .boot()
        .unwrap();
    guest.check(SCRIPT, SOON).unwrap();
    let mut sh = |script: &str| guest.check(script, SOON).unwrap();

    // Sizes and kinds: start, end, flags of each BAR and of the ROM, from the kernel's own list.
    let sizes = "while read a b f; do printf '%x %x\\n' $((b - a + 1)) $((f & 0x10f300)); done";
    let resources = sh(&format!("{sizes} < $(function_at 7a01)/resource | head -7"));
    // Memory 0x200, I/O 0x100, prefetchable 0x2000, read-only 0x4000, 64 bits wide 0x100000.
    let expected = ["4000 100200", "1 0", "100000 102200", "1 0", "1000 200", "1 0", "1000 6200"];
    assert_eq!(resources.lines().map(str::trim).collect::<Vec<_>>(), expected);
    let resources = sh(&format!("{sizes} < $(function_at 7a02)/resource | head -2"));
    assert_eq!(resources.lines().map(str::trim).collect::<Vec<_>>(), ["40 100", "10000 2200"]);

    // The ROM, read through its BAR.
    let rom = sh("cd $(function_at 7a01) && echo 1 > rom && cat rom | tail -c +53 | head -c 18");
    assert_eq!(rom.trim(), "hello from the ROM");

    // Extended configuration space: serial number and vendor capability, as lspci would read them.
    let dump = |at: u32, count: u32| {
        format!(
            "dd if=$(function_at 7a01)/config bs=1 skip={at} count={count} 2>/dev/null | od -An -tx1 -v"
        )
    };
    let squeeze = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(sh("wc -c < $(function_at 7a01)/config").trim(), "4096");
    assert_eq!(sh("wc -c < $(function_at 7a02)/config").trim(), "256");
    assert_eq!(squeeze(sh(&dump(0x100, 12))), "03 00 c1 10 08 07 06 05 04 03 02 01");
    assert_eq!(squeeze(sh(&dump(0x10c, 8))), "0b 00 01 00 34 12 01 01");

    // Resets, each the method that Linux names for it.
    let methods = |sh: &mut dyn FnMut(&str) -> String, id: &str| {
        squeeze(sh(&format!("cat $(function_at {id})/reset_method")))
    };
    assert_eq!(methods(&mut sh, "7a01"), "flr pm bus");
    assert_eq!(methods(&mut sh, "7a02"), "af_flr");
    for (id, method, resets) in
        [("7a01", "flr", &resets[0]), ("7a01", "pm", &resets[0]), ("7a02", "af_flr", &resets[1])]
    {
        let before = resets.load(SeqCst);
        sh(&format!("reset_by {id} {method}"));
        assert_eq!(resets.load(SeqCst), before + 1, "{method} of {id}");
        // Linux has restored what a reset cleared: the function still decodes its BARs.
        let enabled = sh(&format!("cat $(function_at {id})/resource | head -1"));
        assert!(!enabled.starts_with("0x0000000000000000 "), "{enabled}");
    }
    guest.power_off(SOON).unwrap();
    assert_eq!(guest.qemu_messages(), "");
    handle.stop();
    server.join().unwrap();
}
