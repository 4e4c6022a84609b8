//! Does what a machine must not survive, by the name in its first argument: each must end it with a fault that names the
//! address, and not go on. And what needs unsafe code to be tried, and is allowed: `set-variable`. tests/kernel/run and
//! tests/xen/run start it.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

use std::hint::black_box;

/// Within what no pointer points to: the lowest 64 KiB.
const NOWHERE: usize = 0x10;
/// `ret`.
const RETURN: u8 = 0xc3;
/// Constant data.
static CONSTANT: [u8; 64] = [RETURN; 64];

fn main() {
    let kind = std::env::args().nth(1).unwrap_or_default();
    println!("faults: {kind}");
    let object = Box::new([RETURN; 64]);
    let local = black_box([RETURN; 64]);
    match kind.as_str() {
        "read-null" => println!("{}", read(NOWHERE)),
        "write-null" => write(NOWHERE),
        "write-code" => write(main as *const () as usize),
        "write-constant" => write(CONSTANT.as_ptr() as usize),
        "run-constant" => run(CONSTANT.as_ptr() as usize),
        "run-heap" => run(object.as_ptr() as usize),
        "run-stack" => run(local.as_ptr() as usize),
        "run-null" => run(NOWHERE),
        "set-variable" => return set_variable(),
        other => println!("faults: there is no {other:?}"),
    }
    println!("faults: it went on");
}

/// Changes the environment, which was started with GIVEN.
fn set_variable() {
    // SAFETY: there is no other thread.
    unsafe {
        std::env::set_var("MADE", "one");
        std::env::set_var("MADE", "two");
        std::env::remove_var("GIVEN");
    }
    let others = std::env::vars_os().filter(|(name, _)| name == "GIVEN" || name == "MADE").count();
    println!(
        "faults: MADE is {:?}, GIVEN is {:?}, {others} of them",
        std::env::var_os("MADE"),
        std::env::var_os("GIVEN")
    );
}

fn read(address: usize) -> u8 {
    println!("faults: reading at {address:#x}");
    // SAFETY: it is not, and the machine must end here.
    unsafe { black_box(address as *const u8).read_volatile() }
}

fn write(address: usize) {
    println!("faults: writing at {address:#x}");
    // SAFETY: it is not, and the machine must end here.
    unsafe { black_box(address as *mut u8).write_volatile(RETURN) };
}

fn run(address: usize) {
    println!("faults: running at {address:#x}");
    // SAFETY: it is not, and the machine must end here.
    let function: extern "C" fn() = unsafe { std::mem::transmute(black_box(address)) };
    function();
}
