use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use libc::{EPOLLIN, EPOLLOUT};
use smoltcp::time::{Duration, Instant};

use super::configure::CardSettings;
use super::stack::Network;
use super::{Address, Options};
use crate::errno::Errno;
use crate::platform::{Frame, NetworkCard, Offload, Send};

/// A machine with a loopback, and a clock that goes when told to.
struct Machine {
    network: Network,
    now: Instant,
}

fn network(budget: usize) -> Network {
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let random = Box::new(move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice >> 16
    });
    // Filling large buffers takes minutes under Miri.
    let budget = if cfg!(miri) { budget / 16 } else { budget };
    Network::new(budget, random, Instant::ZERO)
}

impl Machine {
    fn new(budget: usize) -> Self {
        Machine { network: network(budget), now: Instant::ZERO }
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..10_000 {
            self.network.turn(self.now);
            match self.network.next_deadline() {
                Some(next) if next <= end => self.now = next.max(self.now + Duration::from_micros(1)),
                _ => break,
            }
        }
        self.now = end;
        self.network.turn(self.now);
    }

    fn listen(&mut self, backlog: usize) -> (usize, Address) {
        let ip = "127.0.0.1".parse().unwrap();
        let (id, port) =
            self.network.tcp_listen(Some(ip), 0, (true, false), backlog, Options::default()).unwrap();
        (id, Address::new(ip, port))
    }

    fn connect(&mut self, to: Address) -> Result<usize, Errno> {
        self.network.tcp_connect(None, 0, to, Options::default()).map(|(id, _)| id)
    }
}

const AGAIN: Errno = Errno(libc::EAGAIN);

#[test]
fn a_connection_is_made_used_and_ended() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(5);
    let client = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_connected(client), Ok(()));
    let (server, ..) = machine.network.tcp_accept(listener).unwrap();
    assert_eq!(machine.network.tcp_receive(server, &mut [0; 8], false), Err(AGAIN));
    assert_eq!(machine.network.tcp_send(client, b"words"), Ok(5));
    machine.pass(Duration::from_millis(1));
    let mut heard = [0; 8];
    assert_eq!(machine.network.tcp_receive(server, &mut heard, true), Ok(5));
    assert_eq!(machine.network.tcp_receive(server, &mut heard, false), Ok(5));
    machine.network.tcp_close(client, false);
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_receive(server, &mut heard, false), Ok(0));
    machine.network.tcp_close(server, false);
    machine.pass(Duration::from_secs(20));
    assert_eq!(machine.network.tcp_count(), 0, "TIME-WAIT ended and all memory came back");
    assert_eq!(machine.network.used, 0);
}

#[test]
fn a_full_backlog_drops_what_comes_and_takes_it_later() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(3);
    let clients: Vec<usize> = (0..5).map(|_| machine.connect(address).unwrap()).collect();
    machine.pass(Duration::from_millis(5));
    let stand = |machine: &mut Machine| {
        clients.iter().filter(|&&one| machine.network.tcp_connected(one) == Ok(())).count()
    };
    assert_eq!(stand(&mut machine), 3);
    for _ in 0..3 {
        machine.network.tcp_accept(listener).unwrap();
    }
    assert_eq!(machine.network.tcp_accept(listener), Err(AGAIN));
    machine.pass(Duration::from_secs(10));
    assert_eq!(stand(&mut machine), 5, "the others sent their SYN again");
}

#[test]
fn nobody_listening_refuses_and_a_closed_listener_resets_who_waits() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(3);
    let waiting = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    machine.network.tcp_unlisten(listener);
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_receive(waiting, &mut [0; 1], false), Err(Errno(libc::ECONNRESET)));
    let refused = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_connected(refused), Err(Errno(libc::ECONNREFUSED)));
}

#[test]
fn rfc1122_4_2_2_13_unread_data_turns_the_end_into_a_reset() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(1);
    let client = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    let (server, ..) = machine.network.tcp_accept(listener).unwrap();
    machine.network.tcp_send(client, b"unread").unwrap();
    machine.pass(Duration::from_millis(1));
    machine.network.tcp_close(server, false);
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_receive(client, &mut [0; 1], false), Err(Errno(libc::ECONNRESET)));
}

