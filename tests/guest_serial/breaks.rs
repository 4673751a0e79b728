//! Breaks and errors among the bytes, each in its place, as the guest's own driver sees and counts them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::ports::{Ports, SOON, counts, soon, within};
use crate::served::Served;

/// All values, in an order of no meaning.
fn all_values() -> Vec<u8> {
    (0..=255).map(|number: u8| number.wrapping_mul(83).wrapping_add(7)).collect()
}

/// What a tty with `parmrk` reads of a break, and of a character 00 with an error; and of a byte.
const MARK: [u8; 3] = [0xff, 0, 0];

fn marked(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == 0xff)))
        .collect()
}

/// A verb about port 0.
#[track_caller]
fn serial(served: &Served, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
    command.args(["serial", "-c"]).arg(served.control()).args(arguments);
    assert!(command.stdin(Stdio::null()).status().unwrap().success(), "{arguments:?}");
}

/// What has been sent by then is there at once, if it is not lost.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The bytes that the guest reads by ttyS1, `count` if none is lost, while `host` does something. When none comes for 20 s
/// of the guest's the rest is not waited for.
#[track_caller]
fn read_by(guest: &mut Ports, count: usize, host: impl FnOnce()) -> Vec<u8> {
    let script = format!(
        "cat <&3 >/heard & reader=$!
         was=0 news=$(cut -d . -f 1 /proc/uptime)
         while [ $was -lt {count} ]; do
             sleep 0.1
             is=$(stat -c %s /heard) now=$(cut -d . -f 1 /proc/uptime)
             [ $is = $was ] || news=$now
             was=$is
             [ $((now - news)) -lt 20 ] || break
         done
         {{ kill $reader; wait $reader; }} 2>/dev/null
         hexdump -v -e '1/1 \"%02x\"' /heard"
    );
    let running = guest.guest.start(&script).unwrap();
    host();
    let text = guest.guest.finish(running, SOON).unwrap().text;
    let digits: Vec<_> = text.trim().chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn breaks_and_errors_keep_their_places_among_all_byte_values_and_the_driver_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("port");
    let spec = format!("unix:{}", socket.display());
    let served = Served::start_controlled("mtty-1", &["--serial0", &spec]);
    let port = || served.info()["ports"][0].clone();
    let mut peer = UnixStream::connect(&socket).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let mut guest = Ports::boot(served.guest().file("/values", &all_values()));
    // Neither ignored nor a signal: a break is marked in what is read.
    guest.open(1, "parmrk -ignbrk -brkint inpck -ignpar");

    println!("8 breaks of the guest");
    guest.sh("for part in $(seq 0 7); do
            dd if=/values bs=32 skip=$part count=1 2>/dev/null >&3 && port break <&3 || break
        done");
    let mut heard = vec![0; 256];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(heard, all_values());
    within(AT_ONCE, "the breaks are counted", || port()["breaks_sent"] == 8);
    assert_eq!(port()["bytes_sent"], 256);

    println!("8 breaks to the guest");
    let expected: Vec<_> =
        all_values().chunks(32).flat_map(|part| [marked(part), MARK.to_vec()].concat()).collect();
    let heard = read_by(&mut guest, expected.len(), || {
        for (part, sent) in all_values().chunks(32).zip((32..).step_by(32)) {
            peer.write_all(part).unwrap();
            // What has come by the socket comes before the break.
            soon("the port has read it", || {
                let port = port();
                let count = |name: &str| port[name].as_u64().unwrap();
                count("bytes_received") + count("bytes_waiting") == sent
            });
            serial(&served, &["break", "0"]);
        }
    });
    assert_eq!(heard, expected);
    assert_eq!((&port()["bytes_received"], &port()["breaks_received"]), (&256.into(), &8.into()));
    let seen = counts(&[("tx", 256), ("rx", 256 + 8), ("brk", 8)]);
    assert_eq!(guest.driver_counts(1), seen);

    println!("errors");
    let send = |peer: &mut UnixStream, byte: u8, before: u64| {
        peer.write_all(&[byte]).unwrap();
        within(AT_ONCE, "the guest has it", || port()["bytes_received"] == before + 1);
    };
    // The driver hands a character on, and after it the loss, which is none.
    let expected = [b"a", &MARK[..], b"b", &MARK, b"c", b"\0", b"d"].concat();
    let heard = read_by(&mut guest, expected.len(), || {
        send(&mut peer, b'a', 256);
        serial(&served, &["inject", "0", "framing"]);
        send(&mut peer, b'b', 258);
        serial(&served, &["inject", "0", "parity"]);
        send(&mut peer, b'c', 260);
        serial(&served, &["inject", "0", "overrun"]);
        send(&mut peer, b'd', 262);
    });
    assert_eq!(heard, expected);
    let seen = [("tx", 256), ("rx", 264 + 7), ("brk", 8), ("fe", 1), ("pe", 1), ("oe", 1)];
    assert_eq!(guest.driver_counts(1), counts(&seen));
    let all = guest.counts(1);
    let of = |names: &[&str]| names.iter().map(|name| all[*name]).collect::<Vec<_>>();
    assert_eq!(of(&["frame", "parity", "overrun", "brk", "buf_overrun"]), [1, 1, 1, 8, 0]);
    assert_eq!(of(&["tx", "rx"]), [256, 271]);

    println!("a break is a signal to who has the terminal, if it is to be");
    guest.sh("stty -parmrk brkint <&3");
    let script = "setsid -c sh -c '
            trap \"exit 5\" INT; echo ready; while :; do sleep 0.1; done' <&3";
    let running = guest.guest.start(script).unwrap();
    guest.guest.expect("ready", SOON).unwrap();
    serial(&served, &["break", "0"]);
    assert_eq!(guest.guest.finish(running, SOON).unwrap().status, 5, "it was interrupted");
    guest.power_off();
    served.end();
}
