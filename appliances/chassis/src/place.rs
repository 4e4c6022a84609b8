//! Where the data is: a store file in a directory, or a device that is the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use store::{FileDevice, Store};

use crate::identity::Identity;
use crate::memory;
use crate::options::Options;
use crate::run::StartError;

/// Opens the store that the options name; makes it where there is none yet.
pub(crate) fn open(identity: &Identity, options: &Options) -> Result<Store, StartError> {
    let failed = |reason: String| StartError::Place { place: options.place(identity), reason };
    let path = match (&options.device, &options.dir) {
        (Some(device), _) => device.clone(),
        (None, Some(dir)) => {
            make_private(dir).map_err(|error| failed(error.to_string()))?;
            dir.join(STORE_FILE)
        }
        (None, None) => return Err(failed("neither a directory nor a device is given".to_owned())),
    };
    let settings = (identity.store)(settings(options));
    open_path(&path, settings).map_err(|error| failed(error.with_advice(path.display())))
}

/// Opens the store in a file or on a device; makes it where there is none yet, or only zeros.
pub fn open_path(path: &Path, settings: store::Options) -> store::Result<Store> {
    match is_blank(path)? {
        Blank::Missing => Store::create_path(path, settings),
        Blank::Zeros => Store::create(FileDevice::open(path)?, settings),
        Blank::Written => Store::open_path(path, settings),
    }
}

/// A machine of our own has little memory, the smallest one least; a directory means a Linux process, which has more.
fn settings(options: &Options) -> store::Options {
    let cache_bytes = match &options.device {
        None => 8 << 20,
        Some(_) if memory::has(4 << 20) => 1 << 20,
        Some(_) => 256 << 10,
    };
    store::Options::new().cache_bytes(cache_bytes)
}

enum Blank {
    Missing,
    /// A disk that was never used, or a file whose first write was cut off.
    Zeros,
    Written,
}

fn is_blank(path: &Path) -> io::Result<Blank> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Blank::Missing),
        Err(error) => return Err(error),
    };
    let mut first = Vec::new();
    file.take(BLANK_BYTES).read_to_end(&mut first)?;
    Ok(if first.iter().all(|byte| *byte == 0) { Blank::Zeros } else { Blank::Written })
}

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The store's name in a data directory.
pub const STORE_FILE: &str = "store";
const BLANK_BYTES: u64 = 64 * 1024;
