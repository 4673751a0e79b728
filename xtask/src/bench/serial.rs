//! What a guest waits for one register, and how fast a tty goes each way: mtty beside QEMU's `pci-serial`, and two of
//! those beside each other to know what the measurement itself is worth.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use guest_kit::{Guest, Tools, vfio_user_device};
use serde_json::Value;

use super::far_end::FarEnd;
use super::summary::Summary;
use super::{PROBE, interval_name, median, median_interval, ratios, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const SOON: Duration = Duration::from_secs(300);
const LOADS: u32 = 5000;
const BYTES: usize = 64 << 10;
const KIB: f64 = (BYTES >> 10) as f64;

/// Finds the ports of all cards, in the order of the cards on the bus.
const PORTS: &str = "for device in /sys/bus/pci/devices/*; do
    find $device/ -path '*/tty/ttyS*' -prune
done";

/// One of the ports that are compared, with what was measured.
struct Port {
    name: &'static str,
    far_end: FarEnd,
    /// Of the server, if it is one of ours.
    control: Option<PathBuf>,
    tty: String,
    /// Its scratch register.
    register: u16,
    /// Nanoseconds for one load.
    load: Vec<f64>,
    write: Way,
    read: Way,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Nanoseconds a byte.
    pace: Vec<f64>,
    /// Of all rounds together.
    counts: Counts,
    /// Bytes that the far end had each time it was woken.
    chunk: Vec<f64>,
}

/// What has been counted: of a port of QEMU's own, the interrupts of the guest alone.
#[derive(Clone, Copy, Default)]
struct Counts {
    loads: f64,
    stores: f64,
    unmasks: f64,
    signals: f64,
    interrupts: f64,
}

impl Counts {
    fn each(&mut self, other: Self, act: impl Fn(f64, f64) -> f64) {
        self.loads = act(self.loads, other.loads);
        self.stores = act(self.stores, other.stores);
        self.unmasks = act(self.unmasks, other.unmasks);
        self.signals = act(self.signals, other.signals);
        self.interrupts = act(self.interrupts, other.interrupts);
    }
}

/// Prints the tables.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building mdev-user, and the program that measures in the guest");
    let program = build_program()?;
    let probe = guest_kit::program(PROBE)?;
    let tools = Tools::prepare()?;

    let directory = tempfile::tempdir()?;
    let end = |name: &str| FarEnd::listen(directory.path().join(name));
    heading("Booting a guest with QEMU's pci-serial, to count the accesses to it");
    let traced = traced(&tools, &probe, end("traced")?)?;

    heading("Booting a guest with four serial ports");
    let ends = [end("first")?, end("second")?, end("polling")?, end("sleeping")?];
    let serve = |end: &FarEnd, arguments: &[&str]| -> Result<Server> {
        let line = format!("unix:{},server=off", end.path().display());
        let mut device = vec!["mtty-1", "--serial0", &line];
        device.extend(arguments);
        Server::start_with_control(&program, &device)
    };
    let servers = [serve(&ends[2], &[])?, serve(&ends[3], &["--poll-us", "0"])?];
    let mut builder = Guest::builder(&tools).file("/bin/probe", &probe);
    for (name, end) in ["first", "second"].into_iter().zip(&ends) {
        let socket = format!("socket,id={name},path={}", end.path().display());
        builder = builder.args(["-chardev", &socket]).device(&format!("pci-serial,chardev={name}"));
    }
    for server in &servers {
        builder = builder.device(&vfio_user_device(&server.socket()));
    }
    let mut guest = builder.boot()?;
    let controls = [None, None, Some(servers[0].control()), Some(servers[1].control())];
    let mut ports = ports(&mut guest, ends.into_iter().zip(controls))?;

    heading(&format!(
        "{rounds} rounds of {LOADS} loads of a register and {KIB} KiB each way on each"
    ));
    for round in 0..rounds {
        // Another one begins each time.
        for turn in 0..ports.len() {
            let at = (round + turn) % ports.len();
            let Some(port) = ports.get_mut(at) else { continue };
            measure(port, &mut guest, &program)?;
        }
        println!("round {} of {rounds}", round + 1);
    }
    for port in &ports {
        let number = port.tty.trim_start_matches("/dev/ttyS");
        print!("{}", guest.check(&format!("grep ^{number}: /proc/tty/driver/serial"), SOON)?);
    }
    guest.power_off(SOON)?;
    servers.into_iter().try_for_each(Server::stop)?;
    print_speed(&ports, rounds);
    if let Some(base) = ports.first() {
        for port in ports.iter().skip(2) {
            let name = format!("a guest's load, {} / QEMU's own port", port.name);
            summary.ratios(&name, &ratios(&port.load, &base.load), None);
            let name = format!("a guest's writes, {}, speed / QEMU's own", port.name);
            summary.ratios(&name, &ratios(&base.write.pace, &port.write.pace), None);
            let name = format!("a guest's reads, {}, speed / QEMU's own", port.name);
            summary.ratios(&name, &ratios(&base.read.pace, &port.read.pace), None);
        }
    }
    print_cost(&ports, rounds as f64, traced);
    Ok(())
}

