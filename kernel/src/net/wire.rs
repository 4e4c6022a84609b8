//! Cards and the loopback, in the shape in which smoltcp wants its devices.
//!
//! A received frame is looked at in the card's memory and read from there by smoltcp: the one copy is from the frame to
//! the socket's buffer. A sent frame is written by smoltcp straight to the card's memory.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroUsize};
use core::ptr::NonNull;

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    SegmentationCapabilities, TxToken,
};
use smoltcp::time::Instant;

use super::frame::{Content, acknowledgement_at, look_at_ethernet, look_at_packet};
use super::{checksum, segment};
use crate::platform::{Frame, NetworkCard, Offload, Send};

/// Largest packet on the loopback.
const LOOPBACK_MTU: usize = 32 * 1024;
/// Packets waiting on the loopback.
const LOOPBACK_PACKETS_MAX: usize = 256;
const ETHERNET_HEADER_BYTES: usize = 14;
/// IPv4 and TCP without options.
const IPV4_HEADERS_BYTES: usize = 40;

/// What is at the end of a link.
enum End {
    Card { card: Box<dyn NetworkCard>, offload: Offload, frame: Option<Frame> },
    Loopback { packets: VecDeque<Vec<u8>>, packet: Option<Vec<u8>> },
}

/// A network device: a card, or the loopback.
pub struct Wire {
    end: End,
    /// A frame has been taken and is not given back yet; until `receive` it is to be handed to smoltcp.
    taken: bool,
    /// Frames that found no room since the last look: their senders try again later.
    refused: bool,
    /// The other side has been told of frames since the last batch ended.
    told: bool,
}

impl Wire {
    /// A card.
    pub fn card(card: Box<dyn NetworkCard>) -> Self {
        let offload = card.offload();
        Wire { end: End::Card { card, offload, frame: None }, taken: false, refused: false, told: false }
    }

    /// The loopback.
    pub fn loopback() -> Self {
        Wire {
            end: End::Loopback { packets: VecDeque::new(), packet: None },
            taken: false,
            refused: false,
            told: false,
        }
    }

    /// The card's address, if this is a card.
    pub fn mac(&self) -> Option<[u8; 6]> {
        match &self.end {
            End::Card { card, .. } => Some(card.mac()),
            End::Loopback { .. } => None,
        }
    }

    /// Takes the next frame with good checksums and says what it holds. [`Self::give_back`] must follow.
    pub fn take(&mut self) -> Option<Content> {
        loop {
            let content = match &mut self.end {
                End::Card { card, offload, frame } => {
                    let next = card.receive()?;
                    // SAFETY: the card lends the frame's bytes until it is released.
                    let bytes = unsafe { next.bytes.as_ref() };
                    let checked =
                        next.checksum_good || !offload.transmit_checksum_v4 || checksum::is_good(bytes);
                    let content = checked.then(|| look_at_ethernet(bytes));
                    *frame = Some(next);
                    content
                }
                End::Loopback { packets, packet } => {
                    *packet = Some(packets.pop_front()?);
                    packet.as_deref().map(look_at_packet)
                }
            };
            self.taken = true;
            match content {
                Some(content) => return Some(content),
                None => self.give_back(),
            }
        }
    }

    /// The IP packet in the frame that was taken.
    pub fn packet(&self) -> Option<&[u8]> {
        match &self.end {
            // SAFETY: the card lends the frame's bytes until it is released.
            End::Card { frame, .. } => unsafe { frame.as_ref()?.bytes.as_ref() }.get(ETHERNET_HEADER_BYTES..),
            End::Loopback { packet, .. } => packet.as_deref(),
        }
    }

    /// The whole frame that was taken, if a card took it.
    pub fn frame(&self) -> Option<&[u8]> {
        match &self.end {
            // SAFETY: the card lends the frame's bytes until it is released.
            End::Card { frame, .. } => Some(unsafe { frame.as_ref()?.bytes.as_ref() }),
            End::Loopback { .. } => None,
        }
    }

