#![cfg(test)]
//! mtty: serial cards of one or two ports out of 24. Needs of a core a weighted capacity that is taken all or none and
//! comes back once, at release; and a `close` in which what belongs to the user (streams here) goes while the ports'
//! state stays.

use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vfio_device::{
    BarKind, Context, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Pool, Region,
    Share, Vfio, VfioDevice,
};

use super::errno;
use crate::support::{free_index, plain, read};

const ONE: MdevType = MdevType { name: "mtty-1", pretty_name: "", description: None };
const TWO: MdevType = MdevType { name: "mtty-2", pretty_name: "", description: None };

fn ports(kind: &MdevType) -> u32 {
    if *kind == TWO { 2 } else { 1 }
}

struct Card {
    scratch: Vec<u8>,
    /// Made at open, gone at close. Its clones are counted.
    streams: Vec<Arc<()>>,
    stream: Arc<()>,
    refuses: bool,
    _share: Share,
}

impl VfioDevice for Card {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        data[0] = self.scratch[usize::try_from(offset / 8).unwrap()];
    }
    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], _: &mut Context) {
        self.scratch[usize::try_from(offset / 8).unwrap()] = data[0];
    }
    fn reset(&mut self, _: &mut Context) {
        self.scratch.fill(0);
    }
    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        // One after the other, and all back if one cannot be had.
        let streams = self.scratch.iter().map(|_| Arc::clone(&self.stream));
        let streams: Vec<_> = streams.collect();
        if self.refuses {
            return Err(Errno::NOMEM);
        }
        self.streams = streams;
        Ok(())
    }
    fn close(&mut self, _: &mut Context) {
        self.streams.clear();
    }
}

struct Mtty {
    pool: Pool,
    stream: Arc<()>,
    fault: Arc<Mutex<Option<Errno>>>,
    refuses: bool,
}

impl MdevDriver for Mtty {
    fn types(&self) -> &[MdevType] {
        &[ONE, TWO]
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.pool.free() / ports(kind)
    }
    fn init(&self, kind: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let share = self.pool.reserve(ports(kind))?;
        if let Some(errno) = *self.fault.lock().unwrap() {
            return Err(errno);
        }
        let bars =
            (0..ports(kind)).fold(plain(), |it, bar| it.bar(bar, BarKind::Io, Region::trapped(8)));
        let card = Card {
            scratch: vec![0; ports(kind) as usize],
            streams: Vec::new(),
            stream: Arc::clone(&self.stream),
            refuses: self.refuses,
            _share: share,
        };
        Ok((bars, Box::new(card)))
    }
}

struct Rig {
    vfio: Vfio,
    parent: Parent,
    pool: Pool,
    stream: Arc<()>,
    fault: Arc<Mutex<Option<Errno>>>,
}

fn rig(refuses: bool) -> Rig {
    let (vfio, pool) = (Vfio::new(), Pool::new(24));
    let (stream, fault) = <(Arc<()>, Arc<Mutex<_>>)>::default();
    let mtty = Mtty {
        pool: pool.clone(),
        stream: Arc::clone(&stream),
        fault: Arc::clone(&fault),
        refuses,
    };
    let parent = Parent::register(&vfio, mtty);
    Rig { vfio, parent, pool, stream, fault }
}

#[test]
fn mtty_ports_are_taken_all_or_none_and_come_back_if_init_fails() {
    let it = rig(false);
    *it.fault.lock().unwrap() = Some(Errno::NOMEM);
    assert_eq!(errno(it.parent.create(&TWO, Uuid::from_u128(0))), Errno::NOMEM);
    assert_eq!(it.pool.free(), 24);
    *it.fault.lock().unwrap() = None;
    let create = |kind, number| it.parent.create(kind, Uuid::from_u128(number));
    let mut cards: Vec<_> = (0..11).map(|number| create(&TWO, number).unwrap()).collect();
    cards.push(create(&ONE, 11).unwrap());
    assert_eq!([&ONE, &TWO].map(|kind| it.parent.available_instances(kind)), [1, 0]);
    assert_eq!((errno(create(&TWO, 12)), it.pool.free()), (Errno::NOSPC, 1));
    cards.push(create(&ONE, 12).unwrap());
    assert_eq!(errno(create(&ONE, 13)), Errno::NOSPC);
    cards.remove(3);
    assert_eq!([&ONE, &TWO].map(|kind| it.parent.available_instances(kind)), [2, 1]);
    drop(cards);
    assert_eq!((it.pool.free(), free_index(&it.vfio)), (24, 0));
}

#[test]
fn mtty_what_an_open_that_fails_had_made_is_gone() {
    let it = rig(true);
    let mut card = it.parent.create(&TWO, Uuid::from_u128(1)).unwrap();
    card.register().unwrap();
    assert_eq!(card.open(OpenMode::Exclusive), Err(Errno::NOMEM));
    assert_eq!(Arc::strong_count(&it.stream), 3, "ours, the driver's, the card's");
}

#[test]
fn mtty_what_belongs_to_the_user_goes_at_close_and_the_registers_stay() {
    let it = rig(false);
    let mut card = it.parent.create(&TWO, Uuid::from_u128(1)).unwrap();
    card.register().unwrap();
    for round in 0..3 {
        card.open(OpenMode::Exclusive).unwrap();
        assert_eq!(Arc::strong_count(&it.stream), 5);
        assert_eq!(read::<1>(&mut card, 0, 7), [round]);
        card.region_write(0, 7, &[round + 1]).unwrap();
        card.close();
        assert_eq!(Arc::strong_count(&it.stream), 3);
    }
    drop(card);
    assert_eq!(Arc::strong_count(&it.stream), 2);
}