/// Finds the ports in the guest and sets their ttys up; they stay open, so that they stay as they are.
fn ports(
    guest: &mut Guest,
    ends: impl ExactSizeIterator<Item = (FarEnd, Option<PathBuf>)>,
) -> Result<Vec<Port>> {
    // QEMU makes devices that are given as JSON after all others.
    let names = ["QEMU's pci-serial", "QEMU's, another", "mtty, polling", "mtty, --poll-us 0"];
    let paths = guest.check(PORTS, SOON)?;
    let paths: Vec<&str> = paths.lines().collect();
    if paths.len() != ends.len() {
        return Err(format!("the guest has other ports than {}: {paths:?}", ends.len()).into());
    }
    let mut ports = Vec::new();
    for ((name, (far_end, control)), (path, number)) in
        names.into_iter().zip(ends).zip(paths.into_iter().zip(4..))
    {
        let tty = format!("/dev/{}", Path::new(path).file_name().unwrap_or_default().display());
        guest.check(
            &format!("exec {number}<>{tty}; stty raw -echo clocal -crtscts 115200 <&{number}"),
            SOON,
        )?;
        let base = guest.check(&format!("cat {path}/port"), SOON)?;
        let base = base.trim();
        println!("{name:<18} {tty} {base}");
        let register = u16::from_str_radix(base.trim_start_matches("0x"), 16)? + 7;
        let (load, write, read) = Default::default();
        ports.push(Port { name, far_end, control, tty, register, load, write, read });
    }
    Ok(ports)
}

/// One turn of a port.
fn measure(port: &mut Port, guest: &mut Guest, program: &Path) -> Result {
    let load = guest.check(&format!("probe register {:#x} {LOADS}", port.register), SOON)?;
    port.load.push(load.trim().parse()?);

    let before = counted(port, guest, program)?;
    write(port, guest)?;
    let between = counted(port, guest, program)?;
    read(port, guest)?;
    let after = counted(port, guest, program)?;
    for (way, begin, end) in [(&mut port.write, before, between), (&mut port.read, between, after)]
    {
        way.counts.each(begin, |sum, begin| sum - begin);
        way.counts.each(end, |sum, end| sum + end);
    }
    Ok(())
}

/// The guest writes.
fn write(port: &mut Port, guest: &mut Guest) -> Result {
    let arrives = port.far_end.receive(BYTES)?;
    guest.check(&format!("probe write {} {BYTES}", port.tty), SOON)?;
    let arrival = arrives.join().map_err(|_| "the far end panicked")??;
    port.write.pace.push(arrival.pace);
    port.write.chunk.push(BYTES as f64 / arrival.wakes as f64);
    Ok(())
}

