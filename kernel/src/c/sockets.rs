//! Sockets: addresses in C's shapes, and the calls.

use alloc::rc::Rc;
use core::ffi::{c_int, c_void};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use libc::{iovec, linger, mmsghdr, msghdr, sockaddr, sockaddr_in, sockaddr_in6, socklen_t, timespec, timeval};

use super::files::{bytes_of_parts, deadline_after};
use super::{Answer, buffer, bytes, fail};
use crate::errno::Errno;
use crate::fd::{self, Description};
use crate::net::sockets::{Tcp, Udp};
use crate::net::{Address, Socket};

/// Reads an address.
///
/// # Safety
/// `address` must be valid for `length` bytes.
unsafe fn address_in(address: *const sockaddr, length: socklen_t) -> Result<Address, Errno> {
    if address.is_null() || (length as usize) < size_of::<libc::sa_family_t>() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the caller's promise, with the length looked at before each structure is read.
    unsafe {
        match c_int::from((*address).sa_family) {
            libc::AF_INET if length as usize >= size_of::<sockaddr_in>() => {
                let address = address.cast::<sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
            }
            libc::AF_INET6 if length as usize >= size_of::<sockaddr_in6>() => {
                let address = address.cast::<sockaddr_in6>().read_unaligned();
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                Ok(SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, 0).into())
            }
            libc::AF_INET | libc::AF_INET6 => Err(Errno(libc::EINVAL)),
            _ => Err(Errno(libc::EAFNOSUPPORT)),
        }
    }
}

