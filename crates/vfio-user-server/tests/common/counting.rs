//! An allocator that counts, on the thread that asks and not before it does: the test harness allocates when it likes.

#![expect(unsafe_code, reason = "an allocator")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LARGEST: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
            LARGEST.fetch_max(layout.size() as u64, Ordering::SeqCst);
            let size = layout.size() as i64;
            PEAK.fetch_max(LIVE.fetch_add(size, Ordering::SeqCst) + size, Ordering::SeqCst);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if COUNTED.get() {
            LIVE.fetch_sub(layout.size() as i64, Ordering::SeqCst);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Begins or ends counting on this thread.
pub fn count(counted: bool) {
    COUNTED.set(counted);
}

/// Allocations so far on threads that count.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// Bytes of the largest single one of them.
pub fn largest() -> u64 {
    LARGEST.load(Ordering::SeqCst)
}

/// Bytes that these threads hold more than when they began to count.
pub fn live() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

/// The most that it ever was.
pub fn peak() -> i64 {
    PEAK.load(Ordering::SeqCst)
}
