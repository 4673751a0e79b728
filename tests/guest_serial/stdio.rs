//! A guest's shell in the terminal of `serve`.

use guest_kit::{Guest, Tools, vfio_user_device};

use crate::terminal::Terminal;

#[test]
fn a_terminal_is_a_usable_console_and_is_as_before_after_qemu_is_killed() {
    let mut terminal = Terminal::start("serve mtty-1 --serial0 stdio --socket-path DIR/socket");
    terminal.until("-device");
    let device = vfio_user_device(&terminal.path("socket"));
    let guest = Guest::builder(&Tools::prepare().unwrap())
        .device(&device)
        .console("ttyS1".parse().unwrap());
    let mut guest = guest.boot().unwrap();
    let mut place = 0;
    // What is typed, and what is on the screen then, behind all that was there before.
    for (typed, wanted) in [
        (&b""[..], "Run /init as init process"),
        (b"", "guest# "),
        (b"echo $((6 * 7))\r", "\n42\r"),
        (b"", "guest# "),
        // Ctrl-C.
        (b"sh -c 'echo sl''eeps; exec sleep 1000'\r", "\nsleeps\r"),
        (b"\x03", "^C"),
        (b"", "guest# "),
        (b"echo status $?\r", "\nstatus 130\r"),
        // Ctrl-Z.
        (b"sh -c 'echo sl''eeps; exec sleep 1000'\r", "\nsleeps\r"),
        (b"\x1a", "Stopped"),
        (b"kill %1\r", "guest# "),
        // Three arrows up and four to the left.
        (b"echo only\r", "\nonly\r"),
        (b"echo second\r", "\nsecond\r"),
        (b"\x1b[A\x1b[A\x1b[D\x1b[D\x1b[D\x1b[Dnot \r", "\nnot only\r"),
        // Ctrl-A itself: to the beginning of the line.
        (b"beginning\x01\x01echo the \r", "\nthe beginning\r"),
        (b"\x01h", "Ctrl-A x  leave"),
    ] {
        terminal.type_(typed);
        place = terminal.until_behind(wanted, place);
    }
    guest.kill();
    terminal.until(" has left");
    terminal.type_(b"\x01x");
    terminal.ends("0");
}
