//! The start info page: what Xen's domain builder tells the guest.

use super::abi;
use crate::platform::PAGE_BYTES;

/// The page, readable for as long as the machine lives.
#[derive(Debug, Clone, Copy)]
pub struct StartInfo {
    page: &'static [u8; PAGE_BYTES],
}

impl StartInfo {
    /// The page at `address`.
    ///
    /// # Safety
    /// It must be the start info page, mapped and never written any more.
    pub unsafe fn at(address: usize) -> Self {
        // SAFETY: as the caller promises.
        StartInfo { page: unsafe { &*(address as *const [u8; PAGE_BYTES]) } }
    }

    /// The 64-bit word at one of the offsets of [`abi::start`].
    pub fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.page[at..at + 8].try_into().expect("eight bytes"))
    }

    /// The 32-bit word at one of the offsets of [`abi::start`].
    pub fn half(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.page[at..at + 4].try_into().expect("four bytes"))
    }

    /// The command line (`extra=` of the domain's configuration), without the NUL.
    pub fn command_line(&self) -> &'static [u8] {
        let line = &self.page[abi::start::COMMAND_LINE..][..abi::start::COMMAND_LINE_BYTES];
        let length = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
        &line[..length]
    }

    /// The address of the page behind machine frame `frame`, which must be one of the domain's own.
    #[inline(always)]
    pub fn address_of(frame: u64) -> usize {
        let entry = (abi::MACHINE_TO_PHYSICAL + frame as usize * 8) as *const u64;
        // SAFETY: Xen maps the table for all machine frames, read-only.
        (unsafe { entry.read_volatile() }) as usize * PAGE_BYTES
    }
}
