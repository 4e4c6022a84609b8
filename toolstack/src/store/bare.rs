//! Bare Git repositories on disk: written as one pack with its index, read whatever packs and loose objects they have.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::rc::Rc;

use flate2::Crc;
use flate2::read::ZlibDecoder;
use git_wire::client::Progress;
use git_wire::pack::{PackError, Receiver, deflate};
use git_wire::serve::{PackSender, ServeError, check_ref_name};
use git_wire::walk::{Filter, History, Selection, select};
use git_wire::{Kind, Limits, Object, ObjectId, RefUpdate, Repository, View};
use store::Store;

use super::Failure;

impl From<PackError> for Failure {
    fn from(error: PackError) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<git_wire::walk::WalkError> for Failure {
    fn from(error: git_wire::walk::WalkError) -> Failure {
        Failure::new(error.to_string())
    }
}

/// Writes everything into a new directory; returns the number of objects.
pub fn export_bare(
    store: &Store,
    directory: &Path,
    progress: &mut dyn Progress,
    limits: &Limits,
) -> Result<usize, Failure> {
    if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!(
            "{} is not empty; export wants a new directory",
            directory.display()
        )));
    }
    let view = store.view()?;
    for part in ["objects/pack", "objects/info", "refs/heads", "refs/tags", "info"] {
        fs::create_dir_all(directory.join(part))?;
    }
    let refs = view.refs(&[])?;
    let wanted: Vec<ObjectId> = refs.iter().map(|one| one.id).collect();
    let history = History::new(&*view, Default::default());
    let selection = select(&*view, &history, &wanted, &[], Filter::default(), limits)?;
    if !selection.is_empty() {
        write_pack(&*view, &selection, &directory.join("objects/pack"), progress)?;
    }
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n").into_bytes();
    for one in &refs {
        packed.extend_from_slice(format!("{} ", one.id).as_bytes());
        packed.extend_from_slice(&one.name);
        packed.push(b'\n');
        if let Some(peeled) = one.peeled {
            packed.extend_from_slice(format!("^{peeled}\n").as_bytes());
        }
    }
    write_durably(&directory.join("packed-refs"), &packed)?;
    let config = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
    write_durably(&directory.join("config"), config.as_bytes())?;
    let head = view.head()?.map_or(b"refs/heads/main".to_vec(), |head| head.target);
    write_durably(&directory.join("HEAD"), &[b"ref: ", &head[..], b"\n"].concat())?;
    Ok(selection.len())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Counts a CRC-32 of what passes, which the index keeps for each entry.
