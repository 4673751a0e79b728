//! Runs in the guest, as a static program of its own: shows random pictures on the first display, by page flips.
//!
//!     flip WIDTHxHEIGHT BUFFERS SEED [SECONDS]
//!
//! Sets that mode, fills as many buffers, shows one after the other and stays at the last, whose picture it then writes
//! over and over for SECONDS. Before each but the first it waits for a line, or the end, of its standard input. Buffer N (0, 1, ...) has pixel after pixel, without padding, the numbers of the generator
//! `state = state * 1664525 + 1013904223` that begins with SEED + N: the upper 24 bits of each. Says `flip: ...` for each
//! thing that it has done and `flip: waits` at the end; the picture stays until it is killed.

// UNSAFETY: the kernel's display interface is system calls with pointers, and memory that it maps.

use std::env::args;
use std::ffi::{c_int, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io::{Error, Write, stdin, stdout};
use std::os::fd::AsRawFd;
use std::ptr;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

// Requests and structures of the kernel's include/uapi/drm/drm_mode.h.
const GET_RESOURCES: c_ulong = 0xc040_64a0;
const SET_CRTC: c_ulong = 0xc068_64a2;
const GET_CONNECTOR: c_ulong = 0xc050_64a7;
const ADD_FB: c_ulong = 0xc01c_64ae;
const PAGE_FLIP: c_ulong = 0xc018_64b0;
const CREATE_DUMB: c_ulong = 0xc020_64b2;
const MAP_DUMB: c_ulong = 0xc010_64b3;

#[repr(C)]
#[derive(Default)]
struct Resources {
    framebuffers: u64,
    crtcs: u64,
    connectors: u64,
    encoders: u64,
    framebuffer_count: u32,
    crtc_count: u32,
    connector_count: u32,
    encoder_count: u32,
    limits: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Mode {
    clock: u32,
    width: u16,
    horizontal: [u16; 4],
    height: u16,
    vertical: [u16; 4],
    rest: [u32; 3],
    name: [u8; 32],
}

#[repr(C)]
#[derive(Default)]
struct Connector {
    encoders: u64,
    modes: u64,
    properties: u64,
    values: u64,
    mode_count: u32,
    property_count: u32,
    encoder_count: u32,
    encoder: u32,
    connector: u32,
    rest: [u32; 7],
}

#[repr(C)]
#[derive(Default)]
struct Crtc {
    connectors: u64,
    connector_count: u32,
    crtc: u32,
    framebuffer: u32,
    x_y_gamma: [u32; 3],
    mode_valid: u32,
    mode: Mode,
}

#[repr(C)]
#[derive(Default)]
struct Dumb {
    height: u32,
    width: u32,
    bits: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

#[repr(C)]
#[derive(Default)]
struct Map {
    handle: u32,
    pad: u32,
    offset: u64,
}

#[repr(C)]
#[derive(Default)]
struct Framebuffer {
    framebuffer: u32,
    width: u32,
    height: u32,
    pitch: u32,
    bits: u32,
    depth: u32,
    handle: u32,
}

#[repr(C)]
#[derive(Default)]
struct Flip {
    crtc: u32,
    framebuffer: u32,
    flags: u32,
    reserved: u32,
    user: u64,
}

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
}

/// Waits where the kernel says so, as it may for a flip that follows another.
fn call<T>(card: &File, what: &str, request: c_ulong, argument: &mut T) {
    const EBUSY: i32 = 16;
    // SAFETY: `T` is the structure of this request, and its pointers are 0 or to as many elements as its counts say.
    while unsafe { ioctl(card.as_raw_fd(), request, ptr::from_mut(argument)) } != 0 {
        let error = Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(EBUSY), "{what}: {error}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn address<T>(list: &mut [T]) -> u64 {
    list.as_mut_ptr() as u64
}

/// The first connector, its modes, and the first CRTC.
fn look(card: &File) -> (u32, Vec<Mode>, u32) {
    let (mut crtcs, mut connectors) = ([0; 8], [0; 8]);
    let mut resources = Resources {
        crtcs: address(&mut crtcs),
        connectors: address(&mut connectors),
        crtc_count: 8,
        connector_count: 8,
        ..Resources::default()
    };
    call(card, "resources", GET_RESOURCES, &mut resources);
    let mut modes = vec![Mode::default(); 256];
    let mut connector = Connector {
        modes: address(&mut modes),
        mode_count: 256,
        connector: connectors[0],
        ..Connector::default()
    };
    call(card, "connector", GET_CONNECTOR, &mut connector);
    modes.truncate(connector.mode_count as usize);
    (connectors[0], modes, crtcs[0])
}

fn paint(pixels: &mut [u32], mut state: u32) {
    for pixel in pixels {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *pixel = state >> 8;
    }
}

/// A buffer as large as the mode: its pixels, and the framebuffer's number.
fn buffer(card: &File, mode: &Mode) -> (&'static mut [u32], u32) {
    let (width, height) = (u32::from(mode.width), u32::from(mode.height));
    let mut dumb = Dumb { width, height, bits: 32, ..Dumb::default() };
    call(card, "buffer", CREATE_DUMB, &mut dumb);
    let Dumb { pitch, handle, size, .. } = dumb;
    assert_eq!(pitch, width * 4, "padding");
    let mut map = Map { handle, ..Map::default() };
    call(card, "map", MAP_DUMB, &mut map);
    let (read_write, shared) = (3, 1);
    // SAFETY: a new mapping of `size` bytes, which nobody unmaps.
    let memory = unsafe {
        mmap(ptr::null_mut(), size as usize, read_write, shared, card.as_raw_fd(), map.offset as i64)
    };
    assert_ne!(memory as isize, -1, "mmap: {}", Error::last_os_error());
    // SAFETY: of `size` bytes, at least a row of `pitch` for each of `height`; this is the one reference to it.
    let pixels = unsafe { slice::from_raw_parts_mut(memory.cast::<u32>(), (width * height) as usize) };
    let mut framebuffer =
        Framebuffer { width, height, pitch, bits: 32, depth: 24, handle, ..Framebuffer::default() };
    call(card, "framebuffer", ADD_FB, &mut framebuffer);
    (pixels, framebuffer.framebuffer)
}

fn say(text: &str) {
    println!("flip: {text}");
    let _ = stdout().flush();
}

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let [size, numbers @ ..] = &arguments[..] else { panic!("WIDTHxHEIGHT BUFFERS SEED [SECONDS]") };
    let numbers: Vec<u32> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
    let (count, seed, seconds) = (numbers[0], numbers[1], numbers.get(2).copied().unwrap_or(0));

    let card = OpenOptions::new().read(true).write(true).open("/dev/dri/card0").expect("a display");
    let (connector, modes, crtc) = look(&card);
    let fits = |mode: &&Mode| format!("{}x{}", mode.width, mode.height) == *size;
    let mode = *modes.iter().find(fits).expect("a mode of this size");

    let mut last: &mut [u32] = &mut [];
    for number in 0..count {
        let (pixels, framebuffer) = buffer(&card, &mode);
        paint(pixels, seed + number);
        if number == 0 {
            let mut connectors = [connector];
            let mut set = Crtc {
                connectors: address(&mut connectors),
                connector_count: 1,
                crtc,
                framebuffer,
                mode_valid: 1,
                mode,
                ..Crtc::default()
            };
            call(&card, "mode", SET_CRTC, &mut set);
        } else {
            stdin().read_line(&mut String::new()).expect("standard input");
            call(&card, "flip", PAGE_FLIP, &mut Flip { crtc, framebuffer, ..Flip::default() });
        }
        say(&format!("shows buffer {number} at {size}"));
        last = pixels;
    }

    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        last.fill(bytes as u32);
        bytes += last.len() * 4;
    }
    if seconds != 0 {
        paint(last, seed + count - 1);
        say(&format!("wrote {} MiB", bytes >> 20));
    }
    say("waits");
    loop {
        thread::park();
    }
}