    /// Puts a packet on the loopback, which has room.
    pub fn loop_back(&mut self, whole: Vec<u8>) {
        if let End::Loopback { packets, .. } = &mut self.end {
            packets.push_back(whole);
        }
    }

    /// Sends a frame that is complete, over a card that has room.
    pub fn send(&mut self, frame: &[u8]) {
        if let End::Card { card, .. } = &mut self.end {
            card.transmit(frame.len(), &mut |room| {
                room.copy_from_slice(frame);
                Send::Plain
            });
        }
    }

    /// Has smoltcp see the TCP segment from [`Self::take`] (again), acknowledging `acknowledged` now. False where smoltcp
    /// checks sums, which this would spoil, and on the loopback.
    pub fn show_again(&mut self, acknowledged: u32) -> bool {
        let End::Card { frame: Some(frame), offload, .. } = &mut self.end else { return false };
        if !offload.transmit_checksum_v4 {
            return false;
        }
        // SAFETY: the card lends the frame's private bytes until it is released, and nobody else looks at them now.
        let packet = unsafe { frame.bytes.as_mut() }.get_mut(ETHERNET_HEADER_BYTES..).unwrap_or_default();
        let Some(at) = acknowledgement_at(packet) else { return false };
        packet[at].copy_from_slice(&acknowledged.to_be_bytes());
        self.taken = true;
        true
    }

    /// TCP payload of a super-frame over IPv4 that the card cuts to segments; `None` where it cuts none.
    pub fn super_frame_bytes(&self) -> Option<usize> {
        match &self.end {
            End::Card { offload, .. } if offload.transmit_checksum_v4 => {
                offload.segmentation_v4_bytes.checked_sub(IPV4_HEADERS_BYTES)
            }
            _ => None,
        }
    }

    /// TCP payload of one segment over IPv4.
    pub fn segment_bytes(&self) -> usize {
        match &self.end {
            End::Card { card, .. } => card.mtu().saturating_sub(IPV4_HEADERS_BYTES),
            End::Loopback { .. } => LOOPBACK_MTU - IPV4_HEADERS_BYTES,
        }
    }

    /// Ends the use of the frame from [`Self::take`].
    pub fn give_back(&mut self) {
        self.taken = false;
        match &mut self.end {
            End::Card { card, frame, .. } => {
                if let Some(frame) = frame.take() {
                    card.release(frame);
                }
            }
            End::Loopback { packet, .. } => *packet = None,
        }
    }

    /// Whether another frame can be sent.
    pub fn has_room(&mut self) -> bool {
        let room = match &mut self.end {
            End::Card { card, .. } => card.can_transmit(),
            End::Loopback { packets, .. } => packets.len() < LOOPBACK_PACKETS_MAX,
        };
        self.refused |= !room;
        room
    }

    /// Whether somebody was refused and there is room now.
    pub fn has_room_again(&mut self) -> bool {
        core::mem::take(&mut self.refused) && self.has_room()
    }

    /// Whether frames wait on the loopback: nobody else will say so.
    pub fn has_waiting(&self) -> bool {
        matches!(&self.end, End::Loopback { packets, .. } if !packets.is_empty())
    }

    /// Frames of so many parties were taken: connections, or datagrams. None: of the connection that was heard last.
    pub fn heard(&mut self, parties: usize) {
        if let End::Card { card, .. } = &mut self.end {
            card.heard(parties);
        }
    }

    /// Ends a batch.
    pub fn flush(&mut self) {
        self.told = false;
        if let End::Card { card, .. } = &mut self.end {
            card.flush();
        }
    }

    /// The program sent something between two turns. The first time the other side is told at once, so that it works
    /// while the program does; what follows waits for the turn, which comes when the program waits, and costs one
    /// signal together.
    pub fn nudge(&mut self) {
        if !core::mem::replace(&mut self.told, true)
            && let End::Card { card, .. } = &mut self.end
        {
            card.flush();
        }
    }
}

