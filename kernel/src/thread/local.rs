//! Thread-local storage as the ELF TLS ABI for x86-64 lays it out (variant II), and its destructors.
//!
//! The program's initial image (segment PT_TLS) is copied to just below the thread pointer; the word at the thread
//! pointer holds the thread pointer itself. Behind that stands what the kernel keeps for each thread.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

use crate::global::Global;

/// A destructor for one thread-local object.
pub type Destructor = unsafe extern "C" fn(*mut c_void);

/// What stands at the thread pointer.
#[repr(C)]
struct Header {
    /// The ABI wants the thread pointer here.
    itself: *mut Header,
    reserved: [usize; 4],
    /// What stack protectors compare (GCC's `-fstack-protector` reads %fs:0x28).
    stack_canary: usize,
    errno: c_int,
}

/// The storage of one thread.
pub struct Block {
    memory: Option<NonNull<u8>>,
    header: *mut Header,
}

impl Block {
    /// A fresh copy of the program's image, or `None` when the heap has no room.
    pub fn new() -> Option<Self> {
        let image = crate::image::tls();
        let align = image.align.max(align_of::<Header>()).max(16);
        let below = image.memory_bytes.next_multiple_of(align);
        let memory = crate::machine::allocate(below + size_of::<Header>(), align)?;
        // SAFETY: the block has `below` bytes before its header; the image is `file_bytes` long, at most
        // `memory_bytes`, which is at most `below`; the thread pointer is aligned for the header.
        unsafe {
            let header = memory.as_ptr().add(below).cast::<Header>();
            core::ptr::write_bytes(memory.as_ptr(), 0, below);
            let start = header.cast::<u8>().sub(image.memory_bytes.next_multiple_of(image.align.max(1)));
            core::ptr::copy_nonoverlapping(image.start, start, image.file_bytes);
            header.write(Header {
                itself: header,
                reserved: [0; 4],
                stack_canary: crate::random::number() as usize & !0xff,
                errno: 0,
            });
            Some(Block { memory: Some(memory), header })
        }
    }

    /// What the base of FS has to be while the thread runs.
    pub fn thread_pointer(&self) -> usize {
        self.header as usize
    }

    /// Gives the memory back. The thread must not run again.
    pub fn give_back(&mut self) {
        if let Some(memory) = self.memory.take() {
            crate::machine::free(memory);
        }
    }
}

/// Where the running thread's `errno` is.
pub fn errno() -> *mut c_int {
    let header: *mut Header;
    // SAFETY: every thread's FS base is its header, whose first word is its own address.
    unsafe { core::arch::asm!("mov {}, fs:0", out(reg) header, options(nostack, readonly, preserves_flags)) };
    // SAFETY: the header lives as long as the thread.
    unsafe { &raw mut (*header).errno }
}

struct Locals {
    /// What std registers by `__cxa_thread_atexit_impl`, by thread.
    at_exit: BTreeMap<usize, Vec<(Destructor, *mut c_void)>>,
    /// Destructors of `pthread_key_create`, by key.
    keys: Vec<Option<Option<Destructor>>>,
    /// Values of `pthread_setspecific`, by thread and key.
    values: BTreeMap<(usize, usize), *mut c_void>,
}

static LOCALS: Global<Locals> =
    Global::new(Locals { at_exit: BTreeMap::new(), keys: Vec::new(), values: BTreeMap::new() });

/// How often destructors are run again for values that destructors set (PTHREAD_DESTRUCTOR_ITERATIONS).
const ROUNDS_MAX: usize = 4;
/// Most keys at once (PTHREAD_KEYS_MAX).
const KEYS_MAX: usize = 1024;

/// Has `destructor` called with `object` when the running thread ends.
pub fn at_thread_exit(destructor: Destructor, object: *mut c_void) {
    let place = super::current();
    LOCALS.with(|locals| locals.at_exit.entry(place).or_default().push((destructor, object)));
}

/// Makes a key for values of each thread; `None` when there are too many.
pub fn make_key(destructor: Option<Destructor>) -> Option<usize> {
    LOCALS.with(|locals| match locals.keys.iter().position(Option::is_none) {
        Some(key) => {
            locals.keys[key] = Some(destructor);
            Some(key)
        }
        None if locals.keys.len() < KEYS_MAX => {
            locals.keys.push(Some(destructor));
            Some(locals.keys.len() - 1)
        }
        None => None,
    })
}

/// Forgets a key and its values, without calling destructors. Says whether there was one.
pub fn delete_key(key: usize) -> bool {
    LOCALS.with(|locals| {
        locals.values.retain(|&(_, of), _| of != key);
        locals.keys.get_mut(key).is_some_and(|slot| slot.take().is_some())
    })
}

/// Sets the running thread's value of a key.
pub fn set_value(key: usize, value: *mut c_void) -> bool {
    let place = super::current();
    LOCALS.with(|locals| {
        let known = locals.keys.get(key).is_some_and(Option::is_some);
        if known && value.is_null() {
            locals.values.remove(&(place, key));
        } else if known {
            locals.values.insert((place, key), value);
        }
        known
    })
}

/// The running thread's value of a key; null when it was never set.
pub fn value(key: usize) -> *mut c_void {
    let place = super::current();
    LOCALS.with(|locals| locals.values.get(&(place, key)).copied().unwrap_or(core::ptr::null_mut()))
}

/// Runs the running thread's destructors, in the reverse order of registration; those they register run too.
pub(super) fn run_destructors() {
    let place = super::current();
    while let Some((destructor, object)) = LOCALS.with(|locals| locals.at_exit.get_mut(&place).and_then(Vec::pop)) {
        // SAFETY: the program registered this pair to be called once, at the end of this thread.
        unsafe { destructor(object) };
    }
    for _ in 0..ROUNDS_MAX {
        let due: Vec<(Option<Destructor>, *mut c_void)> = LOCALS.with(|locals| {
            let mine: Vec<usize> = locals.values.range((place, 0)..=(place, KEYS_MAX)).map(|(&(_, key), _)| key).collect();
            mine.into_iter()
                .filter_map(|key| Some((locals.keys[key].flatten(), locals.values.remove(&(place, key))?)))
                .collect()
        });
        if due.is_empty() {
            break;
        }
        for (destructor, value) in due {
            if let Some(destructor) = destructor {
                // SAFETY: the program gave this destructor for values of this key.
                unsafe { destructor(value) };
            }
        }
    }
    LOCALS.with(|locals| {
        locals.at_exit.remove(&place);
        locals.values.retain(|&(of, _), _| of != place);
    });
}
