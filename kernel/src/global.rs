//! State of the whole machine, without locks.
//!
//! One virtual CPU, no asynchronous entry, threads that change only inside the kernel: so a global value is safe to
//! reach as long as no two borrows of it overlap. [`Global::with`] checks exactly that. A borrow must not last over a
//! change of threads; the check finds the place that forgets it.

use core::cell::{Cell, UnsafeCell};

/// A value that belongs to the machine.
pub struct Global<T> {
    value: UnsafeCell<T>,
    borrowed: Cell<bool>,
}

// SAFETY: nothing in a machine runs at the same time (docs/decisions/0101), and `with` refuses a second borrow.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// A value that is there before the machine starts.
    pub const fn new(value: T) -> Self {
        Global { value: UnsafeCell::new(value), borrowed: Cell::new(false) }
    }

    /// Lends the value for the time of `work`. Ends the machine when it is lent already: that is a defect of ours.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        struct Lent<'a>(&'a Cell<bool>);
        impl Drop for Lent<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        if self.borrowed.replace(true) {
            crate::crash::machine(format_args!("the kernel entered its {} twice", core::any::type_name::<T>()));
        }
        let lent = Lent(&self.borrowed);
        // SAFETY: `borrowed` was false, so no other reference to the value exists until `lent` is dropped.
        let result = work(unsafe { &mut *self.value.get() });
        drop(lent);
        result
    }

    /// Whether it is lent right now.
    pub fn is_lent(&self) -> bool {
        self.borrowed.get()
    }
}
