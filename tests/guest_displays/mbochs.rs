//! mbochs and its driver, `bochs-drm`.

use std::fs;
use std::process::Stdio;

use guest_kit::{Builder, FLIP, Tools, program};

use crate::display::{Display, SOON};
use crate::picture::Picture;
use crate::served::Served;

const ID: &str = "1234:1111";
const EDID: &str = "/sys/class/drm/card0-Virtual-1/edid";

/// A type, and what it shall be in a guest.
struct Kind {
    name: &'static str,
    memory_kb: u32,
    /// What the monitor prefers: the mode of /dev/fb0.
    preferred: (usize, usize),
    /// The modes that are left of the monitor's, in the guest's order.
    modes: &'static str,
    /// Those without a monitor.
    default_modes: &'static str,
    /// One that fits into the memory three times beside the first.
    other: (usize, usize),
}

const SMALL: Kind = Kind {
    name: "mbochs-small",
    memory_kb: 4096,
    preferred: (800, 600),
    modes: "800x600 800x600 640x480",
    default_modes: "800x600 800x600 848x480 640x480",
    other: (640, 480),
};

const MEDIUM: Kind = Kind {
    name: "mbochs-medium",
    memory_kb: 16384,
    preferred: (1280, 800),
    modes: "1280x800 1920x1080 1600x1200 1680x1050 1280x1024 1440x900 1280x720 1024x768 800x600 640x480",
    // Each that takes no more than half of the memory; twice where there is one with reduced blanking.
    default_modes: "1024x768 1920x1080 1600x1200 1680x1050 1680x1050 1400x1050 1400x1050 1600x900 1280x1024 1440x900 \
         1440x900 1280x960 1366x768 1366x768 1360x768 1280x800 1280x800 1280x768 1280x768 1280x720 800x600 800x600 \
         848x480 640x480",
    other: (1440, 900),
};

const LARGE: Kind = Kind {
    name: "mbochs-large",
    memory_kb: 65536,
    preferred: (1280, 800),
    modes: "1280x800 2048x1152 1920x1200 1920x1080 1600x1200 1680x1050 1280x1024 1440x900 1280x720 1024x768 800x600 \
         640x480",
    default_modes: "1024x768 2560x1600 2560x1600 1920x1440 1856x1392 1792x1344 2048x1152 1920x1200 1920x1200 1920x1080 \
         1600x1200 1680x1050 1680x1050 1400x1050 1400x1050 1600x900 1280x1024 1440x900 1440x900 1280x960 1366x768 \
         1366x768 1360x768 1280x800 1280x800 1280x768 1280x768 1280x720 800x600 800x600 848x480 640x480",
    other: (1920, 1080),
};

fn guest(served: &Served) -> Builder {
    let tools = Tools::prepare().unwrap();
    served.guest_with(&tools).kernel_module("bochs").file("/bin/flip", &program(FLIP).unwrap())
}

impl Kind {
    /// The registers before there is a driver. `monitor`: whether there is one.
    fn is_as_it_was_made(&self, display: &mut Display, monitor: bool) {
        let registers = display
            .line("for at in 0x500 0x508 0x514; do devmem $(($(bar 2) + at)) 16; done | xargs");
        assert_eq!(registers, format!("0xB0C5 0x0000 0x{:04X}", self.memory_kb / 64));
        let edid = display.line("devmem $(bar 2) 32");
        assert_eq!(edid, if monitor { "0xFFFFFF00" } else { "0x00000000" });
        // What revision 2 of the device has there, and this one has not.
        assert_eq!(display.line("devmem $(($(bar 2) + 0x600)) 32"), "0x00000000");
    }

