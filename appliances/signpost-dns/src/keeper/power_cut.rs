//! Power is cut at every write in turn, during updates and signing: the zone is the one before or the one after.

use std::io;
use std::sync::{Arc, Mutex};

use store::{Device, MemoryDevice, Options, Store};

use super::tests::{TEXT, address, origin, set, signer};
use super::*;
use crate::zonefile;

/// A device whose power goes after some writes: of those not flushed, each sector may or may not have arrived.
#[derive(Default)]
struct Cut {
    now: Vec<u8>,
    flushed: Vec<u8>,
    unflushed: Vec<(u64, Vec<u8>)>,
    writes_left: Option<usize>,
}

#[derive(Clone, Default)]
struct CutDevice(Arc<Mutex<Cut>>);

impl CutDevice {
    fn cut_after(&self, writes: usize) {
        self.0.lock().unwrap().writes_left = Some(writes);
    }

    /// What is on the device when power is back.
    fn image(&self, seed: u64) -> Vec<u8> {
        let cut = self.0.lock().unwrap();
        let mut image = cut.flushed.clone();
        image.resize(cut.now.len(), 0);
        let mut dice = seed | 1;
        for (offset, data) in &cut.unflushed {
            for (at, sector) in data.chunks(512).enumerate() {
                dice = dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                if dice >> 63 == 1 {
                    let from = *offset as usize + at * 512;
                    image[from..from + sector.len()].copy_from_slice(sector);
                }
            }
        }
        image
    }
}

impl Device for CutDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let cut = self.0.lock().unwrap();
        let from = offset as usize;
        let piece = cut.now.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut cut = self.0.lock().unwrap();
        match cut.writes_left {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => cut.writes_left = Some(left - 1),
            None => {}
        }
        let from = offset as usize;
        let place = cut.now.get_mut(from..from + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        cut.unflushed.push((offset, data.to_vec()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut cut = self.0.lock().unwrap();
        if cut.writes_left == Some(0) {
            return Err(io::Error::other("no power"));
        }
        cut.flushed = cut.now.clone();
        cut.unflushed.clear();
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let mut cut = self.0.lock().unwrap();
        let len = cut.now.len().max(len as usize);
        cut.now.resize(len, 0);
        cut.flushed.resize(len, 0);
        Ok(())
    }
}

#[tokio::test]
async fn the_zone_before_or_the_zone_after() {
    for writes in 0..40 {
        let device = CutDevice::default();
        let store = Store::create(device.clone(), Options::new().segment_bytes(64 << 10)).unwrap();
        let zone = Zone::build(&origin(), zonefile::parse(TEXT, &origin(), None).unwrap()).unwrap();
        Keeper::import(&store, &origin(), &zone, &Cause::new("t", "imported")).await.unwrap();
        let keeper = Keeper::open(&store, &origin(), Some(signer()), |_, _| ()).unwrap();
        device.cut_after(writes);
        let (mut acknowledged, mut tried) = ((10, 1), 1);
        for step in 2..200u8 {
            tried = step;
            let done = match step % 7 {
                0 => keeper.sign_anew(Some(signer()), &Cause::new("t", "t")).await,
                _ => keeper.change(&Cause::new("t", "t"), |_| Ok(vec![set("u", &[192, 0, 2, step])])).await,
            };
            match done {
                Ok(changed) => {
                    acknowledged = (changed.serial, if step % 7 == 0 { acknowledged.1 } else { step })
                }
                Err(_) => break,
            }
        }
        assert_eq!(keeper.served().serial(), acknowledged.0, "nothing is served that is not on the device");
        let back = MemoryDevice::new();
        let image = device.image(writes as u64);
        back.grow(image.len() as u64).unwrap();
        back.write(0, &image).unwrap();
        let store = Store::open(back, Options::new().segment_bytes(64 << 10)).unwrap();
        let zone = Keeper::open(&store, &origin(), None, |_, _| ()).unwrap().served();
        let last = address(&zone, "u").unwrap()[3];
        assert!(
            zone.serial() == acknowledged.0 || zone.serial() == acknowledged.0 + 1,
            "cut after {writes} writes"
        );
        assert!(
            last == acknowledged.1 || last == tried,
            "cut after {writes} writes: {last}, {acknowledged:?}"
        );
        assert!(zone.apex().get(RecordType::NS).is_some());
    }
}