#[test]
fn thousands_of_connections_fit_and_the_budget_holds() {
    let budget = 16 << 20;
    let mut machine = Machine::new(budget);
    let (listener, address) = machine.listen(4096);
    let mut servers = Vec::new();
    for step in 0..2_000 {
        let Ok(_) = machine.connect(address) else { break };
        if step % 50 == 49 {
            machine.pass(Duration::from_millis(1));
        }
        while let Ok((server, ..)) = machine.network.tcp_accept(listener) {
            servers.push(server);
        }
        assert!(machine.network.used <= budget);
    }
    assert!(servers.len() > 700, "{} pairs", servers.len());
    assert_eq!(machine.connect(address), Err(Errno(libc::ENOBUFS)));
    let all: Vec<usize> = machine.network.connections.keys().copied().collect();
    all.into_iter().for_each(|id| machine.network.tcp_close(id, true));
    machine.pass(Duration::from_secs(1));
    assert_eq!(machine.network.used, 0);
}

#[test]
fn an_answerless_connection_times_out() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(1);
    let client = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    let (server, ..) = machine.network.tcp_accept(listener).unwrap();
    // The other side is gone without a word.
    let flow = machine.network.flows.iter().find(|&(_, &id)| id == server).map(|(&flow, _)| flow).unwrap();
    machine.network.flows.remove(&flow);
    machine.network.listeners.clear();
    machine.network.connections.remove(&server);
    machine.network.tcp_send(client, b"anybody?").unwrap();
    machine.pass(Duration::from_millis(10));
    let error = machine.network.tcp_receive(client, &mut [0; 1], false);
    assert_eq!(error, Err(Errno(libc::ECONNRESET)), "the machine answers for the port that is not open");
}

#[test]
fn datagrams_find_their_socket_and_a_connected_one_hears_its_peer_alone() {
    let mut machine = Machine::new(8 << 20);
    let (one, one_port) = machine.network.udp_open(None, 0, (true, true)).unwrap();
    let (other, other_port) = machine.network.udp_open(None, 0, (true, false)).unwrap();
    let (stranger, _) = machine.network.udp_open(None, 0, (true, false)).unwrap();
    let at = |port| Address::new("127.0.0.1".parse().unwrap(), port);
    machine.network.udp_connect(one, Some(at(other_port)));
    machine.network.udp_send(stranger, b"no", at(one_port), None).unwrap();
    machine.network.udp_send(other, b"yes", at(one_port), Some(3)).unwrap();
    machine.pass(Duration::from_millis(1));
    let mut buffer = vec![0; 100];
    assert_eq!(machine.network.udp_receive(one, &mut buffer, false), Ok((3, at(other_port))));
    assert_eq!(machine.network.udp_receive(one, &mut buffer, false), Err(AGAIN));
    // As long as UDP can say, and to any address of the loopback.
    let (longest, there) = (vec![7; 65_507], Address::new("127.9.9.9".parse().unwrap(), other_port));
    assert_eq!(machine.network.udp_send(one, &longest, there, None), Ok(65_507));
    machine.pass(Duration::from_millis(1));
    let mut room = vec![0; 70_000];
    assert_eq!(machine.network.udp_receive(other, &mut room, false), Ok((65_507, at(one_port))));
    assert_eq!(machine.network.udp_send(one, &[0; 65_508], there, None), Err(Errno(libc::EMSGSIZE)));
    assert_eq!(machine.network.udp_open(None, one_port, (true, false)), Err(Errno(libc::EADDRINUSE)));
}

