//! Files on the disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

fn open() -> Option<File> {
    let path = std::env::var("EXAM_DISK").ok()?;
    Some(OpenOptions::new().read(true).write(true).open(path).unwrap())
}

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| ((at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub fn keeps() -> String {
    let Some(mut file) = open() else { return "no disk".to_string() };
    let size = file.seek(SeekFrom::End(0)).unwrap();
    file.seek(SeekFrom::Start(8192)).unwrap();
    let words = pattern(1, 1 << 20);
    file.write_all(&words).unwrap();
    file.sync_data().unwrap();
    let mut again = open().unwrap();
    again.seek(SeekFrom::Start(8192)).unwrap();
    let mut read = vec![0; words.len()];
    again.read_exact(&mut read).unwrap();
    format!("{size} bytes long, a megabyte the same: {}", read == words)
}

pub fn odd() -> String {
    let Some(file) = open() else { return "no disk".to_string() };
    let ground = pattern(2, 64 << 10);
    file.write_all_at(&ground, 0).unwrap();
    let mut expected = ground;
    for (offset, length) in
        [(1, 1), (511, 2), (513, 4000), (4095, 4098), (10_000, 13_333), (0, 512), (60_000, 5_535)]
    {
        let words = pattern(offset as u64 + 77, length);
        file.write_all_at(&words, offset as u64).unwrap();
        expected[offset..offset + length].copy_from_slice(&words);
    }
    file.sync_all().unwrap();
    let mut read = vec![0; expected.len()];
    file.read_exact_at(&mut read, 0).unwrap();
    let mut part = vec![0; 777];
    file.read_exact_at(&mut part, 333).unwrap();
    // Neighbours write to the same sectors at the same time; nobody's bytes are lost.
    std::thread::scope(|scope| {
        for lane in 0..8_usize {
            let file = &file;
            scope.spawn(move || {
                for step in 0..16 {
                    file.write_all_at(&[lane as u8 + 1; 100], (100_000 + step * 800 + lane * 100) as u64)
                        .unwrap();
                }
            });
        }
    });
    let mut lanes = vec![0; 12_800];
    file.read_exact_at(&mut lanes, 100_000).unwrap();
    let kept = lanes.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at / 100 % 8 + 1);
    format!("whole {}, part {}, neighbours {kept}", read == expected, part == expected[333..1110])
}

pub fn end() -> String {
    let Some(mut file) = open() else { return "no disk".to_string() };
    let size = file.seek(SeekFrom::End(0)).unwrap();
    let mut tail = [0; 100];
    let short = file.read_at(&mut tail, size - 10).unwrap();
    let none = file.read_at(&mut tail, size).unwrap();
    let beyond = file.read_at(&mut tail, size + 4096).unwrap();
    file.write_all_at(&[5; 10], size - 10).unwrap();
    file.seek(SeekFrom::Current(-10)).unwrap();
    let read = file.read(&mut tail).unwrap();
    format!("{short}, {none}, {beyond}, then {read} fives: {}", tail[..10] == [5; 10])
}