/// An address in C's shape, and its length.
pub fn address_bytes(address: Address) -> ([u8; 28], usize) {
    let mut into = [0; 28];
    into[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        core::net::IpAddr::V4(ip) => {
            into[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            into[4..8].copy_from_slice(&ip.octets());
            (into, size_of::<sockaddr_in>())
        }
        core::net::IpAddr::V6(ip) => {
            into[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            into[8..24].copy_from_slice(&ip.octets());
            (into, size_of::<sockaddr_in6>())
        }
    }
}

/// Writes an address, cut to the room there is, and its true length. `None` is a local socket's nameless address.
///
/// # Safety
/// `into` must be null, or valid for `*length` bytes.
unsafe fn address_out(address: Option<Address>, into: *mut sockaddr, length: *mut socklen_t) {
    if into.is_null() || length.is_null() {
        return;
    }
    let (from, true_length) = match address {
        Some(address) => address_bytes(address),
        None => {
            let mut nameless = [0; 28];
            nameless[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
            (nameless, 2)
        }
    };
    // SAFETY: the caller's promise.
    unsafe {
        let room = (*length as usize).min(true_length);
        core::ptr::copy_nonoverlapping(from.as_ptr(), into.cast(), room);
        *length = true_length as socklen_t;
    }
}

fn with<R>(
    descriptor: c_int,
    work: impl FnOnce(&Description, &dyn Socket) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let description = fd::get(descriptor)?;
    work(&description, description.file.socket().ok_or(Errno(libc::ENOTSOCK))?)
}

#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, _: c_int) -> c_int {
    let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    let result = match (domain, kind & 0xf) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => {
            fd::insert(Rc::new(Tcp::new(domain)), libc::O_RDWR, nonblocking)
        }
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
            fd::insert(Rc::new(Udp::new(domain)), libc::O_RDWR, nonblocking)
        }
        (libc::AF_INET | libc::AF_INET6, _) => Err(Errno(libc::ESOCKTNOSUPPORT)),
        _ => Err(Errno(libc::EAFNOSUPPORT)),
    };
    result.answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bind(descriptor: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: C's contract for bind.
    let address = unsafe { address_in(address, length) };
    with(descriptor, |_, socket| socket.bind(address?)).answer() as c_int
}

#[unsafe(no_mangle)]
extern "C" fn listen(descriptor: c_int, backlog: c_int) -> c_int {
    with(descriptor, |_, socket| socket.listen(usize::try_from(backlog).unwrap_or(1))).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(descriptor: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: C's contract for connect.
    let address = unsafe { address_in(address, length) };
    with(descriptor, |description, socket| match socket.connect(address?) {
        Err(Errno(libc::EAGAIN)) if description.nonblocking.get() => Err(Errno(libc::EINPROGRESS)),
        Err(Errno(libc::EAGAIN)) => {
            let deadline = deadline_after(socket.timeout_ns(true));
            description.wait_for(deadline, || socket.connected()).map_err(|error| match error {
                Errno(libc::EAGAIN) => Errno(libc::EINPROGRESS),
                error => error,
            })
        }
        result => result,
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(descriptor: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
    with(descriptor, |description, socket| {
        let deadline = deadline_after(socket.timeout_ns(false));
        let (file, from) = description.wait_for(deadline, || socket.accept())?;
        let accepted = fd::insert(file, libc::O_RDWR, flags & libc::SOCK_NONBLOCK != 0)?;
        // SAFETY: C's contract for accept.
        unsafe { address_out(Some(from), address, length) };
        Ok(accepted)
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept(descriptor: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: C's contract for accept.
    unsafe { accept4(descriptor, address, length, 0) }
}

#[unsafe(no_mangle)]
extern "C" fn shutdown(descriptor: c_int, how: c_int) -> c_int {
    with(descriptor, |_, socket| socket.shutdown(how)).answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockname(descriptor: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: C's contract for getsockname.
    with(descriptor, |_, socket| unsafe {
        address_out(socket.local(), address, length);
        Ok(())
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(descriptor: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: C's contract for getpeername.
    with(descriptor, |_, socket| unsafe {
        match (socket.peer(), socket.family()) {
            (None, libc::AF_INET | libc::AF_INET6) => return Err(Errno(libc::ENOTCONN)),
            (peer, _) => address_out(peer, address, length),
        }
        Ok(())
    })
    .answer() as c_int
}

/// MSG_DONTWAIT on top of the description's own mode.
fn transfer<R>(
    description: &Description,
    timeout_ns: u64,
    flags: c_int,
    mut attempt: impl FnMut() -> Result<R, Errno>,
) -> Result<R, Errno> {
    if flags & libc::MSG_DONTWAIT != 0 {
        return attempt().inspect_err(|_| crate::thread::asked_in_vain());
    }
    description.wait_for(deadline_after(timeout_ns), attempt)
}

fn send_bytes(descriptor: c_int, from: &[u8], flags: c_int, to: Option<Address>) -> Result<usize, Errno> {
    with(descriptor, |description, socket| {
        transfer(description, socket.timeout_ns(true), flags, || socket.send_to(from, to))
    })
}

/// Receives; MSG_WAITALL on a stream goes on until the buffer is full or the stream ends.
fn receive_bytes(descriptor: c_int, into: &mut [u8], flags: c_int) -> Result<(usize, Option<Address>, bool), Errno> {
    let peek = flags & libc::MSG_PEEK != 0;
    with(descriptor, |description, socket| {
        let receive = |into: &mut [u8]| {
            transfer(description, socket.timeout_ns(false), flags, || socket.receive_from(into, peek))
        };
        let (mut length, from, cut) = receive(into)?;
        while flags & libc::MSG_WAITALL != 0 && from.is_none() && !peek && length > 0 && length < into.len() {
            match receive(&mut into[length..]) {
                Ok((0, ..)) | Err(_) => break,
                Ok((more, ..)) => length += more,
            }
        }
        Ok((length, from, cut))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(descriptor: c_int, from: *const u8, length: usize, flags: c_int) -> isize {
    // SAFETY: C's contract for send.
    send_bytes(descriptor, unsafe { bytes(from, length) }, flags, None).answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    descriptor: c_int,
    from: *const u8,
    length: usize,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> isize {
    // SAFETY: C's contract for sendto.
    unsafe {
        let to = match address.is_null() {
            true => Ok(None),
            false => address_in(address, address_length).map(Some),
        };
        to.and_then(|to| send_bytes(descriptor, bytes(from, length), flags, to)).answer()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(descriptor: c_int, into: *mut u8, length: usize, flags: c_int) -> isize {
    // SAFETY: C's contract for recv; the last two may be null.
    unsafe { recvfrom(descriptor, into, length, flags, core::ptr::null_mut(), core::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    descriptor: c_int,
    into: *mut u8,
    length: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> isize {
    // SAFETY: C's contract for recvfrom.
    let into = unsafe { buffer(into, length) };
    let room = into.len();
    receive_bytes(descriptor, into, flags)
        .map(|(length, from, _)| {
            if from.is_some() {
                // SAFETY: as above.
                unsafe { address_out(from, address, address_length) };
            }
            if flags & libc::MSG_TRUNC != 0 { length } else { length.min(room) }
        })
        .answer()
}

/// One message out. Control data (ancillary) is not known and ignored.
///
/// # Safety
/// `message` must be valid as sendmsg(2) says.
unsafe fn send_message(descriptor: c_int, message: &msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: the caller's promise.
    unsafe {
        let parts = bytes_of_parts(message.msg_iov, message.msg_iovlen as c_int)?;
        let to = match message.msg_name.is_null() {
            true => None,
            false => Some(address_in(message.msg_name.cast(), message.msg_namelen)?),
        };
        match parts {
            [one] => send_bytes(descriptor, bytes(one.iov_base.cast(), one.iov_len), flags, to),
            parts => {
                let all = parts.iter().map(|part| bytes(part.iov_base.cast(), part.iov_len)).collect::<alloc::vec::Vec<_>>();
                send_bytes(descriptor, &all.concat(), flags, to)
            }
        }
    }
}

/// One message in.
///
/// # Safety
/// `message` must be valid as recvmsg(2) says.
unsafe fn receive_message(descriptor: c_int, message: &mut msghdr, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: the caller's promise.
    unsafe {
        let parts = bytes_of_parts(message.msg_iov, message.msg_iovlen as c_int)?;
        let room: usize = parts.iter().map(|part| part.iov_len).sum();
        let (length, from, cut) = match parts {
            [one] => receive_bytes(descriptor, buffer(one.iov_base.cast(), one.iov_len), flags)?,
            parts => {
                let mut all = alloc::vec![0; room.min(1 << 20)];
                let got = receive_bytes(descriptor, &mut all, flags)?;
                scatter(&all[..got.0.min(all.len())], parts);
                got
            }
        };
        message.msg_flags = if cut { libc::MSG_TRUNC } else { 0 };
        message.msg_controllen = 0;
        match from {
            Some(_) => address_out(from, message.msg_name.cast(), &mut message.msg_namelen),
            None => message.msg_namelen = 0,
        }
        Ok(if flags & libc::MSG_TRUNC != 0 { length } else { length.min(room) })
    }
}

unsafe fn scatter(mut from: &[u8], parts: &[iovec]) {
    for part in parts {
        let count = part.iov_len.min(from.len());
        // SAFETY: the part is valid for its length.
        let into = unsafe { buffer(part.iov_base.cast(), part.iov_len) };
        into[..count].copy_from_slice(&from[..count]);
        from = &from[count..];
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(descriptor: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: C's contract for sendmsg.
    unsafe { send_message(descriptor, &*message, flags) }.answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(descriptor: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: C's contract for recvmsg.
    unsafe { receive_message(descriptor, &mut *message, flags) }.answer()
}

/// Does `one` for each message; the error of the first is the call's, that of a later one ends it.
fn many(messages: &mut [mmsghdr], mut one: impl FnMut(&mut msghdr, bool) -> Result<usize, Errno>) -> c_int {
    let mut done = 0;
    for message in messages {
        match one(&mut message.msg_hdr, done == 0) {
            Ok(length) => message.msg_len = length as u32,
            Err(error) if done == 0 => return fail(error) as c_int,
            Err(_) => break,
        }
        done += 1;
    }
    done
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmmsg(descriptor: c_int, messages: *mut mmsghdr, count: u32, flags: c_int) -> c_int {
    // SAFETY: C's contract for sendmmsg.
    let messages = unsafe { core::slice::from_raw_parts_mut(messages, count as usize) };
    // SAFETY: as above.
    many(messages, |message, _| unsafe { send_message(descriptor, message, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmmsg(
    descriptor: c_int,
    messages: *mut mmsghdr,
    count: u32,
    flags: c_int,
    _: *mut timespec,
) -> c_int {
    // SAFETY: C's contract for recvmmsg.
    let messages = unsafe { core::slice::from_raw_parts_mut(messages, count as usize) };
    many(messages, |message, first| {
        // Only the first may wait; the rest takes what is there.
        let flags = flags & !libc::MSG_WAITFORONE | if first { 0 } else { libc::MSG_DONTWAIT };
        // SAFETY: as above.
        unsafe { receive_message(descriptor, message, flags) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    with(descriptor, |_, socket| {
        let wanted = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => size_of::<timeval>(),
            (libc::SOL_SOCKET, libc::SO_LINGER) => size_of::<linger>(),
            _ => size_of::<c_int>(),
        };
        if (length as usize) < wanted || value.is_null() {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: C's contract for setsockopt, with the length looked at.
        unsafe {
            match (level, name) {
                (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                    let time = value.cast::<timeval>().read_unaligned();
                    let (Ok(seconds), Ok(micros)) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec)) else {
                        return Err(Errno(libc::EDOM));
                    };
                    let ns = seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1000));
                    socket.set_timeout_ns(name == libc::SO_SNDTIMEO, ns);
                    Ok(())
                }
                (libc::SOL_SOCKET, libc::SO_LINGER) => {
                    let how = value.cast::<linger>().read_unaligned();
                    socket.set_linger((how.l_onoff != 0).then_some(how.l_linger.max(0) as u32));
                    Ok(())
                }
                _ => socket.set_option(level, name, value.cast::<c_int>().read_unaligned()),
            }
        }
    })
    .answer() as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    descriptor: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    with(descriptor, |_, socket| {
        /// Writes an answer, cut to the room there is.
        ///
        /// # Safety
        /// `into` must be valid for `*length` bytes.
        unsafe fn put<T>(answer: T, into: *mut c_void, length: *mut socklen_t) {
            // SAFETY: the caller's promise.
            unsafe {
                let room = (*length as usize).min(size_of::<T>());
                core::ptr::copy_nonoverlapping((&raw const answer).cast::<u8>(), into.cast(), room);
                *length = room as socklen_t;
            }
        }
        // SAFETY: C's contract for getsockopt.
        unsafe {
            match (level, name) {
                (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                    let ns = socket.timeout_ns(name == libc::SO_SNDTIMEO);
                    let time = timeval { tv_sec: (ns / 1_000_000_000) as i64, tv_usec: (ns % 1_000_000_000 / 1000) as i64 };
                    put(time, value, length);
                }
                (libc::SOL_SOCKET, libc::SO_LINGER) => {
                    let how = socket.linger();
                    let answer = linger { l_onoff: how.is_some().into(), l_linger: how.unwrap_or(0) as c_int };
                    put(answer, value, length);
                }
                _ => put(socket.option(level, name)?, value, length),
            }
        }
        Ok(())
    })
    .answer() as c_int
}
