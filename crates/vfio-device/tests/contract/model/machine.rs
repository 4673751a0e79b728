#![cfg(test)]
//! What the core should do, by counting: no lock, no reference, no `Drop`.

use std::collections::BTreeSet;

use vfio_device::{Errno, State, Unregister};

/// How often a device has been called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub open: u32,
    pub close: u32,
    pub request: u32,
    /// out of turn, or with a wrong count
    pub wrong: u32,
}

/// Where `init` fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nowhere,
    BeforeShare,
    AfterShare,
    Description,
}

/// What somebody wants to have made.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// number of the parent and UUID; none is a device without a parent
    pub mdev: Option<(usize, u128)>,
    /// of the type: units of the pool that it takes
    pub units: u32,
    /// whether the type is one that only some parents have
    pub special: bool,
    pub set: Option<u64>,
    pub fault: Fault,
}

/// A device, until it is released.
#[derive(Clone, Debug)]
pub struct Object {
    pub index: u32,
    pub state: State,
    pub owner: bool,
    /// No call comes any more.
    pub retired: bool,
    pub references: u32,
    pub registrations: u32,
    pub opens: u32,
    pub exclusive: bool,
    /// Its `open` refuses.
    pub refuses: bool,
    pub calls: Calls,
    wish: Wish,
}

#[derive(Debug)]
pub struct Parent {
    /// Instances that the core counts, if it does.
    pub free: Option<u32>,
    pub special: bool,
    pub gone: bool,
}

#[derive(Debug, Default)]
pub struct Model {
    pub objects: Vec<Option<Object>>,
    pub parents: Vec<Parent>,
    /// Units of the pool that are free.
    pub units: u32,
    pub releases: u32,
}

impl Model {
    fn living(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().flatten()
    }

    /// Devices that are not released.
    pub fn alive(&self) -> usize {
        self.living().count()
    }

    /// Device sets with a member.
    pub fn sets(&self) -> usize {
        self.living().filter_map(|it| it.wish.set).collect::<BTreeSet<_>>().len()
    }

    pub fn lowest_free_index(&self) -> u32 {
        (0..).find(|index| self.living().all(|it| it.index != *index)).unwrap()
    }

    pub fn at(&mut self, slot: usize) -> &mut Object {
        self.objects[slot].as_mut().unwrap()
    }

    pub fn make(&mut self, slot: usize, wish: Wish) -> Result<(), Errno> {
        if let Some((parent, uuid)) = wish.mdev {
            let in_use = |it: &Object| it.wish.mdev.is_some_and(|(_, other)| other == uuid);
            let in_use = self.living().any(in_use);
            let Parent { free, special, gone } = self.parents[parent];
            match () {
                () if gone => return Err(Errno::NODEV),
                () if wish.special && !special => return Err(Errno::INVAL),
                () if in_use => return Err(Errno::EXIST),
                () if free == Some(0) => return Err(Errno::USERS),
                () => (),
            }
        }
        match wish.fault {
            Fault::BeforeShare => return Err(Errno::IO),
            _ if wish.units > self.units => return Err(Errno::NOSPC),
            Fault::AfterShare => return Err(Errno::IO),
            Fault::Description => {
                self.releases += 1;
                return Err(Errno::INVAL);
            }
            Fault::Nowhere => (),
        }
        self.units -= wish.units;
        if let Some(free) = self.counter(wish) {
            *free -= 1;
        }
        self.objects[slot] = Some(Object {
            index: self.lowest_free_index(),
            state: State::Initialized,
            owner: true,
            retired: false,
            references: 0,
            registrations: 0,
            opens: 0,
            exclusive: false,
            refuses: false,
            calls: Calls::default(),
            wish,
        });
        Ok(())
    }

    fn counter(&mut self, wish: Wish) -> Option<&mut u32> {
        wish.mdev.and_then(|(parent, _)| self.parents[parent].free.as_mut())
    }

    /// Releases what nobody refers to any more.
    pub fn settle(&mut self, slot: usize) {
        let it = self.at(slot);
        if it.owner || it.references + it.registrations > 0 {
            return;
        }
        let wish = it.wish;
        self.objects[slot] = None;
        self.releases += 1;
        self.units += wish.units;
        if let Some(free) = self.counter(wish) {
            *free += 1;
        }
    }
}

impl Object {
    pub fn register(&mut self) -> Result<(), Errno> {
        if self.state != State::Initialized {
            return Err(Errno::INVAL);
        }
        self.state = State::Registered;
        Ok(())
    }

    pub fn open(&mut self, exclusive: bool) -> Result<(), Errno> {
        if self.state != State::Registered {
            return Err(Errno::NODEV);
        }
        if self.opens > 0 && (self.exclusive || exclusive) {
            return Err(Errno::BUSY);
        }
        if self.opens == 0 {
            self.calls.open += 1;
            if self.refuses {
                return Err(Errno::NXIO);
            }
        }
        self.opens += 1;
        self.exclusive = exclusive;
        Ok(())
    }

    pub fn close(&mut self) {
        self.calls.close += u32::from(self.opens == 1);
        self.opens = self.opens.saturating_sub(1);
        self.user_left();
    }

    fn user_left(&mut self) {
        if self.state == State::Unregistering && self.opens + self.registrations == 0 {
            self.state = State::Unregistered;
        }
    }

    pub fn unregister(&mut self) -> Unregister {
        if self.state == State::Registered {
            self.state = State::Unregistering;
            self.user_left();
        }
        self.retired |= self.state == State::Unregistered;
        if self.state == State::Unregistering { Unregister::InUse } else { Unregister::Done }
    }

    /// Every other request is answered, so that both answers come.
    pub fn request(&mut self) -> bool {
        let asked = self.state == State::Unregistering;
        self.calls.request += u32::from(asked);
        asked && self.calls.request % 2 == 1
    }

    pub fn register_user(&mut self) -> bool {
        let had = self.state == State::Registered;
        self.registrations += u32::from(had);
        had
    }

    pub fn drop_registration(&mut self) {
        self.registrations -= 1;
        self.user_left();
    }

    pub fn drop_owner(&mut self) {
        self.unregister();
        while self.opens > 0 {
            self.close();
        }
        if self.state == State::Initialized {
            self.state = State::Unregistered;
        }
        self.owner = false;
    }
}