/// A frame for smoltcp to read.
pub struct Received(NonNull<[u8]>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        // SAFETY: the frame stays lent until `give_back`, which is called after smoltcp has returned.
        read(unsafe { self.0.as_ref() })
    }
}

/// Room for a frame from smoltcp.
pub struct Room<'a> {
    end: &'a mut End,
    segments: Option<NonZeroU16>,
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        match self.end {
            End::Loopback { packets, .. } => {
                let mut packet = vec![0; length];
                let result = write(&mut packet);
                if packets.len() < LOOPBACK_PACKETS_MAX {
                    packets.push_back(packet);
                }
                result
            }
            End::Card { card, offload, .. } => {
                let mut write = Some(write);
                let mut result = None;
                let (promised, now) = (*offload, card.offload());
                let mut fill = |frame: &mut [u8], segments: Option<NonZeroU16>| {
                    if let Some(write) = write.take() {
                        result = Some(write(frame));
                    }
                    finish(frame, segments, promised, now)
                };
                let longest = card.mtu().max(now.segmentation_v4_bytes) + ETHERNET_HEADER_BYTES;
                // A reply may come without a question for room; without room it is lost, as frames may be.
                if length > longest {
                    let mut whole = vec![0; length];
                    fill(&mut whole, None);
                    let size = self.segments.map_or(0, |size| size.get().into());
                    segment::cut(&whole, size, |piece| {
                        if card.can_transmit() {
                            card.transmit(piece.len(), &mut |frame| {
                                frame.copy_from_slice(piece);
                                finish(frame, None, promised, now)
                            });
                        }
                    });
                } else if card.can_transmit() {
                    card.transmit(length, &mut |frame| fill(frame, self.segments));
                } else {
                    fill(&mut vec![0; length], None);
                }
                match result {
                    Some(result) => result,
                    None => unreachable!("a card did not have its frame filled"),
                }
            }
        }
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segments = meta.segmentation_offload_size;
    }
}

/// Sums what the stack was `promised` not to have to sum, as far as the card does not do it `now`.
fn finish(frame: &mut [u8], segments: Option<NonZeroU16>, promised: Offload, now: Offload) -> Send {
    if promised.transmit_checksum_v4 && checksum::prepare(frame, now) {
        segments.map_or(Send::Checksum, |bytes| Send::Segments(bytes.get()))
    } else {
        Send::Plain
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        if !core::mem::take(&mut self.taken) {
            return None;
        }
        let bytes = match &mut self.end {
            End::Card { frame, .. } => frame.as_ref()?.bytes,
            End::Loopback { packet, .. } => NonNull::from(packet.as_deref_mut()?),
        };
        Some((Received(bytes), Room { end: &mut self.end, segments: None }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        self.has_room().then_some(Room { end: &mut self.end, segments: None })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        match &self.end {
            End::Loopback { .. } => {
                capabilities.medium = Medium::Ip;
                capabilities.max_transmission_unit = LOOPBACK_MTU;
                capabilities.checksum = ChecksumCapabilities::ignored();
            }
            End::Card { card, offload, .. } => {
                capabilities.medium = Medium::Ethernet;
                capabilities.max_transmission_unit = card.mtu() + ETHERNET_HEADER_BYTES;
                if offload.transmit_checksum_v4 {
                    // What the card leaves to us is done by `checksum`, frame by frame.
                    capabilities.checksum.tcp = Checksum::None;
                    capabilities.checksum.udp = Checksum::None;
                    let segmentation = |bytes: usize| {
                        NonZeroUsize::new(bytes).map(|bytes| bytes.saturating_add(ETHERNET_HEADER_BYTES))
                    };
                    let mut offered = SegmentationCapabilities::default();
                    offered.tcpv4 = segmentation(offload.segmentation_v4_bytes);
                    // smoltcp 0.14 offers a super-frame's size for IPv6 too, and then drops what is longer than the MTU.
                    offered.tcpv6 = None;
                    capabilities.segmentation = offered;
                }
            }
        }
        capabilities
    }
}
