//! How fast a guest stores to a framebuffer and loads from it: mbochs beside QEMU's own `bochs-display`, and two of those
//! beside each other to know what the measurement itself is worth.

use std::time::Duration;

use guest_kit::{Guest, Tools, vfio_user_device};

use super::summary::{Bound, Summary};
use super::{PROBE, median, median_interval, ratios, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const SOON: Duration = Duration::from_secs(300);
const BYTES: u32 = 16 << 20;

/// QEMU's `bochs-display` and ours have the same ids; ours has revision 1.
const DISPLAYS: &str = "for device in /sys/bus/pci/devices/*; do
    [ $(cat $device/vendor) = 0x1234 ] && echo 1 >$device/enable && echo $device $(cat $device/revision)
done; true";

/// One of the devices that are compared, with what was measured, in nanoseconds.
#[derive(Default)]
struct Peer {
    name: &'static str,
    bar: String,
    store: Vec<f64>,
    load: Vec<f64>,
}

/// Prints the table.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    if rounds < FEWEST {
        return Err(format!("--rounds {rounds}: {FEWEST} at least, fewer say nothing").into());
    }
    heading("Building mdev-user, and the program that measures in the guest");
    let program = build_program()?;
    let probe = guest_kit::program(PROBE)?;
    let tools = Tools::prepare()?;

    heading("Booting a guest with three displays of 16 MiB");
    let server = Server::start(&program, &["mbochs-medium"])?;
    let mut guest = Guest::builder(&tools)
        .device("bochs-display,vgamem=16M")
        .device("bochs-display,vgamem=16M")
        .device(&vfio_user_device(&server.socket()))
        .file("/bin/probe", &probe)
        .boot()?;
    let mut peers = peers(&guest.check(DISPLAYS, SOON)?)?;

    heading(&format!("{rounds} rounds of {} MiB stored and loaded on each", BYTES >> 20));
    for round in 0..rounds {
        // Another one begins each time.
        for turn in 0..peers.len() {
            let at = (round + turn) % peers.len();
            let Some(peer) = peers.get_mut(at) else { continue };
            let measured = guest.check(&format!("probe memory {} {BYTES}", peer.bar), SOON)?;
            let numbers = measured.split_whitespace().map(str::parse);
            let [store, load] = numbers.collect::<std::result::Result<Vec<f64>, _>>()?[..] else {
                return Err(format!("the probe said {measured:?}").into());
            };
            peer.store.push(store);
            peer.load.push(load);
        }
    }
    guest.power_off(SOON)?;
    server.stop()?;
    compare(&peers, summary)
}

/// Two of QEMU's, then ours.
fn peers(found: &str) -> Result<Vec<Peer>> {
    let peer = |name, revision: &str, skip| -> Result<Peer> {
        let mut paths = found.lines().filter_map(|line| {
            line.split_once(' ').filter(|(_, found)| *found == revision).map(|(path, _)| path)
        });
        let path = paths.nth(skip).ok_or_else(|| format!("the guest has no {name}: {found}"))?;
        Ok(Peer { name, bar: format!("{path}/resource0"), ..Peer::default() })
    };
    Ok(vec![
        peer("QEMU's bochs-display", "0x02", 0)?,
        peer("QEMU's, another", "0x02", 1)?,
        peer("mbochs-medium", "0x01", 0)?,
    ])
}

/// Fewer say nothing.
const FEWEST: usize = 21;
/// A control that leaves more than this open, as a part of the speed, decides nothing.
const VAGUE: f64 = 0.1;

/// Prints the table. The median of ours is not to be below the interval that two equal devices differ by. Fails if that is
/// so wide that being within it means nothing.
fn compare(peers: &[Peer], summary: &mut Summary) -> Result {
    let [base, control, ours] = peers else { return Err("there are not three displays".into()) };
    heading(
        "Medians; speed as a multiple of the first, round by round: median (95 % interval of it)",
    );
    println!("{:<22} {:<36} load", "", "store");
    let mib = f64::from(BYTES >> 20);
    let of: [fn(&Peer) -> &Vec<f64>; 2] = [|it| &it.store, |it| &it.load];
    let speed = |of: fn(&Peer) -> &Vec<f64>, peer: &Peer| ratios(of(base), of(peer));
    for peer in [base, control, ours] {
        let cells = of.map(|of| {
            let rate = mib / median(of(peer)) * 1e9;
            format!("{rate:6.0} MiB/s {}", spread(&speed(of, peer)))
        });
        println!("{:<22} {:<36} {}", peer.name, cells[0], cells[1]);
    }
    println!("\nThe second row is the control: what two equal devices differ by.");
    let mut doubts = Vec::new();
    for (what, of) in ["stores", "loads"].into_iter().zip(of) {
        let (least, most) = median_interval(&speed(of, control));
        let name = format!("{what} of a guest to mbochs, speed / bochs-display");
        summary.ratios(&name, &speed(of, ours), Some(Bound::Least(least)));
        let is_vague = most - least > VAGUE;
        doubts.extend(is_vague.then(|| format!("{what} vary too much, take more --rounds")));
    }
    if doubts.is_empty() { Ok(()) } else { Err(doubts.join("; ").into()) }
}