#[test]
fn readiness_is_told_when_it_changes() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(1);
    assert_eq!(machine.network.tcp_listener_ready(listener), 0);
    let client = machine.connect(address).unwrap();
    assert_eq!(machine.network.tcp_ready(client), 0);
    machine.pass(Duration::from_millis(1));
    assert_eq!(machine.network.tcp_listener_ready(listener), EPOLLIN as u32);
    assert_eq!(machine.network.tcp_ready(client), EPOLLOUT as u32);
    assert!(machine.network.take_changed().len() >= 2);
    while machine.network.tcp_send(client, &[0; 4096]).is_ok() {}
    assert_eq!(machine.network.tcp_ready(client) & EPOLLOUT as u32, 0);
}

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a cable that carries super-frames whole, as a backend and a frontend on one host do.
struct End {
    number: u8,
    incoming: Queue,
    outgoing: Queue,
    lent: Vec<u8>,
}

impl NetworkCard for End {
    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.number]
    }
    fn mtu(&self) -> usize {
        1500
    }
    fn offload(&self) -> Offload {
        Offload { transmit_checksum_v4: true, segmentation_v4_bytes: 40 + 44 * 1460, ..Offload::default() }
    }
    fn receive(&mut self) -> Option<Frame> {
        self.lent = self.incoming.borrow_mut().pop_front()?;
        Some(Frame { bytes: NonNull::from(&mut self.lent[..]), token: 0, checksum_good: true })
    }
    fn release(&mut self, _: Frame) {}
    fn can_transmit(&mut self) -> bool {
        true
    }
    fn transmit(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8]) -> Send) {
        let mut frame = vec![0; length];
        fill(&mut frame);
        self.outgoing.borrow_mut().push_back(frame);
    }
    fn flush(&mut self) {}
    fn is_up(&self) -> bool {
        true
    }
}

/// Two machines, 10.0.0.1 and 10.0.0.2, at the ends of a cable.
struct Pair {
    ends: [Network; 2],
    queues: [Queue; 2],
    now: Instant,
}

impl Pair {
    fn new(extra: &[(&str, &str)]) -> Self {
        let queues = [Queue::default(), Queue::default()];
        let ends = [1_u8, 2].map(|number| {
            let mut end = network(64 << 20);
            let (incoming, outgoing) =
                (queues[usize::from(number) - 1].clone(), queues[2 - usize::from(number)].clone());
            let (settings, wrong) = CardSettings::read(0, |name| match name {
                "ip" => Some(std::format!("10.0.0.{number}/24")),
                name => extra.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()),
            });
            assert!(wrong.is_empty(), "{wrong:?}");
            end.attach(
                Box::new(End { number, incoming, outgoing, lent: Vec::new() }),
                settings,
                Instant::ZERO,
            );
            end
        });
        Pair { ends, queues, now: Instant::ZERO }
    }

    /// Lets both work, and time pass from deadline to deadline, until `done` says so; gives the time that passed.
    fn run(&mut self, mut done: impl FnMut(&mut [Network; 2]) -> bool) -> Duration {
        let start = self.now;
        for _ in 0..100_000 {
            self.ends.iter_mut().for_each(|end| end.turn(self.now));
            if done(&mut self.ends) {
                return self.now - start;
            }
            if self.queues.iter().all(|queue| queue.borrow().is_empty()) {
                let next = self.ends.iter().filter_map(Network::next_deadline).min();
                self.now = next.expect("somebody waits").max(self.now + Duration::from_micros(1));
            }
        }
        panic!("it never came to its end");
    }
}

#[test]
fn a_stream_of_super_frames_does_not_wait_for_each_acknowledgement() {
    const BYTES: usize = if cfg!(miri) { 20_000 } else { 2_000_000 };
    let mut pair = Pair::new(&[("ip6", "off")]);
    let address: Address = "10.0.0.2:80".parse().unwrap();
    let (listener, _) = pair.ends[1].tcp_listen(None, 80, (true, false), 1, Options::default()).unwrap();
    let (client, _) = pair.ends[0].tcp_connect(None, 0, address, Options::default()).unwrap();
    let mut server = None;
    pair.run(|[_, there]| {
        server = there.tcp_accept(listener).ok();
        server.is_some()
    });
    let (server, ..) = server.unwrap();
    let (mut sent, mut got) = (0, 0);
    let mut buffer = vec![0; 64 << 10];
    let pattern: Vec<u8> = (0..BYTES).map(|at| (at / 251) as u8).collect();
    let took = pair.run(|[here, there]| {
        while let Ok(count) = here.tcp_send(client, &pattern[sent..(sent + (64 << 10)).min(BYTES)]) {
            sent += count;
            if sent == BYTES {
                break;
            }
        }
        while let Ok(count) = there.tcp_receive(server, &mut buffer, false) {
            assert_eq!(buffer[..count], pattern[got..got + count]);
            got += count;
        }
        got == BYTES
    });
    assert!(took < Duration::from_millis(50), "{took} passed");
}

