//! Network cards of a Linux process: a TAP device, or a packet socket on an interface.
//!
//! Both speak with the header of virtio-net in front of each frame (10 bytes), so that Linux does checksums and
//! segmentation for us, and hands us super-frames, as a Xen backend does.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::ptr::NonNull;

use super::linux::{self, call};
use crate::platform::{Frame, NetworkCard, Offload, Send};

const MTU: usize = 1500;
const HEADER_BYTES: usize = 10;
/// A super-frame with its headers.
const FRAME_BYTES_MAX: usize = HEADER_BYTES + 14 + 65_535;
/// Largest IP packet that is handed over for segmentation.
const SEGMENTATION_BYTES: usize = 60_000;

/// virtio_net_hdr: the checksum is to be completed.
const NEEDS_CHECKSUM: u8 = 1;
/// virtio_net_hdr: the checksum was checked.
const CHECKED: u8 = 2;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;

/// A card.
pub struct Card {
    descriptor: i32,
    mac: [u8; 6],
    offload: Offload,
    receive: Box<[u8]>,
    send: Box<[u8]>,
    loss: Loss,
}

/// A wire that loses frames, for tests: every so many frames on average, in both directions, the same in every run.
struct Loss {
    percent: u64,
    dice: u64,
}

impl Loss {
    /// Whether the next frame is lost.
    fn strikes(&mut self) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % 100 < self.percent
    }
}

impl Card {
    /// Opens `tap:NAME[@MAC]` or `packet:NAME[@MAC]`; loses `loss_percent` of all frames.
    pub fn open(word: &str, offload: bool, loss_percent: u64) -> Result<Self, String> {
        let (device, mac) = word.split_once('@').map_or((word, None), |(device, mac)| (device, Some(mac)));
        let descriptor = match device.split_once(':') {
            Some(("tap", name)) => open_tap(name, offload)?,
            Some(("packet", name)) => open_packet(name)?,
            _ => return Err(String::from("want tap:NAME or packet:NAME")),
        };
        let mac = match mac {
            Some(text) => read_mac(text).ok_or("want a MAC after @")?,
            None => own_mac(device),
        };
        let offload = match offload {
            true => Offload {
                transmit_checksum_v4: true,
                transmit_checksum_v6: true,
                segmentation_v4_bytes: SEGMENTATION_BYTES,
                segmentation_v6_bytes: SEGMENTATION_BYTES,
            },
            false => Offload::default(),
        };
        let buffer = || vec![0; FRAME_BYTES_MAX].into_boxed_slice();
        Ok(Card {
            descriptor,
            mac,
            offload,
            receive: buffer(),
            send: buffer(),
            loss: Loss { percent: loss_percent, dice: 1 },
        })
    }

    /// What to wait for.
    pub fn descriptor(&self) -> i32 {
        self.descriptor
    }
}

impl NetworkCard for Card {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn mtu(&self) -> usize {
        MTU
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn receive(&mut self) -> Option<Frame> {
        let into =
            [self.descriptor as usize, self.receive.as_mut_ptr() as usize, self.receive.len(), 0, 0, 0];
        // SAFETY: the buffer is as long as said, and no frame of it is lent: it was given back before.
        let mut got = unsafe { call(linux::READ, into) };
        while got > 0 && self.loss.strikes() {
            // SAFETY: as above.
            got = unsafe { call(linux::READ, into) };
        }
        let length = usize::try_from(got).ok().filter(|&length| length > HEADER_BYTES + 14)?;
        let (header, frame) = self.receive[..length].split_at_mut(HEADER_BYTES);
        let checksum_good = header[0] & (NEEDS_CHECKSUM | CHECKED) != 0;
        if checksum_good && self.offload == Offload::default() {
            complete(header, frame);
        }
        Some(Frame { bytes: NonNull::from(frame), token: 0, checksum_good })
    }

    fn release(&mut self, _: Frame) {}

    fn can_transmit(&mut self) -> bool {
        true
    }

    fn transmit(&mut self, length: usize, fill: &mut dyn FnMut(&mut [u8]) -> Send) {
        let all = HEADER_BYTES + length;
        if all > self.send.len() {
            return;
        }
        let (header, frame) = self.send[..all].split_at_mut(HEADER_BYTES);
        let send = fill(frame);
        header.fill(0);
        describe(header, frame, send);
        if self.loss.strikes() {
            return;
        }
        // SAFETY: the buffer is as long as said. A frame that Linux has no room for is lost, as frames may be.
        unsafe { call(linux::WRITE, [self.descriptor as usize, self.send.as_ptr() as usize, all, 0, 0, 0]) };
    }

    fn flush(&mut self) {}

