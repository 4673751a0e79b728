//! A card of two ports beside a model of it.

use std::time::Instant;

use mtty::line::Character;
use vfio_device::Interest;
use vfio_device::testing::Harness;

use super::bits::*;
use super::far::{Far, Inside, card, load, store};
use super::model::{Ends, Model};

/// Something that happens to a card.
#[derive(Clone, Debug)]
pub enum Act {
    Read(u8),
    Write(u8, u8),
    /// Several loads of one register in a row.
    Drain(u8),
    /// Several stores to THR in a row.
    Fill(u8),
    /// The host sends so many characters, the first one with these errors.
    Arrive(u8, u8),
    /// The host takes so many characters more.
    Take(u8),
    Inputs(u8),
    /// All timers run out.
    Time,
    Reset,
}

/// A card of two ports, each with a model of it.
pub struct Pair {
    pub card: Harness,
    pub fars: [Far; 2],
    pub models: [Model; 2],
    /// Numbers the characters, in each direction.
    pub next: u8,
}

impl Pair {
    pub fn new(minds_rts: [bool; 2]) -> Self {
        // Whatever the descriptor: the test calls.
        let far = || {
            Far::acting(|call, _, host| {
                if call == "start" {
                    let (ours, _) = std::os::unix::net::UnixStream::pair().unwrap();
                    host.watch(0, ours.into(), Interest::NONE);
                }
            })
        };
        let fars = [far(), far()];
        let mut models = [Model::default(), Model::default()];
        for ((far, model), minds_rts) in fars.iter().zip(&mut models).zip(minds_rts) {
            far.with(|it| (it.room, it.minds_rts) = (0, minds_rts));
            model.line = Ends { minds_rts, ..Ends::default() };
        }
        Self { card: card(fars.iter().map(Far::boxed).collect()), fars, models, next: 0 }
    }

    /// The host does the same to the line and to its model, and the device's loop notices.
    fn host(&mut self, port: usize, line: impl FnOnce(&mut Inside), model: impl FnOnce(&mut Ends)) {
        self.fars[port].with(line);
        model(&mut self.models[port].line);
        let id = self.card.device().sources().iter().nth(port).unwrap().id();
        self.card.device().source_ready(id, Interest::READ);
        self.models[port].poll();
    }

    pub fn read(&mut self, port: usize, offset: u8) -> u8 {
        let seen = load(&mut self.card, port as u32, offset);
        assert_eq!(seen, self.models[port].read(offset), "load at {offset} of port {port}");
        seen
    }

    pub fn write(&mut self, port: usize, offset: u8, value: u8) {
        store(&mut self.card, port as u32, offset, value);
        self.models[port].write(offset, value);
    }

    pub fn number(&mut self) -> u8 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    pub fn act(&mut self, port: usize, act: Act) {
        match act {
            Act::Read(offset) => _ = self.read(port, offset),
            Act::Write(offset, value) => self.write(port, offset, value),
            Act::Drain(times) => {
                for _ in 0..times {
                    self.read(port, LSR);
                    self.read(port, RBR);
                    self.check();
                }
            }
            Act::Fill(times) => {
                for _ in 0..times {
                    let data = self.number();
                    self.write(port, THR, data);
                    self.check();
                }
            }
            Act::Arrive(count, errors) => {
                let characters = Vec::from_iter((0..count).map(|at| {
                    let errors = if at == 0 { errors } else { 0 };
                    Character { data: self.number(), errors }
                }));
                let theirs = characters.clone();
                self.host(
                    port,
                    |it| it.arriving.extend(characters),
                    |it| it.arriving.extend(theirs),
                );
            }
            Act::Take(count) => {
                let room = self.models[port].line.sent.len() + usize::from(count);
                self.host(port, |it| it.room = room, |it| it.room = room);
            }
            Act::Inputs(inputs) => {
                self.host(port, |it| it.inputs = inputs, |it| it.inputs = inputs)
            }
            Act::Time => {
                self.card
                    .device()
                    .run_timers(Instant::now() + std::time::Duration::from_secs(1000));
                self.models.iter_mut().for_each(Model::time_out);
            }
            Act::Reset => {
                self.card.reset();
                self.models.iter_mut().for_each(Model::reset);
            }
        }
        self.check();
    }

    /// What holds at every moment.
    pub fn check(&mut self) {
        for (far, model) in self.fars.iter().zip(&self.models) {
            far.with(|it| {
                assert_eq!(it.sent, model.line.sent, "what has left");
                assert_eq!(it.arriving, model.line.arriving, "what has not come in");
                assert_eq!(it.outputs, model.line.outputs, "DTR and RTS");
            });
        }
        assert_eq!(self.card.intx(), self.models.iter().any(Model::intx), "INTx");
        let timing = self.card.device().next_timer().is_some();
        assert_eq!(timing, self.models.iter().any(Model::is_timing), "the time-out's timer");
    }
}
