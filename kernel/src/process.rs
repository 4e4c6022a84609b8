//! What an appliance that runs as an ordinary Linux process asks of Linux, beyond std. On a machine of ours the same
//! calls answer that they have no meaning there.

use core::mem;

/// `struct sched_attr` of Linux (`include/uapi/linux/sched/types.h`), as it was first.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for slices of the processor of this many nanoseconds for the calling thread, whose policy and nice value stay as
/// they are; whether Linux took it. It lets one who asks for short slices go before those who run longer ones, as far as
/// its share goes, so that it waits less when it is woken. Linux does so since 6.12, and takes 0.1 to 100 ms.
pub fn ask_for_slices_of(nanoseconds: u64) -> bool {
    let mut attr = SchedAttr::default();
    let size = mem::size_of::<SchedAttr>();
    // SAFETY: sched_getattr writes at most `size` octets to `attr`, which is as long and holds nothing but numbers.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if got != 0 || !matches!(attr.policy as i32, libc::SCHED_OTHER | libc::SCHED_BATCH) {
        return false;
    }
    attr.runtime = nanoseconds;
    // SAFETY: sched_setattr reads `attr.size` octets of `attr`, which sched_getattr has set to its length.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice() -> u64 {
        let mut attr = SchedAttr::default();
        let size = mem::size_of::<SchedAttr>();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) }, 0);
        assert_eq!(attr.policy as i32, libc::SCHED_OTHER);
        attr.runtime
    }

    #[test]
    #[cfg_attr(miri, ignore = "Linux's scheduler")]
    fn a_thread_has_the_slices_that_it_asked_for() {
        std::thread::spawn(|| {
            let before = slice();
            assert!(ask_for_slices_of(500_000));
            // Linux before 6.12 tells of no slices.
            assert!(slice() == 500_000 || before == 0);
        })
        .join()
        .unwrap();
    }
}