/// smoltcp's own deadlines count its search for a router in, and stand still where it found none.
#[test]
fn where_no_router_answers_connections_wait_for_their_own_deadlines() {
    let mut pair = Pair::new(&[]);
    let (listener, _) = pair.ends[1].tcp_listen(None, 80, (true, false), 1, Options::default()).unwrap();
    let address: Address = "10.0.0.2:80".parse().unwrap();
    let (client, _) = pair.ends[0].tcp_connect(None, 0, address, Options::default()).unwrap();
    pair.run(|[here, _]| here.tcp_connected(client) == Ok(()));
    let (server, ..) = pair.ends[1].tcp_accept(listener).unwrap();
    let (mut turns, mut questions) = (0, 0);
    // Longer than silence may last where an answer is owed: here nobody owes one.
    let end = Instant::from_millis(300_000);
    while pair.now < end {
        turns += 1;
        assert!(turns < 1000, "{} ms after {turns} turns", pair.now.total_millis());
        pair.ends[0].turn(pair.now);
        let is_question = |frame: &Vec<u8>| frame[12..14] == [0x86, 0xdd] && frame.get(54) == Some(&133);
        questions += pair.queues[1].borrow().iter().filter(|frame| is_question(frame)).count();
        pair.ends[1].turn(pair.now);
        if pair.queues.iter().all(|queue| queue.borrow().is_empty()) {
            let next = pair.ends.iter().filter_map(Network::next_deadline).min();
            pair.now = next.unwrap_or(end).min(end).max(pair.now + Duration::from_micros(1));
        }
    }
    assert!((2..=3).contains(&questions), "{questions} and one before the connection");
    // What is lost is sent again all the same.
    pair.ends.iter_mut().for_each(|end| end.turn(pair.now));
    pair.ends[0].tcp_send(client, b"words").unwrap();
    pair.ends[0].turn(pair.now);
    pair.queues.iter().for_each(|queue| queue.borrow_mut().clear());
    let took = pair.run(|[_, there]| there.tcp_receive(server, &mut [0; 8], false) == Ok(5));
    assert!(took < Duration::from_secs(5), "{took}");
}

#[test]
fn rfc3810_a_router_hears_which_groups_a_machine_is_in() {
    let mut pair = Pair::new(&[("ip6", "off")]);
    let (settings, _) = CardSettings::read(0, |name| (name == "ip6").then(|| "fd00::5/64".into()));
    let (incoming, outgoing) = (pair.queues[0].clone(), pair.queues[1].clone());
    pair.ends[0] = network(8 << 20);
    let card = End { number: 1, incoming, outgoing, lent: Vec::new() };
    pair.ends[0].attach(Box::new(card), settings, pair.now);
    // What the reports' first records say, and how many records the last one has.
    let hear = |pair: &mut Pair, milliseconds: usize| {
        let (mut says, mut records) = (Vec::new(), 0);
        for _ in 0..milliseconds / 10 {
            pair.ends[0].turn(pair.now);
            pair.now += Duration::from_millis(10);
            for frame in pair.queues[1].borrow_mut().drain(..) {
                if frame[..6] == [0x33, 0x33, 0, 0, 0, 0x16] {
                    says.push(frame[70]);
                    records = frame[69];
                }
            }
        }
        (says, records)
    };
    assert_eq!(
        hear(&mut pair, 4000),
        (vec![4, 4], 2),
        "entering is told twice: the card's own address, the fixed one"
    );
    let question = super::groups::tests::question(500, core::net::Ipv6Addr::UNSPECIFIED, 4);
    pair.queues[0].borrow_mut().push_back(question);
    assert_eq!(hear(&mut pair, 520), (vec![2], 2), "answered once, within the time that was given");
    assert_eq!(hear(&mut pair, 4000), (vec![], 0));
}

