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

    /// Copies bytes that somebody may be changing. In assembly, because to the compiler such a copy has no meaning; by
    /// 64 bytes a turn, because `rep movsb` costs its start-up time for each short frame.
    unsafe fn copy(from: usize, to: usize, bytes: usize) {
        // SAFETY: the caller vouches for both ranges; the direction flag is clear as the ABI demands.
        unsafe {
            asm!(
                "jmp 3f",
                "2:",
                "movups xmm0, [rsi]",
                "movups xmm1, [rsi + 16]",
                "movups xmm2, [rsi + 32]",
                "movups xmm3, [rsi + 48]",
                "add rsi, 64",
                "movups [rdi], xmm0",
                "movups [rdi + 16], xmm1",
                "movups [rdi + 32], xmm2",
                "movups [rdi + 48], xmm3",
                "add rdi, 64",
                "3:",
                "sub rcx, 64",
                "jae 2b",
                "add rcx, 64",
                "mov rdx, rcx",
                "shr rcx, 3",
                "rep movsq",
                "mov rcx, rdx",
                "and rcx, 7",
                "rep movsb",
                inout("rcx") bytes => _, inout("rsi") from => _, inout("rdi") to => _, out("rdx") _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
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
        let cells = &self.0[at..][..into.len()];
        for (byte, cell) in into.iter_mut().zip(cells) {
            *byte = cell.get();
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (byte, cell) in from.iter().zip(&self.0[at..][..from.len()]) {
            cell.set(*byte);
        }
    }
}
