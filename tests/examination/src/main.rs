//! The examination.

#[cfg(any(feature = "hosted", feature = "xen"))]
extern crate kernel as _;

fn main() {
    println!("hello {:?}", std::env::args().collect::<Vec<_>>());
    let result = std::panic::catch_unwind(|| {
        panic!("a real panic");
    });
    println!("caught: {}", result.is_err());
    let handle = std::thread::spawn(|| 42);
    println!("joined: {:?}", handle.join());
    std::thread::sleep(std::time::Duration::from_millis(20));
    println!("slept");
}