struct Summing<W> {
    out: W,
    sum: Rc<Cell<Crc>>,
    hash: sha1dc::Hasher,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.out.write(data)?;
        let mut sum = self.sum.take();
        sum.update(&data[..count]);
        self.sum.set(sum);
        self.hash.update(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes `pack-….pack` and `pack-….idx` (gitformat-pack, version 2).
fn write_pack(
    view: &dyn View,
    selection: &Selection,
    directory: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let temporary = directory.join("tmp_pack");
    let sum = Rc::new(Cell::new(Crc::new()));
    let file = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
    let out = Summing { out: file, sum: sum.clone(), hash: sha1dc::Hasher::new() };
    let mut sender = PackSender::new(view, selection, true, out)?;
    let mut entries: Vec<(ObjectId, u32, u64)> = Vec::with_capacity(selection.len());
    for (place, id) in selection.iter().enumerate() {
        sum.set(Crc::new());
        let offset = sender.offset();
        sender.step()?;
        let crc = sum.take();
        entries.push((id, crc.sum(), offset));
        if place % 256 == 0 {
            progress.objects(place as u64, selection.len() as u64);
        }
    }
    let out = sender.finish()?;
    out.out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    progress.objects(selection.len() as u64, selection.len() as u64);
    entries.sort_unstable();
    let mut checksum = [0; 20];
    let mut pack = File::open(&temporary)?;
    io::Seek::seek(&mut pack, io::SeekFrom::End(-20))?;
    pack.read_exact(&mut checksum)?;
    let name = ObjectId(checksum);
    write_durably(&directory.join(format!("pack-{name}.idx")), &index(&entries, &checksum)?)?;
    fs::rename(&temporary, directory.join(format!("pack-{name}.pack")))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}

fn index(entries: &[(ObjectId, u32, u64)], checksum: &[u8; 20]) -> Result<Vec<u8>, Failure> {
    let mut out = b"\xfftOc\0\0\0\x02".to_vec();
    let mut at = 0;
    for first in 0..=255u8 {
        while entries.get(at).is_some_and(|(id, ..)| id.0[0] <= first) {
            at += 1;
        }
        out.extend_from_slice(&(at as u32).to_be_bytes());
    }
    entries.iter().for_each(|(id, ..)| out.extend_from_slice(&id.0));
    entries.iter().for_each(|(_, crc, _)| out.extend_from_slice(&crc.to_be_bytes()));
    let mut far: Vec<u64> = Vec::new();
    for (.., offset) in entries {
        let near = u32::try_from(*offset).ok().filter(|offset| *offset < 1 << 31);
        let digits = near.unwrap_or_else(|| {
            far.push(*offset);
            (1 << 31) | (far.len() as u32 - 1)
        });
        out.extend_from_slice(&digits.to_be_bytes());
    }
    far.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
    out.extend_from_slice(checksum);
    let sum = sha1dc::digest(&out).map_err(|_| Failure::new("the index looks like a SHA-1 attack"))?;
    out.extend_from_slice(&<[u8; 20]>::from(sum));
    Ok(out)
}

/// What an import brought.
pub struct Imported {
    pub objects: u32,
    pub refs: usize,
}

/// Takes in a bare repository, or a work tree's. All or nothing.
pub fn import_bare(
    store: &Store,
    directory: &Path,
    progress: &mut dyn Progress,
    limits: &Limits,
) -> Result<Imported, Failure> {
    let shown = directory.display();
    let inner = directory.join(".git");
    let directory = if inner.is_dir() { &inner } else { directory };
    if !directory.join("HEAD").is_file() || !directory.join("objects").is_dir() {
        return Err(Failure::new(format!("{shown} is no Git repository: it has no HEAD or no objects")));
    }
    for (file, what) in [
        ("shallow", "is a shallow clone: `git fetch --unshallow` in it first"),
        ("objects/info/alternates", "borrows objects of another repository: `git repack -a -d` in it first"),
    ] {
        if directory.join(file).exists() {
            return Err(Failure::new(format!("{shown} {what}")));
        }
    }
    let refs = read_refs(directory)?;
    let view = store.view()?;
    let ours: BTreeMap<Vec<u8>, ObjectId> =
        view.refs(&[])?.into_iter().map(|one| (one.name, one.id)).collect();
    let mut quarantine = store.quarantine()?;
    let objects = {
        let mut receiver = Receiver::new(&mut *quarantine, limits, &[]);
        for pack in files(&directory.join("objects/pack"))?.iter().filter(|path| path.ends_with(".pack")) {
            let stream = BufReader::with_capacity(1 << 20, File::open(pack)?);
            let mut counted = |done: u32, total: u32| {
                progress.objects(done.into(), total.into());
                Ok(())
            };
            receiver.pack(stream, &mut counted).map_err(|error| Failure::new(format!("{pack}: {error}")))?;
        }
        read_loose(&directory.join("objects"), &mut receiver, limits)?;
        receiver.finish()?.objects
    };
    let updates: Vec<RefUpdate> = refs
        .into_iter()
        .map(|(name, new)| {
            let old = ours.get(&name).copied().unwrap_or(ObjectId::ZERO);
            RefUpdate { name, old, new }
        })
        .filter(|update| update.old != update.new)
        .collect();
    for update in &updates {
        let named = String::from_utf8_lossy(&update.name);
        check_ref_name(&update.name).map_err(|why| Failure::new(format!("{named}: {why}")))?;
        if quarantine.header(&update.new)?.is_none() {
            return Err(Failure::new(format!("{named} names {}, which is not there", update.new)));
        }
    }
    let verdicts = quarantine.publish(&updates, true)?;
    if let Some(why) = verdicts.into_iter().find_map(Result::err) {
        return Err(Failure::new(why));
    }
    let head = fs::read_to_string(directory.join("HEAD"))?;
    if let Some(branch) = head.trim().strip_prefix("ref: refs/heads/") {
        store.set_default_branch(branch)?;
    }
    Ok(Imported { objects, refs: updates.len() })
}

fn files(directory: &Path) -> Result<Vec<String>, Failure> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry?.path().to_string_lossy().into_owned());
    }
    found.sort();
    Ok(found)
}

