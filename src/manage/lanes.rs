//! The loops of a manager, a thread each.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vfio_user_server::{Event, EventLoop, LoopHandle};

use super::handle::Handle;
use super::news::{Change, News};
use crate::errors::plain;

/// All loops, until this is dropped: then they have ended, and nothing is left on them.
pub struct Lanes(Vec<Lane>);

struct Lane {
    handle: LoopHandle,
    thread: Option<JoinHandle<()>>,
    devices: usize,
    news: News,
}

impl Lanes {
    /// # Errors
    /// When there are no threads or descriptors left.
    pub fn start(count: usize, poll: Duration, manager: &Handle) -> io::Result<Self> {
        let mut lanes = Self(Vec::new());
        for number in 0..count {
            let (sender, receiver) = sync_channel(1);
            let news = News::new(number, manager.clone());
            let (told, manager) = (news.clone(), manager.clone());
            let run = move || {
                // It stays on the thread that it was made on.
                let mut event_loop = match EventLoop::new(poll) {
                    Ok(event_loop) => event_loop,
                    Err(error) => return drop(sender.send(Err(error))),
                };
                event_loop.stay();
                let _ = sender.send(Ok(event_loop.handle()));
                serve(number, event_loop, &news, &manager);
            };
            let thread = thread::Builder::new().name(format!("loop {number}")).spawn(run)?;
            let handle = receiver.recv().map_err(io::Error::other)??;
            lanes.0.push(Lane { handle, thread: Some(thread), devices: 0, news: told });
        }
        Ok(lanes)
    }

    /// The loop with the fewest devices, which from here on has one more.
    pub fn take(&mut self) -> usize {
        let fewest = (0..).zip(&mut self.0).min_by_key(|(_, lane)| lane.devices);
        fewest.map_or(0, |(number, lane)| {
            lane.devices += 1;
            number
        })
    }

    /// A loop has one device less.
    pub fn give_back(&mut self, lane: usize) {
        if let Some(lane) = self.0.get_mut(lane) {
            lane.devices -= 1;
        }
    }

    /// What a loop tells of clients.
    pub fn news(&self, lane: usize) -> Option<News> {
        self.0.get(lane).map(|lane| lane.news.clone())
    }

    /// Has a loop do something soon.
    pub fn post(&self, lane: usize, what: impl FnOnce(&mut EventLoop) + Send + 'static) {
        if let Some(lane) = self.0.get(lane) {
            lane.handle.post(what);
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &self.0 {
            let handle = lane.handle.clone();
            // After what it was told before.
            lane.handle.post(move |_| handle.stop());
        }
        for thread in self.0.iter_mut().filter_map(|lane| lane.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn serve(number: usize, mut event_loop: EventLoop, news: &News, manager: &Handle) {
    let handle = event_loop.handle();
    let run = AssertUnwindSafe(|| {
        event_loop.run(|id, event| match event {
            Event::ClientCame => news.come(id, &handle),
            Event::ClientLeft => news.add(id, Change::Left),
            Event::Faulted => manager.tell(move |manager| manager.faulted(number, id)),
            _ => (),
        })
    });
    let why = match catch_unwind(run) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => plain(&error),
        Err(_) => "it panicked".into(),
    };
    log::error!("loop {number} cannot go on: {why}");
    manager.fail();
}
