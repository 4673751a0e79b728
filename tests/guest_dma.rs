//! A device that does DMA into a Linux guest's memory: with memory that QEMU shares, and with memory that it keeps to
//! itself.
#![cfg(test)]

#[path = "../crates/vfio-user-server/tests/common/engine.rs"]
mod engine;

use std::thread::{self, JoinHandle};
use std::time::Duration;

use guest_kit::{Guest, Tools, vfio_user_device};
use vfio_device::Vfio;
use vfio_user_server::{DEFAULT_POLL, Endpoint, EventLoop, Listener, LoopHandle};

const SOON: Duration = Duration::from_secs(120);

/// The guest's half. 1 MiB of RAM at 256 MiB is nobody's there: `memmap=` keeps Linux off it, and `devmem` gets at it.
const SCRIPT: &str = r#"
ram=0x10000000
for d in /sys/bus/pci/devices/*; do [ "$(cat $d/device)" = 0x7a03 ] && function=$d; done
echo 1 > $function/enable                         # memory decoding, as a driver would switch it on
read bar end flags < $function/resource

command() { # BYTE: the command register's lower half
    printf "\\x$1" | dd of=$function/config bs=1 seek=4 conv=notrunc 2>/dev/null
}
register() { devmem $((bar + $1)) 32 $2; }        # OFFSET [VALUE]
copy() { # SOURCE DESTINATION LENGTH: copies, and prints the errno
    register 0x00 $1; register 0x04 0; register 0x08 $2; register 0x0c 0; register 0x10 $3
    register 0x18 1
    echo $(($(register 0x14)))
}
same() { # ADDRESS ADDRESS LENGTH: whether the two are equal
    [ "$(dd if=/dev/mem bs=$3 skip=$(($1 / $3)) count=1 2>/dev/null | md5sum)" = \
      "$(dd if=/dev/mem bs=$3 skip=$(($2 / $3)) count=1 2>/dev/null | md5sum)" ]
}
"#;

/// A server with the engine, and a guest that has it.
struct Bench {
    guest: Guest,
    handle: LoopHandle,
    server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn boot(memory: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.sock");
        let mut device = Vfio::new().alloc(|_| Ok(engine::made())).unwrap();
        device.register().unwrap();
        let mut event_loop = EventLoop::new(DEFAULT_POLL).unwrap();
        event_loop.add(Endpoint::new(device, Listener::bind(&path).unwrap())).unwrap();
        let handle = event_loop.handle();
        let server = thread::spawn(move || event_loop.run(|_, _| ()).unwrap());
        let mut guest = Guest::builder(&Tools::prepare().unwrap())
            .args(memory)
            .kernel_argument("memmap=1M$0x10000000")
            .device(&vfio_user_device(&path))
            .boot()
            .unwrap();
        guest.check(SCRIPT, SOON).unwrap();
        Self { guest, handle, server, _directory: directory }
    }

    fn sh(&mut self, script: &str) -> String {
        self.guest.check(script, SOON).unwrap().trim().to_owned()
    }

    fn shut_down(mut self) {
        self.guest.power_off(SOON).unwrap();
        assert_eq!(self.guest.qemu_messages(), "");
        self.handle.stop();
        self.server.join().unwrap();
    }
}

#[test]
fn a_device_copies_within_memory_that_qemu_shares() {
    let memory = "memory-backend-memfd,id=mem,size=512M,share=on";
    let mut bench = Bench::boot(&["-object", memory, "-machine", "memory-backend=mem"]);
    bench.sh("devmem $ram 32 0x12345678; devmem $((ram + 0x1000)) 32 0");

    bench.sh("command 02");
    assert_eq!(bench.sh("copy $ram $((ram + 0x1000)) 4"), "19", "ENODEV: bus mastering is off");
    assert_eq!(bench.sh("devmem $((ram + 0x1000)) 32"), "0x00000000");
    bench.sh("command 06");
    assert_eq!(bench.sh("copy 0x30000000 $ram 4"), "14", "EFAULT: past the guest's 512 MiB");
    assert_eq!(bench.sh("devmem $ram 32"), "0x12345678");

    assert_eq!(bench.sh("copy $ram $((ram + 0x1000)) 4"), "0");
    assert_eq!(bench.sh("devmem $((ram + 0x1000)) 32"), "0x12345678");
    // 64 KiB, every byte of them.
    bench.sh("dd if=/dev/urandom of=/dev/mem bs=64k seek=$((ram / 65536)) count=1 conv=notrunc 2>/dev/null");
    assert_eq!(bench.sh("same $ram $((ram + 0x10000)) 65536 || echo other"), "other");
    assert_eq!(bench.sh("copy $ram $((ram + 0x10000)) 65536"), "0");
    bench.sh("same $ram $((ram + 0x10000)) 65536");
    // The engine goes on while the guest loads its memory with other work.
    bench.sh(
        "register 0x18 2; dd if=/dev/zero of=/tmp/work bs=1M count=64 2>/dev/null; register 0x18 0",
    );
    assert_eq!(bench.sh("echo $(($(register 0x14)))"), "0");
    bench.shut_down();
}

#[test]
fn memory_that_qemu_keeps_to_itself_is_an_error_to_the_device_and_the_guest_goes_on() {
    let mut bench = Bench::boot(&[]);
    bench.sh("devmem $ram 32 0x12345678; devmem $((ram + 0x1000)) 32 0; command 06");
    assert_eq!(bench.sh("copy $ram $((ram + 0x1000)) 4"), "95", "EOPNOTSUPP");
    assert_eq!(bench.sh("devmem $((ram + 0x1000)) 32"), "0x00000000");
    assert_eq!(bench.sh("copy 0x30000000 $ram 4"), "14", "EFAULT");
    bench.shut_down();
}
