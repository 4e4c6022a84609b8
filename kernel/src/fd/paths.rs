//! The few paths there are.
//!
//! | path | what |
//! |---|---|
//! | `/dev/xvda` … | the disks, readable and writable, or read-only |
//! | `/dev/null`, `/dev/zero`, `/dev/urandom`, `/dev/random` | as everywhere |
//! | `/etc/resolv.conf`, `/etc/hosts`, `/etc/hostname` | texts made from the machine's configuration |
//! | anything else | ENOENT; ENOTDIR below a file; EROFS for what would make a new name |

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::c_int;

use super::{File, Placed, Watchers, disk, sought};
use crate::errno::Errno;

/// Opens a path.
pub fn open(path: &str, flags: c_int) -> Result<Rc<dyn File>, Errno> {
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let (file, writable): (Rc<dyn File>, bool) = match path {
        "/dev/null" => (Rc::new(Device::new(None)), true),
        "/dev/zero" => (Rc::new(Device::new(Some(|bytes| bytes.fill(0)))), true),
        "/dev/urandom" | "/dev/random" => (Rc::new(Device::new(Some(crate::random::fill))), true),
        "/" | "/dev" | "/etc" => return Err(Errno(if writes { libc::EISDIR } else { libc::EACCES })),
        path => match (text(path), path.strip_prefix("/dev/").and_then(disk::find)) {
            (Some(text), _) => (Rc::new(Text { text: text.into_bytes(), at: Cell::new(0), watchers: Watchers::default() }), false),
            (None, Some(disk)) => {
                let writable = !disk::is_read_only(disk);
                (Rc::new(disk::DiskFile::new(disk)), writable)
            }
            (None, None) if leads_through_a_file(path) => return Err(Errno(libc::ENOTDIR)),
            (None, None) if flags & libc::O_CREAT != 0 => return Err(Errno(libc::EROFS)),
            (None, None) => return Err(Errno(libc::ENOENT)),
        },
    };
    if flags & libc::O_DIRECTORY != 0 {
        return Err(Errno(libc::ENOTDIR));
    }
    if writes && !writable {
        return Err(Errno(libc::EROFS));
    }
    if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
        return Err(Errno(libc::EEXIST));
    }
    Ok(file)
}

/// Whether what should be a directory of this path is a file.
fn leads_through_a_file(path: &str) -> bool {
    let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    !parent.is_empty() && (status(parent).is_ok_and(|(mode, _)| mode & libc::S_IFMT != libc::S_IFDIR) || leads_through_a_file(parent))
}

/// Kind bits, permissions and size of a path.
pub fn status(path: &str) -> Result<(u32, u64), Errno> {
    match path {
        "/" | "/dev" | "/etc" => Ok((libc::S_IFDIR | 0o555, 0)),
        path => Ok(open(path, libc::O_RDONLY)?.status()),
    }
}

fn text(path: &str) -> Option<String> {
    let name = || crate::machine::setting("hostname").unwrap_or_else(|| "nymote".into());
    match path {
        "/etc/resolv.conf" => {
            Some(crate::net::nameservers().iter().map(|address| format!("nameserver {address}\n")).collect())
        }
        "/etc/hosts" => Some(format!("127.0.0.1 localhost {0}\n::1 localhost {0}\n", name())),
        "/etc/hostname" => Some(name() + "\n"),
        _ => None,
    }
}

/// A device without state: reads are filled by a function, or are at the end; writes go nowhere.
struct Device {
    fill: Option<fn(&mut [u8])>,
    watchers: Watchers,
}

impl Device {
    fn new(fill: Option<fn(&mut [u8])>) -> Self {
        Device { fill, watchers: Watchers::default() }
    }
}

impl File for Device {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.fill.map_or(0, |fill| {
            fill(into);
            into.len()
        }))
    }

    fn write(&self, from: &[u8]) -> Result<usize, Errno> {
        Ok(from.len())
    }

    fn ready(&self) -> u32 {
        (libc::EPOLLIN | libc::EPOLLOUT) as u32
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFCHR | 0o666, 0)
    }

    fn placed(&self) -> Option<&dyn Placed> {
        Some(self)
    }
}

/// Every place is like the first.
impl Placed for Device {
    fn read_at(&self, into: &mut [u8], _: u64) -> Result<usize, Errno> {
        self.read(into)
    }

    fn write_at(&self, from: &[u8], _: u64) -> Result<usize, Errno> {
        self.write(from)
    }

    fn seek(&self, _: i64, _: c_int) -> Result<u64, Errno> {
        Ok(0)
    }
}

/// A small text to read.
pub struct Text {
    text: Vec<u8>,
    at: Cell<u64>,
    watchers: Watchers,
}

impl File for Text {
    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        let count = self.read_at(into, self.at.get())?;
        self.at.set(self.at.get() + count as u64);
        Ok(count)
    }

    fn write(&self, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno(libc::EBADF))
    }

    fn ready(&self) -> u32 {
        libc::EPOLLIN as u32
    }

    fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    fn status(&self) -> (u32, u64) {
        (libc::S_IFREG | 0o444, self.text.len() as u64)
    }

    fn placed(&self) -> Option<&dyn Placed> {
        Some(self)
    }
}

impl Placed for Text {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.text.len());
        let rest = &self.text[start..];
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, from: &[u8], _: u64) -> Result<usize, Errno> {
        self.write(from)
    }

    fn seek(&self, offset: i64, whence: c_int) -> Result<u64, Errno> {
        self.at.set(sought(self.at.get(), self.text.len() as u64, offset, whence)?);
        Ok(self.at.get())
    }
}