    /// What the driver finds. `edid`: the monitor's own words.
    fn is_found_by_the_driver(&self, display: &mut Display, edid: &[u8], modes: &str) {
        display.sh("load bochs");
        let said = display.sh("said");
        println!("{said}");
        let size = format!("[drm] Framebuffer size {} kB @ 0x", self.memory_kb);
        for line in [
            "[drm] Found bochs VGA, ID 0xb0c5.\n",
            &size,
            "fb0: bochs-drmdrmfb frame buffer device\n",
        ] {
            assert_eq!(said.matches(line).count(), 1, "{line:?}");
        }
        assert_eq!(said.contains("[drm] Found EDID data blob.\n"), !edid.is_empty());
        assert!(!said.contains("size mismatch"), "BAR 0 and VIDEO_MEMORY_64K agree");
        assert_eq!(display.sh("cat /proc/fb"), "0 bochs-drmdrmfb\n");
        let connector = "cat /sys/class/drm/card0-Virtual-1";
        assert_eq!(display.line(&format!("{connector}/status")), "connected");
        assert_eq!(display.line(&format!("{connector}/modes | xargs")), modes);
        assert_eq!(display.bytes(EDID), edid);
    }

    fn framebuffer_is(&self, display: &mut Display, (width, height): (usize, usize)) {
        assert_eq!(display.line("framebuffer"), format!("{width},{height} {} 32", width * 4));
    }

    /// The program shows one buffer after the other in this mode.
    fn flips(&self, served: &Served, display: &mut Display, size: (usize, usize), seed: u32) {
        println!("{}: flips pages at {size:?}", self.name);
        let (width, height) = size;
        display.sh("rm -f /tmp/flip /tmp/next; mkfifo /tmp/next; exec 4<>/tmp/next");
        display.sh(&format!("flip {width}x{height} 3 {seed} <&4 >/tmp/flip 2>&1 &"));
        let mut offsets = Vec::new();
        for number in 0..3 {
            if number != 0 {
                display.sh("echo >&4");
            }
            display.sh(&format!(
                "eventually grep -q 'buffer {number} ' /tmp/flip || {{ cat /tmp/flip; false; }}"
            ));
            Picture::flipped(size, seed + number).is_seen(served);
            let plane = &served.info()["plane"];
            assert_eq!(plane["stride"], width * 4);
            offsets.push(plane["offset"].as_u64().unwrap());
        }
        println!("offsets: {offsets:?}");
        // While one follows the other, both are in video memory.
        assert_ne!(offsets[0], offsets[1]);
        assert_ne!(offsets[1], offsets[2]);
        display.sh("kill $! && wait $!; true");
    }

    fn works_in_a_guest(&self) {
        let served = Served::start_controlled(self.name, &[]);
        assert!(
            served.info()["plane"].is_null(),
            "there is no picture before a driver sets a mode"
        );
        let picture = Picture::random(self.preferred, 3);
        let mut display = Display::boot(guest(&served).reboots(), ID, &picture);
        self.is_as_it_was_made(&mut display, true);
        assert!(served.info()["plane"].is_null());
        let edid = self.edid();
        self.is_found_by_the_driver(&mut display, &edid, self.modes);
        self.framebuffer_is(&mut display, self.preferred);
        has_no_fault(&display.bytes(EDID));
        display.sh("free_console; draw /picture");
        picture.comes(&served);

        self.flips(&served, &mut display, self.other, 100);
        println!("back to the first mode");
        picture.comes(&served);
        self.flips(&served, &mut display, self.preferred, 200);
        picture.comes(&served);

        println!("unbound and bound");
        display.sh("unbind && [ -z \"$(cat /proc/fb)\" ]");
        display.sh("bind bochs-drm; free_console; draw /picture");
        picture.comes(&served);

        println!("the guest reboots, which resets the display");
        display.guest.reboot(SOON).unwrap();
        display.look();
        assert!(served.info()["plane"].is_null());
        self.is_as_it_was_made(&mut display, true);
        self.is_found_by_the_driver(&mut display, &edid, self.modes);
        display.sh("free_console; draw /picture");
        picture.comes(&served);

        println!("QEMU is killed while the guest flips");
        let (width, height) = self.other;
        display.sh(&format!(
            "while :; do timeout 1 flip {width}x{height} 3 5; done >/dev/null 2>&1 &"
        ));
        display.sh("usleep 500000");
        display.guest.kill();
        assert_eq!(display.guest.qemu_messages(), "");
        served.wait_for_log(" has left", 1);

        println!("the next QEMU");
        let picture = Picture::random(self.preferred, 4);
        let mut display = Display::boot(guest(&served), ID, &picture);
        self.is_as_it_was_made(&mut display, true);
        self.is_found_by_the_driver(&mut display, &edid, self.modes);
        display.sh("free_console; draw /picture");
        picture.comes(&served);
        self.flips(&served, &mut display, self.other, 300);
        picture.comes(&served);
        display.power_off();
        served.wait_for_log(" has left", 2);
        println!("the last picture stays");
        picture.is_seen(&served);
        served.end();
    }

