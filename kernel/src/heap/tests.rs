use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::vec::Vec;

use super::*;

/// A heap over memory of the test's own.
struct Arena {
    heap: Heap,
    start: *mut u8,
    layout: Layout,
}

impl Arena {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).unwrap();
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        // SAFETY: the memory is fresh and ours.
        let heap = unsafe { Heap::new(NonNull::new(start).unwrap(), bytes) };
        Arena { heap, start, layout }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

struct Object {
    at: NonNull<u8>,
    size: usize,
    mark: u8,
}

impl Object {
    fn new(heap: &mut Heap, size: usize, align: usize, mark: u8) -> Option<Self> {
        let at = heap.allocate(size, align)?;
        assert!((at.as_ptr() as usize).is_multiple_of(align), "{size} bytes aligned to {align}");
        assert!(heap.size_of(at).unwrap() >= size);
        // SAFETY: the object has `size` bytes.
        unsafe { core::ptr::write_bytes(at.as_ptr(), mark, size) };
        Some(Object { at, size, mark })
    }

    fn free(self, heap: &mut Heap) {
        // SAFETY: written in `new`, `size` long.
        let bytes = unsafe { core::slice::from_raw_parts(self.at.as_ptr(), self.size) };
        // Miri takes some microseconds for each byte that is looked at.
        let step = if cfg!(miri) { 97 } else { 1 };
        assert!(
            bytes.iter().step_by(step).all(|&byte| byte == self.mark),
            "an object was overwritten by another"
        );
        // SAFETY: consumed.
        unsafe { heap.free(self.at) }.unwrap();
    }
}

#[test]
fn objects_keep_apart_and_memory_comes_back_whole() {
    let steps = if cfg!(miri) { 150 } else { 60_000 };
    let mut arena = Arena::new(2 << 20);
    let whole = arena.heap.figures().free;
    let mut dice = Dice(7);
    let mut live: Vec<Object> = Vec::new();
    for step in 0..steps {
        if dice.roll(100) < 52 {
            let size = match dice.roll(10) {
                0..7 => dice.roll(600),
                7..9 => dice.roll(5_000),
                _ => dice.roll(60_000),
            };
            let align = 1 << [0, 3, 4, 4, 6, 9, 12, 13][dice.roll(8)];
            match Object::new(&mut arena.heap, size, align, step as u8) {
                Some(object) => live.push(object),
                None => live.drain(..).for_each(|object| object.free(&mut arena.heap)),
            }
        } else if !live.is_empty() {
            let at = dice.roll(live.len());
            live.swap_remove(at).free(&mut arena.heap);
        }
    }
    live.drain(..).for_each(|object| object.free(&mut arena.heap));
    let figures = arena.heap.figures();
    // A class keeps its last slab: at most 26 of two pages each.
    assert!(whole - figures.free <= 26 * 2 * PAGE_BYTES, "{figures:?}");
}

/// Three weeks of a mail server, shortened: sessions of many small objects, messages of 2 to 200 kB that live for a
/// few steps, a cache that is renewed all the time, and now and then an object that stays for long. At the end a
/// large buffer must still fit: the free memory is not in crumbs.
#[test]
fn a_mail_servers_weeks_leave_no_crumbs() {
    let mut arena = Arena::new(16 << 20);
    let mut dice = Dice(42);
    let mut sessions: VecDeque<Vec<Object>> = VecDeque::new();
    let mut cache: Vec<Object> = Vec::new();
    let mut staying: Vec<Object> = Vec::new();
    let steps = if cfg!(miri) { 8 } else { 12_000 };
    let mut free_after_warm_up = 0;
    for step in 0..steps {
        let mut session = Vec::new();
        for _ in 0..30 + dice.roll(60) {
            session.push(Object::new(&mut arena.heap, 16 + dice.roll(400), 16, 1).expect("session"));
        }
        session.push(Object::new(&mut arena.heap, 2_000 + dice.roll(200_000), 16, 2).expect("message"));
        sessions.push_back(session);
        if sessions.len() > 20 + dice.roll(10) {
            let ended = dice.roll(sessions.len());
            sessions.remove(ended).unwrap().into_iter().for_each(|object| object.free(&mut arena.heap));
        }
        cache.push(Object::new(&mut arena.heap, 100 + dice.roll(8_000), 16, 3).expect("cache"));
        if cache.len() > 300 {
            cache.swap_remove(dice.roll(300)).free(&mut arena.heap);
        }
        if step % 40 == 0 {
            staying.push(Object::new(&mut arena.heap, 24 + dice.roll(100), 8, 4).expect("staying"));
        }
        if step == steps / 3 {
            free_after_warm_up = arena.heap.figures().free;
        }
    }
    let figures = arena.heap.figures();
    assert!(
        figures.free * 10 >= free_after_warm_up * 8,
        "memory creeps away: {figures:?}, {free_after_warm_up}"
    );
    assert!(figures.longest_free >= figures.free / 4, "the free memory is in crumbs: {figures:?}");
    for object in sessions.into_iter().flatten().chain(cache).chain(staying) {
        object.free(&mut arena.heap);
    }
    assert!(arena.heap.figures().longest_free * 100 >= arena.heap.figures().total * 60);
}

#[test]
fn a_growing_buffer_grows_in_place_when_it_can() {
    let mut arena = Arena::new(1 << 20);
    let buffer = arena.heap.allocate(8_000, 16).unwrap();
    assert!(arena.heap.resize_in_place(buffer, 100_000));
    assert!(arena.heap.size_of(buffer).unwrap() >= 100_000);
    let fence = arena.heap.allocate(4_096, 16).unwrap();
    assert!(!arena.heap.resize_in_place(buffer, 500_000));
    assert!(arena.heap.resize_in_place(buffer, 5_000));
    // SAFETY: not used again.
    unsafe {
        arena.heap.free(fence).unwrap();
        arena.heap.free(buffer).unwrap();
    }
    assert_eq!(arena.heap.figures().free, arena.heap.figures().total);
}

#[test]
fn a_wrong_free_is_named() {
    let mut arena = Arena::new(1 << 20);
    let (small, large) = (arena.heap.allocate(40, 8).unwrap(), arena.heap.allocate(9_000, 8).unwrap());
    let mut elsewhere = 0_u8;
    // SAFETY: none of these objects is used afterwards, and the heap refuses what is wrong.
    unsafe {
        assert!(matches!(arena.heap.free(small.add(1)), Err(BadFree::NotOurs(_))));
        assert!(matches!(arena.heap.free(large.add(PAGE_BYTES)), Err(BadFree::NotOurs(_))));
        assert!(matches!(arena.heap.free(NonNull::from(&mut elsewhere)), Err(BadFree::NotOurs(_))));
        arena.heap.free(small).unwrap();
        assert!(matches!(arena.heap.free(small), Err(BadFree::Twice(_))));
        arena.heap.free(large).unwrap();
        assert!(matches!(arena.heap.free(large), Err(BadFree::Twice(_))));
    }
}

#[test]
fn a_full_heap_says_so_and_recovers() {
    let mut arena = Arena::new(256 << 10);
    let mut all = Vec::new();
    while let Some(object) = Object::new(&mut arena.heap, 1_000, 16, 9) {
        all.push(object);
    }
    assert!(arena.heap.allocate(usize::MAX - 10, 16).is_none());
    assert!(all.len() > 180);
    all.into_iter().for_each(|object| object.free(&mut arena.heap));
    assert!(arena.heap.allocate(100 << 10, 4096).is_some());
}
