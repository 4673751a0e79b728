//! mdpy and its driver, `mdpy-fb`.

use guest_kit::{Builder, Tools};

use crate::display::Display;
use crate::picture::Picture;
use crate::served::Served;

const ID: &str = "1b36:000f";

/// Without a text console on the framebuffer, which would paint over the picture that is there.
fn guest(served: &Served) -> Builder {
    let tools = Tools::prepare().unwrap().with_mdpy_fb().unwrap();
    served.guest_with(&tools).kernel_module("mdpy-fb").kernel_argument("fbcon=map:1")
}

/// The test pattern, from outside and as the guest finds it before the driver is there.
fn shows_the_gradient(served: &Served, display: &mut Display, (width, height): (usize, usize)) {
    Picture::gradient((width, height)).is_seen(served);
    for row in [0, 1, height / 2, height - 1] {
        let level = row * 255 / height;
        let (left, right) = (row * width, row * width + width - 1);
        let pixels = display.line(&format!("echo $(pixel {left}) $(pixel {right})"));
        let wanted = format!("0x{}", format!("{level:02X}").repeat(4));
        assert_eq!(pixels, format!("{wanted} {wanted}"), "row {row}");
    }
}

/// The driver has found the mode that the display has.
fn driver_finds_the_mode(display: &mut Display, (width, height): (usize, usize)) {
    display.sh("load mdpy-fb");
    let said = display.sh("said");
    println!("{said}");
    for line in
        [format!(": mdpy found: {width}x{height} framebuffer\n"), ": fb0 registered\n".into()]
    {
        assert_eq!(said.matches(&line).count(), 1, "{line:?}");
    }
    assert_eq!(display.sh("cat /proc/fb"), "0 mdpy-fb\n");
    assert_eq!(display.line("framebuffer"), format!("{width},{height} {} 32", width * 4));
}

fn works_in_a_guest(kind: &str, size: (usize, usize)) {
    let served = Served::start_controlled(kind, &[]);
    Picture::gradient(size).is_seen(&served);
    let picture = Picture::random(size, 1);
    let mut display = Display::boot(guest(&served).reboots(), ID, &picture);
    shows_the_gradient(&served, &mut display, size);
    driver_finds_the_mode(&mut display, size);
    Picture::gradient(size).is_seen(&served);

    println!("a picture, drawn by the guest");
    display.sh("draw /picture");
    picture.is_seen(&served);
    // Red, green, blue and white in the upper left corner, so that no channel can be taken for another.
    display.sh(r"printf '\0\0\377\0\0\377\0\0\377\0\0\0\377\377\377\0' >/dev/fb0");
    let corner = picture.with(&[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]);
    corner.is_seen(&served);

    println!("unbound and bound");
    display.sh("unbind && [ -z \"$(cat /proc/fb)\" ]");
    corner.is_seen(&served);
    display.sh("bind mdpy-fb && draw /picture");
    assert_eq!(display.sh("cat /proc/fb"), "0 mdpy-fb\n");
    picture.is_seen(&served);

    println!("the guest reboots, which resets the display");
    display.guest.reboot(crate::display::SOON).unwrap();
    display.look();
    shows_the_gradient(&served, &mut display, size);
    driver_finds_the_mode(&mut display, size);
    display.sh("draw /picture");
    picture.is_seen(&served);

    println!("QEMU is killed while the guest draws");
    display.sh("while :; do draw /picture; done &");
    display.guest.kill();
    assert_eq!(display.guest.qemu_messages(), "");
    served.wait_for_log(" has left", 1);
    picture.is_seen(&served);

    println!("the next QEMU");
    let picture = Picture::random(size, 2);
    let mut display = Display::boot(guest(&served), ID, &picture);
    shows_the_gradient(&served, &mut display, size);
    driver_finds_the_mode(&mut display, size);
    display.sh("draw /picture");
    picture.is_seen(&served);
    display.power_off();
    served.wait_for_log(" has left", 2);
    picture.is_seen(&served);
    served.end();
}

#[test]
fn what_a_guest_draws_on_mdpy_vga_is_seen_pixel_for_pixel() {
    works_in_a_guest("mdpy-vga", (640, 480));
}

#[test]
fn what_a_guest_draws_on_mdpy_xga_is_seen_pixel_for_pixel() {
    works_in_a_guest("mdpy-xga", (1024, 768));
}

#[test]
fn what_a_guest_draws_on_mdpy_hd_is_seen_pixel_for_pixel() {
    works_in_a_guest("mdpy-hd", (1920, 1080));
}