    /// What the server makes for this type.
    fn edid(&self) -> Vec<u8> {
        use mbochs::vfio_device::MdevDriver as _;
        let driver = mbochs::Mbochs::default();
        let kind = driver.types().iter().find(|kind| kind.name == self.name).unwrap();
        mbochs::Options::default().edid(kind).unwrap().unwrap().bytes().to_vec()
    }

    fn works_without_a_monitor(&self) {
        let served = Served::start_controlled(self.name, &["--edid", "off"]);
        let size = if self.memory_kb == 4096 { (800, 600) } else { (1024, 768) };
        let picture = Picture::random(size, 5);
        let mut display = Display::boot(guest(&served), ID, &picture);
        self.is_as_it_was_made(&mut display, false);
        self.is_found_by_the_driver(&mut display, &[], self.default_modes);
        self.framebuffer_is(&mut display, size);
        display.sh("free_console; draw /picture");
        picture.comes(&served);
        display.power_off();
        served.end();
    }
}

/// Debian's edid-decode has no fault to find in it.
fn has_no_fault(edid: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edid");
    fs::write(&file, edid).unwrap();
    let mut decode = Tools::prepare().unwrap().edid_decode().unwrap();
    let output = decode.arg("--check").arg(&file).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    assert!(output.status.success() && text.contains("EDID conformity: PASS"));
    assert!(!text.contains("Warnings:") && !text.contains("Failures:"));
}

#[test]
fn what_a_guest_draws_on_mbochs_small_is_seen_pixel_for_pixel() {
    SMALL.works_in_a_guest();
}

#[test]
fn what_a_guest_draws_on_mbochs_medium_is_seen_pixel_for_pixel() {
    MEDIUM.works_in_a_guest();
}

#[test]
fn what_a_guest_draws_on_mbochs_large_is_seen_pixel_for_pixel() {
    LARGE.works_in_a_guest();
}

#[test]
fn without_a_monitor_the_guest_offers_what_fits_into_half_of_the_memory() {
    for kind in [SMALL, MEDIUM, LARGE] {
        kind.works_without_a_monitor();
    }
}

#[test]
fn the_guest_finds_the_monitor_that_the_options_tell_of() {
    let served = Served::start_controlled("mbochs-medium", &["--xres", "1366", "--yres", "768"]);
    let mut display = Display::boot(guest(&served), ID, &Picture::random((1, 1), 0));
    display.sh("load bochs");
    MEDIUM.framebuffer_is(&mut display, (1366, 768));
    let made = display.bytes(EDID);
    has_no_fault(&made);
    display.power_off();
    served.end();

    println!("the same monitor with an extension of no content, from a file");
    let mut edid = made;
    edid[126] = 1;
    edid[127] = edid[127].wrapping_sub(1);
    let mut extension = [0; 128];
    extension[..3].copy_from_slice(&[0x02, 0x03, 0x04]);
    extension[127] = 0xf7;
    edid.extend(extension);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edid");
    fs::write(&file, &edid).unwrap();
    let served = Served::start_controlled("mbochs-large", &["--edid", file.to_str().unwrap()]);
    let mut display = Display::boot(guest(&served), ID, &Picture::random((1, 1), 0));
    display.sh("load bochs");
    LARGE.framebuffer_is(&mut display, (1366, 768));
    assert_eq!(display.bytes(EDID), edid);
    display.power_off();
    served.end();
}