#[test]
fn rfc4862_an_address_is_used_when_nobody_else_has_it() {
    let mut pair = Pair::new(&[("ip6", "fd00::5/64")]);
    let address = "fd00::5".parse().unwrap();
    // Both ends ask for the same address at the same time: neither gets it (section 5.4.3).
    pair.run(|ends| ends.iter().all(|end| !end.is_to_be_ours(address)));
    assert!(pair.ends.iter().all(|end| !end.is_ours(address)));
    let told = pair.ends[0].take_news();
    assert_eq!(told, ["eth0: fd00::5 is in use by 02-00-00-00-00-02 already, and is not taken"]);

    // With a neighbour that says nothing it is there after a second; who asks for it then is told.
    let mut pair = Pair::new(&[("ip6", "off")]);
    let (settings, _) = CardSettings::read(0, |name| (name == "ip6").then(|| "fd00::5/64".into()));
    let card = |number: u8, pair: &Pair| End {
        number,
        incoming: pair.queues[usize::from(number) - 3].clone(),
        outgoing: pair.queues[4 - usize::from(number)].clone(),
        lent: Vec::new(),
    };
    let third = card(3, &pair);
    pair.ends[0] = network(8 << 20);
    pair.ends[0].attach(Box::new(third), settings.clone(), pair.now);
    assert!(!pair.ends[0].is_ours(address) && !pair.ends[0].is_configured());
    let took = pair.run(|ends| ends[0].is_ours(address));
    assert!(took >= Duration::from_secs(1), "{took}");
    let fourth = card(4, &pair);
    pair.ends[1] = network(8 << 20);
    pair.ends[1].attach(Box::new(fourth), settings, pair.now);
    pair.run(|ends| !ends[1].is_to_be_ours(address));
    assert!(pair.ends[0].is_ours(address) && !pair.ends[1].is_ours(address));
}

/// A program that is told of an end and hears "try again" asks for ever.
#[test]
fn who_looks_without_taking_is_told_of_the_end_too() {
    let mut machine = Machine::new(8 << 20);
    let (listener, address) = machine.listen(5);
    let client = machine.connect(address).unwrap();
    machine.pass(Duration::from_millis(1));
    let (server, ..) = machine.network.tcp_accept(listener).unwrap();
    assert_eq!(machine.network.tcp_receive(server, &mut [0; 8], true), Err(AGAIN));
    machine.network.tcp_close(client, false);
    machine.pass(Duration::from_millis(1));
    assert_ne!(machine.network.tcp_ready(server) & libc::EPOLLRDHUP as u32, 0);
    for peek in [true, false] {
        assert_eq!(machine.network.tcp_receive(server, &mut [0; 8], peek), Ok(0));
    }
}

#[test]
fn the_network_leaves_the_program_its_memory() {
    let mut machine = Machine::new(1 << 20);
    let (_, address) = machine.listen(64);
    let connect = |machine: &mut Machine| {
        let made = machine.connect(address).is_ok();
        machine.pass(Duration::from_millis(1));
        (made, machine.network.tcp_count())
    };
    assert_eq!(connect(&mut machine), (true, 2));
    // Both ends of a connection are this machine's: with little left their buffers are small, with less there are none.
    machine.network.share_memory(|| 128 << 10);
    let before = machine.network.used;
    assert_eq!(connect(&mut machine), (true, 4));
    assert!(machine.network.used - before <= 4 * (8 << 10));
    assert!(machine.network.take_news().is_empty());
    machine.network.share_memory(|| 1 << 10);
    assert_eq!(connect(&mut machine), (false, 4));
    let told = machine.network.take_news();
    assert!(told.len() == 1 && told[0].starts_with("no memory for a connection with 127.0.0.1:"), "{told:?}");
    machine.network.share_memory(|| usize::MAX);
    assert_eq!(connect(&mut machine), (true, 6));
}
