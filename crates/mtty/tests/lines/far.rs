//! A line that a test holds the other end of, and a card of such lines.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use mtty::Mtty;
use mtty::line::{Character, Host, Line, Room, Sent, Settings};
use vfio_device::testing::Harness;
use vfio_device::{Interest, MdevDriver, MdevType};

use super::bits::RTS;

pub const INTX: u32 = 0;

/// The type with so many ports.
pub fn kind(ports: usize) -> MdevType {
    Mtty::default().types()[ports - 1]
}

/// A card with these lines, which a client has open.
pub fn card(lines: Vec<Box<dyn Line>>) -> Harness {
    let mut card = Harness::new(|init| Mtty::default().make(&kind(lines.len()), lines, init));
    card.arm(INTX);
    card
}

pub fn load(card: &mut Harness, port: u32, register: u8) -> u8 {
    card.read8(port, register.into())
}

pub fn store(card: &mut Harness, port: u32, register: u8, value: u8) {
    card.write8(port, register.into(), value);
}

/// What a test and its line have in common.
#[derive(Default)]
pub struct Inside {
    pub calls: Vec<String>,
    pub arriving: VecDeque<Character>,
    pub sent: Vec<Character>,
    pub room: usize,
    pub inputs: u8,
    pub outputs: u8,
    /// Whether it waits for RTS.
    pub minds_rts: bool,
    /// Whether it is faster than any driver.
    pub outruns: bool,
}

type Act = dyn FnMut(&str, &mut Inside, &mut Host<'_>) + Send;

/// A line that writes its calls down, and does what the test wants with the host.
#[derive(Clone)]
pub struct Far(Arc<Mutex<Inside>>, Arc<Mutex<Box<Act>>>);

impl Far {
    pub fn acting(act: impl FnMut(&str, &mut Inside, &mut Host<'_>) + Send + 'static) -> Self {
        let inside = Inside { room: usize::MAX, ..Inside::default() };
        Self(Arc::new(Mutex::new(inside)), Arc::new(Mutex::new(Box::new(act))))
    }

    pub fn new() -> Self {
        Self::acting(|_, _, _| ())
    }

    pub fn boxed(&self) -> Box<dyn Line> {
        Box::new(self.clone())
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Inside) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// The calls since this was last asked.
    pub fn calls(&self) -> Vec<String> {
        self.with(|it| std::mem::take(&mut it.calls))
    }

    pub fn sent(&self) -> Vec<u8> {
        self.with(|it| it.sent.iter().map(|character| character.data).collect())
    }

    pub fn arrive(&self, characters: impl IntoIterator<Item = impl Into<Character>>) {
        self.with(|it| it.arriving.extend(characters.into_iter().map(Into::into)));
    }

    fn call(&self, what: String, host: &mut Host<'_>) {
        let inside = &mut *self.0.lock().unwrap();
        (self.1.lock().unwrap())(&what, inside, host);
        inside.calls.push(what);
    }
}

impl Line for Far {
    fn transmit(&mut self, sent: Character, _: Room) -> Sent {
        self.with(|it| {
            if it.sent.len() >= it.room {
                return Sent::Held;
            }
            it.sent.push(sent);
            Sent::Away
        })
    }
    fn receive(&mut self) -> Option<Character> {
        self.with(|it| {
            let waits = it.minds_rts && it.outputs & RTS == 0;
            if waits { None } else { it.arriving.pop_front() }
        })
    }
    fn outruns(&self) -> bool {
        self.with(|it| it.outruns)
    }
    fn modem(&mut self, outputs: u8, _: u8) -> u8 {
        self.with(|it| {
            it.outputs = outputs;
            it.inputs
        })
    }
    fn start(&mut self, host: &mut Host<'_>) {
        self.call("start".into(), host);
    }
    fn settings(&mut self, settings: Settings) {
        self.with(|it| it.calls.push(settings.to_string()));
    }
    fn settle(&mut self, host: &mut Host<'_>) {
        self.call("settle".into(), host);
    }
    fn ready(&mut self, n: u32, ready: Interest, host: &mut Host<'_>) {
        self.call(format!("ready {n} {} {}", ready.readable, ready.writable), host);
    }
    fn timer(&mut self, n: u32, host: &mut Host<'_>) {
        self.call(format!("timer {n}"), host);
    }
}
