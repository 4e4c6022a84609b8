//! A wire full of anything: the whole network stack takes the frames, with a listener, a connection and a UDP socket open.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;

use kernel::net::Options;
use kernel::net::configure::CardSettings;
use kernel::net::stack::Network;
use kernel::platform::{Frame, NetworkCard, Offload, Send};
use libfuzzer_sys::fuzz_target;
use smoltcp::time::Instant;

/// A card that receives what it is told to, and swallows what it sends.
struct Card {
    frames: Rc<RefCell<VecDeque<Vec<u8>>>>,
    lent: Vec<u8>,
}

impl NetworkCard for Card {
    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn offload(&self) -> Offload {
        Offload { transmit_checksum_v4: true, transmit_checksum_v6: true, ..Offload::default() }
    }
    fn receive(&mut self) -> Option<Frame> {
        self.lent = self.frames.borrow_mut().pop_front()?;
        Some(Frame { bytes: NonNull::from(&mut self.lent[..]), token: 0, checksum_good: true })
    }
    fn release(&mut self, _: Frame) {}
    fn can_transmit(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8]) -> Send) {
        fill(&mut vec![0; length]);
    }
    fn flush(&mut self) {}
    fn is_up(&self) -> bool {
        true
    }
}

fuzz_target!(|bytes: &[u8]| {
    let frames = Rc::new(RefCell::new(VecDeque::new()));
    let mut dice = 1_u64;
    let random = Box::new(move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        dice >> 16
    });
    let mut network = Network::new(1 << 20, random, Instant::ZERO);
    let (settings, _) = CardSettings::read(0, |name| match name {
        "ip" => Some("10.0.0.2/24".into()),
        "ip6" => Some("auto".into()),
        _ => None,
    });
    network.attach(Box::new(Card { frames: frames.clone(), lent: Vec::new() }), settings, Instant::ZERO);
    let (listener, _) = network.tcp_listen(None, 53, (true, true), 8, Options::default()).unwrap();
    let (datagrams, _) = network.udp_open(None, 53, (true, true)).unwrap();
    let _ = network.tcp_connect(None, 1000, "10.0.0.9:80".parse().unwrap(), Options::default());
    let (mut rest, mut now) = (bytes, 0);
    while let [length, tail @ ..] = rest {
        let (frame, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        // The addresses of the machine, and a plausible beginning, so that frames get beyond the first look.
        let mut whole = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
        whole.extend(frame);
        frames.borrow_mut().push_back(whole);
        now += 1000;
        network.turn(Instant::from_micros(now));
        rest = tail;
    }
    let mut buffer = [0; 256];
    while network.udp_receive(datagrams, &mut buffer, false).is_ok() {}
    while let Ok((id, ..)) = network.tcp_accept(listener) {
        let _ = network.tcp_receive(id, &mut buffer, false);
        network.tcp_close(id, false);
    }
    network.turn(Instant::from_micros(now + 200_000_000));
});
