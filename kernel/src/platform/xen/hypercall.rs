//! Calls into the hypervisor.
//!
//! A 64-bit PV guest's hypercall is the SYSCALL instruction: number in RAX, arguments in RDI, RSI, RDX, R10, R8; RCX and
//! R11 are destroyed. That is what the hypercall page holds too, but its code pushes RCX and R11 first, and so would
//! write into the red zone that std's compiled code uses below its stack pointer. Inline it touches no stack at all.

use core::arch::asm;

use super::abi::{call, event, schedule, vcpu};

/// Why a hypercall failed: Xen's errno, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub isize);

/// One hypercall with up to four arguments.
///
/// # Safety
/// The call must be one whose effects on this domain's memory and mappings the caller answers for; pointers among the
/// arguments must be valid for what the call does with them.
#[inline(always)]
pub unsafe fn hypercall(number: usize, arguments: [usize; 4]) -> Result<isize, Refused> {
    let result: isize;
    // SAFETY: SYSCALL enters Xen, which returns to the next instruction with all registers kept but the three named
    // ones. The caller vouches for the effects.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            inlateout("rdi") arguments[0] => _,
            inlateout("rsi") arguments[1] => _,
            inlateout("rdx") arguments[2] => _,
            inlateout("r10") arguments[3] => _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result < 0 { Err(Refused(-result)) } else { Ok(result) }
}

/// Signals the other end of event channel `port`.
#[inline(always)]
pub fn notify(port: u32) {
    // SAFETY: the argument outlives the call; signalling changes nothing of ours. A port that died is ignored: the
    // state of its device says so by other means.
    let _ = unsafe { hypercall(call::EVENT_CHANNEL_OP, [event::SEND, &raw const port as usize, 0, 0]) };
}

/// A new event channel port to which domain `remote` may bind.
pub fn allocate_port(remote: u16) -> Result<u32, Refused> {
    #[repr(C)]
    struct AllocUnbound {
        domain: u16,
        remote: u16,
        port: u32,
    }
    let mut request = AllocUnbound { domain: super::abi::DOMAIN_SELF, remote, port: 0 };
    // SAFETY: the structure is the one EVTCHNOP_alloc_unbound wants, and Xen writes its last field.
    unsafe { hypercall(call::EVENT_CHANNEL_OP, [event::ALLOC_UNBOUND, &raw mut request as usize, 0, 0])? };
    Ok(request.port)
}

/// Closes a port of ours.
pub fn close_port(port: u32) {
    // SAFETY: the argument outlives the call.
    let _ = unsafe { hypercall(call::EVENT_CHANNEL_OP, [event::CLOSE, &raw const port as usize, 0, 0]) };
}

/// Blocks until one of `ports` is pending or Xen's system time reaches `deadline_ns` (0: no deadline).
pub fn poll(ports: &[u32], deadline_ns: u64) {
    #[repr(C)]
    struct Poll {
        ports: *const u32,
        count: u32,
        timeout: u64,
    }
    let request = Poll { ports: ports.as_ptr(), count: ports.len() as u32, timeout: deadline_ns };
    // SAFETY: `ports` and the request outlive the call; Xen only reads them.
    let _ = unsafe { hypercall(call::SCHED_OP, [schedule::POLL, &raw const request as usize, 0, 0]) };
}

/// A new port for the events of the virtual CPU's timers.
pub fn bind_timer() -> Result<u32, Refused> {
    #[repr(C)]
    struct BindVirq {
        virq: u32,
        vcpu: u32,
        port: u32,
    }
    let mut request = BindVirq { virq: event::VIRQ_TIMER, vcpu: 0, port: 0 };
    // SAFETY: the structure is the one EVTCHNOP_bind_virq wants, and Xen writes its last field.
    unsafe { hypercall(call::EVENT_CHANNEL_OP, [event::BIND_VIRQ, &raw mut request as usize, 0, 0])? };
    Ok(request.port)
}

/// Ends the ticks of the virtual CPU.
pub fn stop_ticks() {
    // SAFETY: it takes nothing and writes nothing of ours. Where there are no ticks there is nothing to end.
    let _ = unsafe { hypercall(call::VCPU_OP, [vcpu::STOP_PERIODIC_TIMER, 0, 0, 0]) };
}

/// Has the timer's event come when Xen's system time reaches `deadline_ns`, and not when it was set for before.
pub fn set_timer(deadline_ns: u64) -> Result<(), Refused> {
    #[repr(C)]
    struct SetSingleshotTimer {
        timeout_abs_ns: u64,
        flags: u32,
    }
    let request = SetSingleshotTimer { timeout_abs_ns: deadline_ns, flags: 0 };
    let words = [vcpu::SET_SINGLESHOT_TIMER, 0, &raw const request as usize, 0];
    // SAFETY: the structure is the one VCPUOP_set_singleshot_timer wants; Xen only reads it.
    unsafe { hypercall(call::VCPU_OP, words)? };
    Ok(())
}

/// Ends the domain.
#[inline(always)]
pub fn shut_down(reason: u32) -> ! {
    loop {
        // SAFETY: the argument outlives the call, which does not return.
        let _ = unsafe { hypercall(call::SCHED_OP, [schedule::SHUTDOWN, &raw const reason as usize, 0, 0]) };
    }
}
