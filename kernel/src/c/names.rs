//! `getaddrinfo`: names to addresses.

use alloc::boxed::Box;
use core::ffi::{CStr, c_char, c_int};
use core::net::IpAddr;

use libc::addrinfo;

use super::sockets::address_bytes;
use crate::net::{Address, resolve};

/// One answer, with the address behind it in the same piece of memory.
#[repr(C)]
struct Answer {
    info: addrinfo,
    address: [u8; 28],
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    into: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: C's contract for getaddrinfo: null or strings that end with NUL; null or valid hints.
    let (node, service, hints) = unsafe {
        let text = |text: *const c_char| (!text.is_null()).then(|| CStr::from_ptr(text).to_str());
        (text(node), text(service), hints.as_ref())
    };
    let family = hints.map_or(libc::AF_UNSPEC, |hints| hints.ai_family);
    let kind = hints.map_or(0, |hints| hints.ai_socktype);
    let passive = hints.is_some_and(|hints| hints.ai_flags & libc::AI_PASSIVE != 0);
    let port = match service {
        None => 0,
        Some(Ok(service)) => match service.parse() {
            Ok(port) => port,
            Err(_) => return libc::EAI_SERVICE,
        },
        Some(Err(_)) => return libc::EAI_SERVICE,
    };
    let addresses = match node {
        None if passive => [IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])].to_vec(),
        None => resolve::LOCALHOST.to_vec(),
        Some(Err(_)) => return libc::EAI_NONAME,
        Some(Ok(name)) => match resolve::addresses_of(name, family != libc::AF_INET6, family != libc::AF_INET) {
            Ok(addresses) => addresses,
            Err(resolve::Failure::NoSuchName) => return libc::EAI_NONAME,
            Err(resolve::Failure::NoAnswer) => return libc::EAI_AGAIN,
        },
    };
    let mut list: *mut addrinfo = core::ptr::null_mut();
    let fits = |ip: &IpAddr| match family {
        libc::AF_INET => ip.is_ipv4(),
        libc::AF_INET6 => ip.is_ipv6(),
        _ => true,
    };
    for ip in addresses.into_iter().filter(fits).rev() {
        list = link(Address::new(ip, port), kind, list);
    }
    if list.is_null() {
        return libc::EAI_NONAME;
    }
    // SAFETY: C's contract: a place for the answer.
    unsafe { *into = list };
    0
}

fn link(address: Address, kind: c_int, next: *mut addrinfo) -> *mut addrinfo {
    let (bytes, length) = address_bytes(address);
    let kind = if kind == 0 { libc::SOCK_STREAM } else { kind };
    let answer = Box::leak(Box::new(Answer {
        info: addrinfo {
            ai_flags: 0,
            ai_family: if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 },
            ai_socktype: kind,
            ai_protocol: if kind == libc::SOCK_DGRAM { libc::IPPROTO_UDP } else { libc::IPPROTO_TCP },
            ai_addrlen: length as u32,
            ai_addr: core::ptr::null_mut(),
            ai_canonname: core::ptr::null_mut(),
            ai_next: next,
        },
        address: bytes,
    }));
    answer.info.ai_addr = (&raw mut answer.address).cast();
    (&raw mut *answer).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn freeaddrinfo(mut list: *mut addrinfo) {
    while !list.is_null() {
        // SAFETY: C's contract: the list came from `getaddrinfo`, whose answers begin with their `addrinfo`.
        unsafe {
            let answer = Box::from_raw(list.cast::<Answer>());
            list = answer.info.ai_next;
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn gai_strerror(error: c_int) -> *const c_char {
    match error {
        libc::EAI_NONAME => c"name or service not known",
        libc::EAI_AGAIN => c"no name server answered",
        libc::EAI_SERVICE => c"service is not a port number",
        _ => c"name resolution failed",
    }
    .as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn __res_init() -> c_int {
    0
}
