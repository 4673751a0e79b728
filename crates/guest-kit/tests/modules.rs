#![cfg(test)]
//! Kernel modules in a guest, and a program that drives the display which one of them is for.

use std::process::Stdio;
use std::time::Duration;

use guest_kit::{FLIP, Guest, Tools, program};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn a_module_that_the_kernel_does_not_have_is_named() {
    let tools = Tools::prepare().unwrap();
    let error = Guest::builder(&tools).kernel_module("no_such").boot().unwrap_err().to_string();
    assert!(error.contains("no kernel module no_such in /"), "{error}");
}

#[test]
fn mdpy_fb_is_refused_as_long_as_it_was_not_asked_for() {
    let tools = Tools::prepare().unwrap();
    let error = Guest::builder(&tools).kernel_module("mdpy-fb").boot().unwrap_err().to_string();
    assert!(error.contains("Tools::with_mdpy_fb"), "{error}");
}

#[test]
fn a_program_that_does_not_compile_is_shown_with_what_rustc_says() {
    let error = program("fn main() { nonsense }").unwrap_err().to_string();
    assert!(error.contains("cannot find value `nonsense`"), "{error}");
}

#[test]
fn mdpy_fb_is_built_for_the_guests_kernel() {
    let tools = Tools::prepare().unwrap().with_mdpy_fb().unwrap();
    let mut guest = Guest::builder(&tools).kernel_module("mdpy-fb").boot().unwrap();
    guest.check("load mdpy-fb && grep -q ^mdpy_fb /proc/modules", SOON).unwrap();
    guest.check("test -d /sys/bus/pci/drivers/mdpy-fb", SOON).unwrap();
    guest.check("load mdpy-fb", SOON).unwrap(); // it is there already
    guest.power_off(SOON).unwrap();
}

/// What the program paints: the upper 24 bits of a linear congruential generator's numbers.
fn first_pixels(mut state: u32) -> [u32; 4] {
    [(); 4].map(|()| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    })
}

#[test]
fn the_display_program_sets_a_mode_and_flips_to_an_offset_in_qemus_own_bochs_display() {
    let mut guest = Guest::builder(&Tools::prepare().unwrap())
        .device("bochs-display")
        .kernel_module("bochs")
        .file("/bin/flip", &program(FLIP).unwrap())
        .registers()
        .boot()
        .unwrap();
    guest.check("load bochs", SOON).unwrap();
    let modes = guest.check("cat /sys/class/drm/card0-*/modes", SOON).unwrap();
    assert!(modes.contains("800x600\n"), "{modes}");

    let none = guest.run("flip 801x600 1 7", SOON).unwrap();
    assert_ne!(none.status, 0);
    assert!(none.text.contains("a mode of this size"), "{}", none.text);

    guest.check("flip 800x600 3 7 1 >/tmp/flip 2>&1 &", SOON).unwrap();
    let waits = ". /lib/pci.sh; eventually grep -q 'waits' /tmp/flip || cat /tmp/flip";
    assert_eq!(guest.check(waits, SOON).unwrap(), "");
    let said = guest.check("cat /tmp/flip", SOON).unwrap();
    for number in 0..3 {
        assert!(said.contains(&format!("flip: shows buffer {number} at 800x600\n")), "{said}");
    }
    assert!(said.contains(" MiB\n"), "{said}");

    // The dispi registers, and the pixels that they show.
    let script = "pci_find 1234:1111; for register in 1 2 6 8 9; do
        echo $(($(devmem $(($(bar 2) + 0x500 + 2 * register)) 16)))
    done";
    let registers = guest.check(script, SOON).unwrap();
    let registers: Vec<u32> = registers.lines().map(|line| line.parse().unwrap()).collect();
    let [width, height, pitch, x, y] = registers[..] else { panic!("{registers:?}") };
    assert_eq!((width, height, pitch), (800, 600, 800));
    let offset = (y * pitch + x) * 4;
    assert_ne!(offset, 0, "the picture has moved");
    for (number, pixel) in (0..).zip(first_pixels(7 + 2)) {
        let at = offset + number * 4;
        let shown =
            guest.check(&format!("echo $(($(devmem $(($(bar 0) + {at})) 32)))"), SOON).unwrap();
        assert_eq!(shown.trim().parse(), Ok(pixel), "pixel {number}");
    }
    guest.power_off(SOON).unwrap();
    assert_eq!(guest.qemu_messages(), "");
}

#[test]
fn edid_decode_runs_and_finds_the_faults_of_nonsense() {
    let tools = Tools::prepare().unwrap();
    let mut decode = tools.edid_decode().unwrap();
    let output = decode.args(["--check", "/dev/null"]).stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("EDID"), "{said}");
}