/// Loose refs win over packed ones.
fn read_refs(directory: &Path) -> Result<BTreeMap<Vec<u8>, ObjectId>, Failure> {
    let mut refs = BTreeMap::new();
    let packed = fs::read(directory.join("packed-refs")).unwrap_or_default();
    for line in packed.split(|byte| *byte == b'\n') {
        if let Some((id, name)) = line.split_at_checked(40)
            && let (Ok(id), Some(name)) = (ObjectId::from_hex(id), name.strip_prefix(b" "))
        {
            refs.insert(name.to_vec(), id);
        }
    }
    let mut open = vec![(directory.join("refs"), "refs".to_owned())];
    while let Some((path, name)) = open.pop() {
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), name));
            } else if let Ok(id) = ObjectId::from_hex(fs::read(entry.path())?.trim_ascii()) {
                refs.insert(name.into_bytes(), id);
            }
        }
    }
    // Git's own bookkeeping: stashes, remotes' HEADs, notes of a bisection.
    refs.retain(|name, _| name.starts_with(b"refs/heads/") || name.starts_with(b"refs/tags/"));
    Ok(refs)
}

fn read_loose(objects: &Path, receiver: &mut Receiver<'_>, limits: &Limits) -> Result<(), Failure> {
    for folder in files(objects)? {
        let Some(first) = folder.rsplit('/').next().filter(|name| name.len() == 2) else { continue };
        for path in files(Path::new(&folder))? {
            let Some(rest) = path.rsplit('/').next() else { continue };
            let Ok(id) = format!("{first}{rest}").parse::<ObjectId>() else { continue };
            let object = read_loose_object(Path::new(&path), limits)
                .map_err(|error| Failure::new(format!("{path}: {error}")))?;
            let zlib = deflate(&object.content);
            if receiver.object(object, &zlib)? != id {
                return Err(Failure::new(format!("{path} is not what its name says")));
            }
        }
    }
    Ok(())
}

/// `kind size\0content`, as one zlib stream.
fn read_loose_object(path: &Path, limits: &Limits) -> io::Result<Object> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "no loose object, or larger than allowed");
    let mut stream = ZlibDecoder::new(BufReader::new(File::open(path)?));
    let mut head = Vec::new();
    loop {
        let mut one = [0; 1];
        stream.read_exact(&mut one)?;
        if one[0] == 0 {
            break;
        }
        head.push(one[0]);
        if head.len() > 32 {
            return Err(bad());
        }
    }
    let text = String::from_utf8(head).map_err(|_| bad())?;
    let (word, size) = text.split_once(' ').ok_or_else(bad)?;
    let kind = Kind::from_word(word.as_bytes()).map_err(|_| bad())?;
    let size: u64 = size.parse().ok().filter(|size| *size <= limits.object_bytes_max).ok_or_else(bad)?;
    let mut content = Vec::new();
    stream.take(size + 1).read_to_end(&mut content)?;
    if content.len() as u64 == size { Ok(Object { kind, content }) } else { Err(bad()) }
}
