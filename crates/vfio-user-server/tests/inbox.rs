#![cfg(test)]
//! What a large message leaves behind: no memory, and no larger share of the loop than anybody else's.

#[path = "common/client.rs"]
mod client;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/server.rs"]
mod server;

use std::sync::{Arc, Mutex};

use client::{Client, NO_REPLY, access, command, message};
use server::{Server, made};
use vfio_device::{BarKind, Context, Description, Made, Region, VfioDevice};

/// The largest store, bytes.
const LARGEST: u32 = 1 << 20;
/// What a connection takes in one turn, bytes.
const TURN: usize = 8 << 10;

/// Who has stored something, in order.
type Order = Arc<Mutex<Vec<char>>>;

/// A device that takes any store and writes down its own name.
struct Named(char, Order);

impl VfioDevice for Named {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {
        self.1.lock().unwrap().push(self.0);
    }
    fn reset(&mut self, _: &mut Context) {}
}

fn named(name: char, order: &Order) -> Made {
    let large = Region::trapped(LARGEST.into());
    let description = Description::pci(1, 2).bar(0, BarKind::Memory32, large);
    (description, Box::new(Named(name, Arc::clone(order))))
}

/// The message that stores so many bytes.
fn store(size: u32) -> Vec<u8> {
    message(1, command::REGION_WRITE, NO_REPLY, &access(0, 0, size, &vec![1; size as usize]))
}

#[test]
fn the_memory_for_a_large_message_is_given_back_while_the_client_stays() {
    let order = Order::default();
    // No allocation of the device's own.
    order.lock().unwrap().reserve(100);
    let server = Server::start(move || named('a', &order));
    server.ask(|_| counting::count(true));
    let mut client = Client::negotiated(&server.path());
    client.write(0, 0, &[1]);
    let before = server.ask(|_| counting::live());
    for _ in 0..3 {
        client.write(0, 0, &vec![1; LARGEST as usize]);
        // The loop's answer comes after it is done with the client.
        let kept = server.ask(|_| counting::live()) - before;
        assert!(kept < 64 << 10, "{kept} bytes are kept");
    }
    let most = counting::peak() - before;
    assert!(most >= LARGEST.into(), "only {most} bytes were ever counted");
    server.ask(|_| counting::count(false));
    client.still_in_step();
}

/// The longest time that the first of two has been served while the second waited, in messages.
fn longest_wait(order: &[char], first: char, second: char) -> usize {
    let last = order.iter().rposition(|name| *name == second).expect("the second one was served");
    order[..last].split(|name| *name != first).map(<[char]>::len).max().unwrap_or(0)
}

#[test]
fn who_has_sent_a_large_message_gets_no_longer_turns_than_its_neighbour() {
    const MESSAGES: usize = 1000;
    // An inbox that has grown a little is kept, one that has grown more still has room behind the message, and one
    // that has grown as far as it may is full.
    for size in [100 << 10, 600 << 10, LARGEST] {
        let order = Order::default();
        let devices = ['a', 'b'].map(|name| {
            let order = Arc::clone(&order);
            made(move || named(name, &order))
        });
        let server = Server::start_all(devices.into());
        let mut large = Client::negotiated(&server.path_of(0));
        let mut neighbour = Client::negotiated(&server.path_of(1));
        let bytes = store(size);
        let (last, most) = bytes.split_last().unwrap();
        large.send_raw(most);
        // Each question is a round of the loop, and one read of what is there: more than it takes.
        (0..200).for_each(|_| server.ask(|_| ()));

        let small = store(1).repeat(MESSAGES);
        server.held_up(|| {
            large.send_raw(&[&[*last], &small[..]].concat());
            neighbour.send_raw(&small);
        });
        large.still_in_step();
        neighbour.still_in_step();

        let order = order.lock().unwrap();
        assert_eq!(order.len(), 1 + 2 * MESSAGES);
        // Who was last in one round may be first in the next.
        let at_most = 2 * TURN / store(1).len() + 1;
        for (first, second) in [('a', 'b'), ('b', 'a')] {
            let wait = longest_wait(&order, first, second);
            assert!(
                (1..=at_most).contains(&wait),
                "after {size} bytes: {second} waits for {wait} messages of {first}"
            );
        }
    }
}
