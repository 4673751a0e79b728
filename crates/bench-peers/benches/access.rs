//! A register access without a socket: what the session adds to the device, and the core to its code.
//!
//! `cargo bench --package bench-peers`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mbochs::Mbochs;
use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{BAR0, CONFIG, Device, MdevDriver, Parent, Vfio};
use vfio_user_server::session::{Fds, MAX_ANSWER, Session};
use vfio_user_server::wire::{Command, Header, RegionAccess};

/// Registers of mtty's first port: line status, which changes nothing by being read, and scratch.
const LSR: u64 = 5;
const SCR: u64 = 7;
/// Region of mbochs' registers, and the first of the dispi registers in it.
const MBOCHS_REGISTERS: u32 = 2;
const DISPI: u64 = 0x500;

fn made(driver: impl MdevDriver + 'static, kind: &str) -> Device {
    let parent = Parent::register(&Vfio::new(), driver);
    let kind = parent.find(kind).expect("a type");
    let mut device = parent.create(kind, Uuid::from_u128(1)).expect("a device");
    device.register().expect("registered");
    device
}

fn mtty() -> Device {
    made(Mtty::default(), "mtty-1")
}

/// A device of which a client has become the user.
struct Served {
    device: Device,
    session: Session,
    fds: Fds,
    out: Vec<u8>,
}

impl Served {
    fn new(device: Device) -> Self {
        let (session, fds) = (Session::new(), Fds::new());
        let mut served = Self { device, session, fds, out: vec![0; MAX_ANSWER] };
        served.handle(Command::Version, &[0; 4]);
        served
    }

    fn handle(&mut self, command: Command, body: &[u8]) {
        let msg_size = (Header::SIZE + body.len()) as u32;
        let command = command.number();
        let header = Header { msg_id: 1, command, msg_size, flags: Header::COMMAND, error_no: 0 };
        let Self { device, session, fds, out } = self;
        let answer = session.handle(device, black_box(&header), black_box(body), fds, out);
        black_box(answer.expect("an answer"));
    }
}

/// The body of an access to one byte of port 0.
fn access(offset: u64, data: &[u8]) -> Vec<u8> {
    let mut body = vec![0; RegionAccess::SIZE];
    RegionAccess { offset, region: BAR0, count: 1 }.encode(&mut body).expect("room");
    body.extend(data);
    body
}

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let mut served = Served::new(mtty());
    let (read, write) = (access(LSR, &[]), access(SCR, &[0x5a]));
    group.bench_function("REGION_READ of mtty's LSR", |bench| {
        bench.iter(|| served.handle(Command::RegionRead, &read));
    });
    group.bench_function("REGION_WRITE of mtty's SCR", |bench| {
        bench.iter(|| served.handle(Command::RegionWrite, &write));
    });
    group.finish();
}

fn device(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("device");
    let mut reads = |name: &str, mut device: Device, region, offset, width: usize| {
        let mut room = [0; 4];
        let data = room.get_mut(..width).expect("room");
        group.bench_function(name, |bench| {
            bench.iter(|| device.region_read(region, black_box(offset), black_box(&mut *data)));
        });
    };
    reads("mtty, LSR", mtty(), BAR0, LSR, 1);
    let mbochs = made(Mbochs::default(), "mbochs-small");
    reads("mbochs, a dispi register", mbochs, MBOCHS_REGISTERS, DISPI, 2);
    reads("configuration space, ids", mtty(), CONFIG, 0, 4);
    group.finish();
}

criterion_group!(benches, session, device);
criterion_main!(benches);