    fn is_up(&self) -> bool {
        true
    }
}

/// Where a frame's TCP or UDP header begins, and where in it the checksum is.
fn transport(frame: &[u8]) -> Option<(usize, usize)> {
    let (start, protocol) = match frame.get(12..14)? {
        [0x08, 0x00] => (14 + usize::from(frame.get(14)? & 15) * 4, *frame.get(23)?),
        _ => (54, *frame.get(20)?),
    };
    Some((start, if protocol == 6 { 16 } else { 6 }))
}

/// Fills in a virtio-net header.
fn describe(header: &mut [u8], frame: &[u8], send: Send) {
    if send == Send::Plain {
        return;
    }
    let Some((start, field)) = transport(frame) else { return };
    header[0] = NEEDS_CHECKSUM;
    header[6..8].copy_from_slice(&(start as u16).to_le_bytes());
    header[8..10].copy_from_slice(&(field as u16).to_le_bytes());
    if let Send::Segments(bytes) = send {
        let tcp_bytes = usize::from(frame[start + 12] >> 4) * 4;
        header[1] = if frame[12..14] == [0x08, 0x00] { GSO_TCP_V4 } else { GSO_TCP_V6 };
        header[2..4].copy_from_slice(&((start + tcp_bytes) as u16).to_le_bytes());
        header[4..6].copy_from_slice(&bytes.to_le_bytes());
    }
}

/// Completes a received frame's checksum when nobody above would believe the header.
fn complete(header: &[u8], frame: &mut [u8]) {
    if header[0] & NEEDS_CHECKSUM == 0 {
        return;
    }
    let start = usize::from(u16::from_le_bytes([header[6], header[7]]));
    let field = start + usize::from(u16::from_le_bytes([header[8], header[9]]));
    if field + 2 > frame.len() {
        return;
    }
    let mut sum = 0_u32;
    for word in frame[start..].chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[field..field + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn read_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut words = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(words.next()?, 16).ok()?;
    }
    (words.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

/// A locally administered address that stays the same for the same device.
fn own_mac(device: &str) -> [u8; 6] {
    let hash = device
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// `struct ifreq`: a name and a union.
fn interface_request(name: &str) -> Result<[u8; 40], String> {
    let mut request = [0; 40];
    if name.is_empty() || name.len() > 15 {
        return Err(String::from("not an interface's name"));
    }
    request[..name.len()].copy_from_slice(name.as_bytes());
    Ok(request)
}

fn checked(result: isize, what: &str) -> Result<usize, String> {
    usize::try_from(result).map_err(|_| format!("{what}: error {}", -result))
}

fn open_tap(name: &str, offload: bool) -> Result<i32, String> {
    const O_RDWR_NONBLOCK_CLOEXEC: usize = 0o2_004_002;
    const TUNSETIFF: usize = 0x4004_54ca;
    const TUNSETOFFLOAD: usize = 0x4004_54d0;
    /// IFF_TAP, IFF_NO_PI, IFF_VNET_HDR.
    const FLAGS: u16 = 0x0002 | 0x1000 | 0x4000;
    /// TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6.
    const OFFLOADS: usize = 1 | 2 | 4;
    let mut request = interface_request(name)?;
    request[16..18].copy_from_slice(&FLAGS.to_le_bytes());
    // SAFETY: path and request outlive the calls.
    unsafe {
        let path = c"/dev/net/tun".as_ptr() as usize;
        let tun = checked(call(linux::OPEN, [path, O_RDWR_NONBLOCK_CLOEXEC, 0, 0, 0, 0]), "/dev/net/tun")?;
        checked(call(linux::IOCTL, [tun, TUNSETIFF, &raw mut request as usize, 0, 0, 0]), "TUNSETIFF")?;
        let wanted = if offload { OFFLOADS } else { 0 };
        checked(call(linux::IOCTL, [tun, TUNSETOFFLOAD, wanted, 0, 0, 0]), "TUNSETOFFLOAD")?;
        Ok(tun as i32)
    }
}

fn open_packet(name: &str) -> Result<i32, String> {
    const AF_PACKET: usize = 17;
    const SOCK_RAW_NONBLOCK_CLOEXEC: usize = 0o2_004_003;
    const ETH_P_ALL: u16 = 3;
    const SIOCGIFINDEX: usize = 0x8933;
    const SOL_PACKET: usize = 263;
    const PACKET_VNET_HDR: usize = 15;
    const PACKET_ADD_MEMBERSHIP: usize = 1;
    const PACKET_MR_PROMISC: u16 = 1;
    let protocol = usize::from(ETH_P_ALL.to_be());
    let mut request = interface_request(name)?;
    // SAFETY: every structure outlives its call and has the length said.
    unsafe {
        let socket = checked(
            call(linux::SOCKET, [AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, protocol, 0, 0, 0]),
            "socket",
        )?;
        checked(call(linux::IOCTL, [socket, SIOCGIFINDEX, &raw mut request as usize, 0, 0, 0]), name)?;
        let index = [request[16], request[17], request[18], request[19]];
        let on = 1_u32;
        let option = [socket, SOL_PACKET, PACKET_VNET_HDR, &raw const on as usize, 4, 0];
        checked(call(linux::SETSOCKOPT, option), "PACKET_VNET_HDR")?;
        let mut membership = [0_u8; 16];
        membership[..4].copy_from_slice(&index);
        membership[4..6].copy_from_slice(&PACKET_MR_PROMISC.to_le_bytes());
        let option = [socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &raw const membership as usize, 16, 0];
        checked(call(linux::SETSOCKOPT, option), "promiscuous mode")?;
        let mut address = [0_u8; 20];
        address[..2].copy_from_slice(&(AF_PACKET as u16).to_le_bytes());
        address[2..4].copy_from_slice(&ETH_P_ALL.to_be_bytes());
        address[4..8].copy_from_slice(&index);
        checked(call(linux::BIND, [socket, &raw const address as usize, 20, 0, 0, 0]), "bind")?;
        Ok(socket as i32)
    }
}
