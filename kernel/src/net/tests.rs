use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use libc::{EPOLLIN, EPOLLOUT};
use smoltcp::time::{Duration, Instant};

use super::stack::Network;
use super::{Address, Options};
use crate::errno::Errno;

/// A machine with a loopback, and a clock that goes when told to.
struct Machine {
    network: Network,
    now: Instant,
}

impl Machine {
    fn new(budget: usize) -> Self {
        let mut dice = 0x2545_f491_4f6c_dd1d_u64;
        let random = Box::new(move || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            dice >> 16
        });
        Machine { network: Network::new(budget, random, Instant::ZERO), now: Instant::ZERO }
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
    machine.network.udp_send(stranger, b"no", at(one_port)).unwrap();
    machine.network.udp_send(other, b"yes", at(one_port)).unwrap();
    machine.pass(Duration::from_millis(1));
    let mut buffer = vec![0; 100];
    assert_eq!(machine.network.udp_receive(one, &mut buffer, false), Ok((3, at(other_port))));
    assert_eq!(machine.network.udp_receive(one, &mut buffer, false), Err(AGAIN));
    assert_eq!(machine.network.udp_send(one, &[0; 20_000], at(other_port)), Err(Errno(libc::EMSGSIZE)));
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