/// The guest reads.
fn read(port: &mut Port, guest: &mut Guest) -> Result {
    let sends = port.far_end.send(BYTES)?;
    let pace = guest.check(&format!("probe read {} {BYTES}", port.tty), SOON)?;
    sends.join().map_err(|_| "the far end panicked")??;
    port.read.pace.push(pace.trim().parse()?);
    Ok(())
}

/// What has been counted so far.
fn counted(port: &Port, guest: &mut Guest, program: &Path) -> Result<Counts> {
    let number = port.tty.trim_start_matches("/dev/");
    let interrupts =
        guest.check(&format!("awk '$NF == \"{number}\" {{ print $2 }}' /proc/interrupts"), SOON)?;
    let interrupts = interrupts.trim().parse()?;
    let Some(control) = &port.control else {
        return Ok(Counts { interrupts, ..Counts::default() });
    };
    let info = Command::new(program).args(["info", "--json", "-c"]).arg(control).output()?;
    let info: Value = serde_json::from_slice(&info.stdout)?;
    let counters = info.pointer("/devices/0/counters").ok_or("info has no counters")?;
    let count = |pointer: &str| counters.pointer(pointer).and_then(Value::as_f64);
    let count = |pointer: &str| count(pointer).ok_or_else(|| format!("info has no {pointer}"));
    Ok(Counts {
        loads: count("/messages/region-read")?,
        stores: count("/messages/region-write")?,
        unmasks: count("/messages/device-set-irqs")?,
        signals: count("/interrupts")?,
        interrupts,
    })
}

/// Accesses a byte, written and read, to a `pci-serial` that QEMU traces: what the driver needs on a UART that is as
/// fast as it is. Those of the console, a few hundred, are among them.
fn traced(tools: &Tools, probe: &[u8], far_end: FarEnd) -> Result<[f64; 2]> {
    let mut guest = Guest::builder(tools)
        .args(["-trace", "serial_read", "-trace", "serial_write"])
        .args(["-chardev", &format!("socket,id=traced,path={}", far_end.path().display())])
        .device("pci-serial,chardev=traced")
        .file("/bin/probe", probe)
        .boot()?;
    let ends = [(far_end, None)].into_iter();
    let [mut port] = <[Port; 1]>::try_from(ports(&mut guest, ends)?).map_err(|_| "no port")?;
    let accesses = |guest: &Guest| guest.qemu_messages().lines().count() as f64 / BYTES as f64;
    let begin = accesses(&guest);
    write(&mut port, &mut guest)?;
    let between = accesses(&guest);
    read(&mut port, &mut guest)?;
    let end = accesses(&guest);
    guest.power_off(SOON)?;
    Ok([between - begin, end - between])
}

/// A control that leaves more than this open makes ratios worth little.
const VAGUE: (f64, f64) = (0.5, 2.0);

/// Whether equal ports differ by so much.
fn is_vague(ratios: &[f64]) -> bool {
    let (least, most) = median_interval(ratios);
    least < VAGUE.0 || most > VAGUE.1
}

fn print_speed(ports: &[Port], rounds: usize) {
    heading(&format!(
        "Medians, and as a multiple of the first one's, round by round: median ({})",
        interval_name(rounds)
    ));
    println!(
        "{:<18} {:<35} {:<37} read by the guest",
        "", "load of a register", "written by the guest"
    );
    let [base, control, ..] = ports else { return };
    let columns = |port: &Port| {
        [
            ratios(&port.load, &base.load),
            ratios(&base.write.pace, &port.write.pace),
            ratios(&base.read.pace, &port.read.pace),
        ]
    };
    for port in ports {
        let [load, write, read] = columns(port).map(|ratios| spread(&ratios));
        let rate = |way: &Way| 1e9 / 1024.0 / median(&way.pace);
        println!(
            "{:<18} {:5.2} us {:<26} {:6.1} KiB/s {:<24} {:6.1} KiB/s {}",
            port.name,
            median(&port.load) / 1e3,
            load,
            rate(&port.write),
            write,
            rate(&port.read),
            read,
        );
    }
    println!(
        "\nA ratio is the median of the rounds' own ratios, which need not be the ratio of the medians beside it.\n\
         The second row is the control: what two equal ports differ by."
    );
    let names = ["loads", "writes", "reads"].into_iter().zip(columns(control));
    let vague: Vec<_> = names.filter(|(_, of)| is_vague(of)).map(|(name, _)| name).collect();
    if !vague.is_empty() {
        let (least, most) = VAGUE;
        println!(
            "It spans more than {least} .. {most} for {}: those ratios are worth little. Leave the machine alone, \
             or take more --rounds.",
            vague.join(", ")
        );
    }
}

