//! Memory that another domain can change at any moment.
//!
//! There are no references into such memory: everything is copied out once and looked at afterwards, so nothing that
//! was checked can change after the check. The protocol code above is generic over [`Shared`] and runs in tests and
//! under Miri on ordinary memory ([`Local`]).

/// A page (or a few) shared with another domain. Offsets outside it are a defect of ours and panic.
pub trait Shared {
    /// The 32-bit index at `at`, with what the other side wrote before it visible afterwards.
    fn load(&self, at: usize) -> u32;

    /// Sets the 32-bit index at `at`, after everything we wrote before it.
    fn store(&self, at: usize, value: u32);

    /// Copies bytes from `at` on out.
    fn copy_out(&self, at: usize, into: &mut [u8]);

    /// Copies bytes in, from `at` on.
    fn copy_in(&self, at: usize, from: &[u8]);
}

#[cfg(feature = "xen")]
pub use mapped::Mapped;

#[cfg(feature = "xen")]
mod mapped {
    use core::arch::asm;
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::Shared;
    use crate::copy::{BLOCK_BYTES, blocks};

    /// Shared memory at an address of ours.
    #[derive(Debug, Clone, Copy)]
    pub struct Mapped {
        address: usize,
        bytes: usize,
    }

    impl Mapped {
        /// # Safety
        /// `bytes` bytes from `address` on (a multiple of 4) stay mapped readable and writable as long as the value
        /// lives, and no Rust reference to them exists.
        pub unsafe fn new(address: usize, bytes: usize) -> Self {
            Mapped { address, bytes }
        }

        /// Its first address.
        pub fn address(&self) -> usize {
            self.address
        }

        fn place(&self, at: usize, length: usize) -> usize {
            assert!(at.checked_add(length).is_some_and(|end| end <= self.bytes), "outside the shared page");
            self.address + at
        }

        fn index(&self, at: usize) -> &AtomicU32 {
            assert!(at.is_multiple_of(4), "an index is aligned");
            // SAFETY: inside the shared memory, aligned; an atomic tolerates a writer on the other side.
            unsafe { &*(self.place(at, 4) as *const AtomicU32) }
        }
    }

    impl Shared for Mapped {
        fn load(&self, at: usize) -> u32 {
            self.index(at).load(Ordering::Acquire)
        }

        fn store(&self, at: usize, value: u32) {
            self.index(at).store(value, Ordering::Release);
        }

        fn copy_out(&self, at: usize, into: &mut [u8]) {
            // SAFETY: source and target are valid for the length and cannot overlap.
            unsafe { copy(self.place(at, into.len()), into.as_mut_ptr() as usize, into.len()) };
        }

        fn copy_in(&self, at: usize, from: &[u8]) {
            // SAFETY: source and target are valid for the length and cannot overlap.
            unsafe { copy(from.as_ptr() as usize, self.place(at, from.len()), from.len()) };
        }
    }

    /// Copies bytes that somebody may be changing; in assembly, because to the compiler such a copy has no meaning.
    unsafe fn copy(from: usize, to: usize, bytes: usize) {
        if bytes >= BLOCK_BYTES {
            // SAFETY: the caller vouches for both ranges.
            return unsafe { blocks(to as *mut u8, from as *const u8, bytes) };
        }
        // SAFETY: the caller vouches for both ranges; every access lies within them.
        unsafe {
            asm!(
                "2:",
                "cmp rcx, 8",
                "jb 3f",
                "mov rax, [rsi]",
                "mov [rdi], rax",
                "add rsi, 8",
                "add rdi, 8",
                "sub rcx, 8",
                "jmp 2b",
                "3:",
                "test cl, 4",
                "jz 4f",
                "mov eax, [rsi]",
                "mov [rdi], eax",
                "add rsi, 4",
                "add rdi, 4",
                "4:",
                "jmp 6f",
                "5:",
                "mov al, [rsi]",
                "mov [rdi], al",
                "inc rsi",
                "inc rdi",
                "dec rcx",
                "6:",
                "and rcx, 3",
                "jnz 5b",
                inout("rcx") bytes => _, inout("rsi") from => _, inout("rdi") to => _, out("rax") _,
                options(nostack),
            );
        }
    }
}

/// Ordinary memory in the role of a shared page, with both sides in one process.
#[derive(Debug, Clone)]
pub struct Local(alloc::rc::Rc<[core::cell::Cell<u8>]>);

impl Local {
    /// `bytes` zero bytes.
    pub fn new(bytes: usize) -> Self {
        Local((0..bytes).map(|_| core::cell::Cell::new(0)).collect())
    }

    /// One byte. Miri notes each borrow for all bytes that it spans, so none spans the whole memory.
    fn byte(&self, at: usize) -> &core::cell::Cell<u8> {
        let all = alloc::rc::Rc::as_ptr(&self.0);
        assert!(at < all.len(), "outside of the shared memory");
        // SAFETY: inside of the memory that `self` keeps.
        unsafe { &*all.cast::<core::cell::Cell<u8>>().add(at) }
    }
}

impl Shared for Local {
    fn load(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.copy_out(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store(&self, at: usize, value: u32) {
        self.copy_in(at, &value.to_le_bytes());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (at, byte) in (at..).zip(into) {
            *byte = self.byte(at).get();
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (at, byte) in (at..).zip(from) {
            self.byte(at).set(*byte);
        }
    }
}
