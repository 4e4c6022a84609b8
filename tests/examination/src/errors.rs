//! What is missing or refused answers with the right error.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().map_or(ErrorKind::Other, |error| error.kind())
}

pub fn paths() -> String {
    let missing = kind(File::open("/no/such/file"));
    let metadata = kind(fs::metadata("/no/such/file"));
    let mut random = [0; 64];
    File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    File::options().write(true).open("/dev/null").unwrap().write_all(&random).unwrap();
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    format!(
        "{missing:?}, {metadata:?}, random: {}, localhost known: {}",
        random.iter().any(|&byte| byte != 0),
        hosts.contains("localhost")
    )
}

pub fn sockets() -> String {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let twice = kind(TcpListener::bind(taken.local_addr().unwrap()));
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let refused = kind(TcpStream::connect(nobody));
    let elsewhere = kind(TcpListener::bind("192.0.2.1:80"));
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unconnected = kind(datagram.send(b"x"));
    datagram.set_nonblocking(true).unwrap();
    let nothing = kind(datagram.recv(&mut [0; 8]));
    taken.set_nonblocking(true).unwrap();
    let nobody_comes = kind(taken.accept());
    format!(
        "{twice:?}, {refused:?}, {elsewhere:?}, {:?}, {nothing:?}, {nobody_comes:?}",
        unconnected != ErrorKind::Other
    )
}

/// What errors are called where they are printed.
pub fn words() -> String {
    let missing = File::open("/no/such/file").unwrap_err();
    let mut wrong = File::open("/dev/zero").unwrap();
    let wrong = wrong.write(b"x").unwrap_err();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = TcpStream::connect(nobody).unwrap_err();
    let unconnected = UdpSocket::bind("127.0.0.1:0").unwrap().peer_addr().unwrap_err();
    format!("{missing}; {wrong}; {refused}; {unconnected}")
}

/// A datagram to a port that nobody holds: the sender hears of it, if it is connected.
pub fn refused_datagrams() -> String {
    let refused = |nobody: &str| {
        let taken = UdpSocket::bind(nobody).unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let sender = UdpSocket::bind(nobody).unwrap();
        sender.connect(address).unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send(b"anybody?").unwrap();
        kind(sender.recv(&mut [0; 8]))
    };
    format!("{:?}, {:?}", refused("127.0.0.1:0"), refused("[::1]:0"))
}

/// Other programs, names, owners: Linux has them; a machine says what it says of each in the kernel's list.
pub fn beyond() -> String {
    let machine = cfg!(any(feature = "hosted", feature = "xen"));
    let no_program = kind(std::process::Command::new("/no/such/program").output());
    let no_directory = kind(fs::remove_dir_all("/no/such/directory"));
    let same = std::env::vars_os().all(|(name, value)| std::env::var_os(name) == Some(value));
    let as_listed = !machine
        || [
            kind(fs::rename("/dev/null", "/elsewhere")),
            kind(fs::hard_link("/dev/null", "/elsewhere")),
            kind(fs::create_dir("/elsewhere")),
            kind(std::os::unix::fs::chown("/dev/null", Some(1), None)),
            kind(fs::set_permissions("/dev/null", fs::metadata("/dev/null").unwrap().permissions())),
        ]
        .iter()
        .all(|kind| *kind == ErrorKind::ReadOnlyFilesystem);
    let program = if machine { ErrorKind::Unsupported } else { ErrorKind::NotFound };
    format!("program {}, {no_directory:?}, environment {same}, names {as_listed}", no_program == program)
}