/// The part of a transfer's time that its accesses take, round by round. More than all of it says that the time of an
/// access was measured while the machine had more to do than during the transfer: there is none to be had then.
fn part_of_time(parts: &[f64]) -> Option<f64> {
    Some(median(parts)).filter(|part| *part <= 1.0)
}

/// What the bytes cost, and whether that is all that they cost.
fn print_cost(ports: &[Port], rounds: f64, traced: [f64; 2]) {
    heading(
        "A KiB: messages to the server, what it signalled, the guest's interrupts; what bounds it",
    );
    println!(
        "{:<18} {:<6} {:>6} {:>6} {:>8} {:>8} {:>11} {:>14} {:>15} {:>10}",
        "",
        "",
        "loads",
        "stores",
        "unmasks",
        "signals",
        "interrupts",
        "accesses/byte",
        "part of time",
        "bytes/wake"
    );
    for port in ports {
        for ((name, way), traced) in
            [("write", &port.write), ("read", &port.read)].into_iter().zip(traced)
        {
            let a_kib = |count: f64| count / rounds / KIB;
            let counts = way.counts;
            let accesses = a_kib(counts.loads + counts.stores) / 1024.0;
            let paces = way.pace.iter().zip(&port.load);
            let parts: Vec<f64> = paces.map(|(pace, load)| accesses * load / pace).collect();
            let messages = match port.control {
                Some(_) => format!(
                    "{:6.0} {:6.0} {:8.1} {:8.1}",
                    a_kib(counts.loads),
                    a_kib(counts.stores),
                    a_kib(counts.unmasks),
                    a_kib(counts.signals)
                ),
                None => format!("{:>31}", "within QEMU"),
            };
            let bound = match port.control {
                Some(_) => format!(
                    "{accesses:14.2} {:>15}",
                    part_of_time(&parts)
                        .map_or("not to be had".into(), |part| format!("{:.0} %", part * 100.0))
                ),
                None => format!("{traced:14.2} {:>15}", "(traced apart)"),
            };
            let wake = if way.chunk.is_empty() {
                String::new()
            } else {
                format!("{:.0}", median(&way.chunk))
            };
            println!(
                "{:<18} {name:<6} {messages} {:11.1} {bound} {wake:>10}",
                port.name,
                a_kib(counts.interrupts)
            );
        }
    }
    println!(
        "\nPart of time: accesses a byte x the time of one load, of the time that the byte took. Not to be had at\n\
         a load of the machine that changes between the two: it would be more than 100 %.\n\
         Bytes/wake: what the far end found each time it was woken."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_at_different_loads_has_no_part_of_the_time() {
        assert_eq!(part_of_time(&[0.7, 1.2, 0.9]), Some(0.9));
        assert_eq!(part_of_time(&[0.7, 1.2, 1.1]), None);
    }

    #[test]
    fn a_control_is_vague_as_soon_as_one_end_is_beyond_half_or_twice() {
        assert!(!is_vague(&[0.5, 1.0, 2.0]));
        assert!(is_vague(&[0.49, 1.0, 1.1]) && is_vague(&[0.9, 1.0, 2.1]));
    }
}
