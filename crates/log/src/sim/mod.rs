//! A disk that fails on cue: what `kill -9` can never show.
//!
//! Everything follows from one seed. A crash loses and reorders what was not synced, sector by sector, tears
//! tails, and loses directory operations that were not synced. A sync covers what was written through the same
//! opening of a file and nothing else. A process can be killed alone, which keeps the page cache. Syncs fail,
//! and then leave pages clean that never reached the platter, as Linux does; each other opening that lost
//! something hears of it at its next sync. The disk fills up. Bits flip.

// Test code that other crates link.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

mod image;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use self::image::{Handle, Image, Luck, SECTOR};
use crate::LogError;
use crate::disk::{Disk, DiskFile, ReadAt};

/// Ways in which a simulated disk, or who uses it, is broken on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flaws {
    /// Syncs of files do nothing and say that all is well.
    pub no_sync: bool,
    /// Syncs of the directory do nothing and say that all is well.
    pub no_dir_sync: bool,
    /// Writing what can be read there already makes nothing dirty.
    pub elide_equal_writes: bool,
    /// Writing nothing but zeros does nothing.
    pub elide_zeros: bool,
    /// Only the sync that fails says so; others through which something was lost succeed.
    pub fail_once: bool,
}

/// A simulated disk. Clones are the same disk; see [`SimDisk::fork`] for another.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

type Id = u64;

#[derive(Debug, Clone)]
enum DirOp {
    Link(String, Id),
    Unlink(String),
    Rename(String, String, Id),
}

impl DirOp {
    fn id(&self) -> Option<Id> {
        match self {
            Self::Link(_, id) | Self::Rename(_, _, id) => Some(*id),
            Self::Unlink(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Inner {
    rng: Rng,
    flaws: Flaws,
    files: BTreeMap<Id, Image>,
    next: Id,
    /// Openings of files so far.
    handles: Handle,
    names: BTreeMap<String, Id>,
    durable_names: BTreeMap<String, Id>,
    pending: Vec<DirOp>,
    locked: bool,
    /// Operations until the power fails.
    fuse: Option<u64>,
    /// Syncs until one fails.
    bad_sync: Option<u64>,
    /// Bytes that files may take in all.
    capacity: usize,
}

impl SimDisk {
    /// An empty disk. The same seed and the same operations give the same disk.
    #[must_use]
    pub fn new(seed: u64, flaws: Flaws) -> Self {
        let inner = Inner {
            rng: Rng::with_seed(seed),
            flaws,
            files: BTreeMap::new(),
            next: 0,
            handles: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locked: false,
            fuse: None,
            bad_sync: None,
            capacity: usize::MAX,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same contents, not held by anyone, and without faults to come.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut inner = self.lock_inner().clone();
        (inner.locked, inner.fuse, inner.bad_sync, inner.capacity) = (false, None, None, usize::MAX);
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The power fails after this many more operations: everything fails from then on, until
    /// [`SimDisk::crash`].
    pub fn set_fuse(&self, operations: u64) {
        self.lock_inner().fuse = Some(operations);
    }

    /// The sync after this many more fails.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock_inner().bad_sync = Some(syncs);
    }

    /// Leaves this many bytes free.
    pub fn set_free(&self, bytes: usize) {
        let mut inner = self.lock_inner();
        inner.capacity = inner.used().saturating_add(bytes);
    }

    /// The power failed and is back. Also the end of any process that used the disk, and of all faults.
    pub fn crash(&self) {
        let mut inner = self.lock_inner();
        inner.crash();
        inner.restart();
    }

    /// The process that used the disk ended; its writes are seen by the next, unless the power failed too.
    /// Ends all faults.
    pub fn kill(&self) {
        let mut inner = self.lock_inner();
        if inner.fuse == Some(0) {
            inner.crash();
        }
        inner.restart();
    }

    /// Names and contents of all files, as a process sees them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.lock_inner();
        inner.names.iter().map(|(name, id)| (name.clone(), inner.files[id].seen().to_vec())).collect()
    }

    /// Puts a file there, on the platter.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut image = Image::default();
        image.write(0, 0, bytes);
        image.sync(0);
        let mut inner = self.lock_inner();
        inner.next += 1;
        let id = inner.next;
        inner.files.insert(id, image);
        inner.names.insert(name.to_owned(), id);
        inner.durable_names.insert(name.to_owned(), id);
    }

    /// Flips one bit, on the platter.
    pub fn flip(&self, name: &str, bit: usize) {
        self.with_file(name, |image| image.damage(bit / 8, |byte| byte ^ (1 << (bit % 8))));
    }

    /// Zeroes bytes, on the platter.
    pub fn zero(&self, name: &str, range: std::ops::Range<usize>) {
        self.with_file(name, |image| range.for_each(|at| image.damage(at, |_| 0)));
    }

    /// Cuts a file short, on the platter.
    pub fn truncate(&self, name: &str, length: usize) {
        self.with_file(name, |image| image.truncate(length));
    }

    /// Loses a file, for good.
    pub fn lose(&self, name: &str) {
        let mut inner = self.lock_inner();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }

    fn with_file(&self, name: &str, act: impl FnOnce(&mut Image)) {
        let mut inner = self.lock_inner();
        let id = inner.names.get(name).copied().expect("a file of that name");
        act(inner.files.get_mut(&id).expect("a name stands for a file"));
    }

    fn file(&self, id: Id, handle: Handle) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), id, handle })
    }
}

fn power_off() -> io::Error {
    io::Error::other("the power is off")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Inner {
    /// Counts one operation. False when the power fails during it: it may have happened in part.
    fn operate(&mut self) -> io::Result<bool> {
        match &mut self.fuse {
            None => Ok(true),
            Some(0) => Err(power_off()),
            Some(left) => {
                *left -= 1;
                Ok(*left > 0)
            }
        }
    }

    fn handle(&mut self) -> Handle {
        self.handles += 1;
        self.handles
    }

    fn used(&self) -> usize {
        self.names.values().map(|id| self.files[id].seen().len()).sum()
    }

    fn has_room(&self, id: Id, end: usize) -> io::Result<()> {
        let grown = end.saturating_sub(self.files[&id].seen().len());
        let fits = grown == 0 || self.used().saturating_add(grown) <= self.capacity;
        if fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// Whether this sync is the one that fails.
    fn sync_fails(&mut self) -> bool {
        match &mut self.bad_sync {
            None => false,
            Some(0) => {
                self.bad_sync = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn dir_op(&mut self, op: DirOp) -> io::Result<()> {
        let whole = self.operate()?;
        apply(&mut self.names, &op);
        self.pending.push(op);
        if whole { Ok(()) } else { Err(power_off()) }
    }

    fn settle_dir(&mut self, luck: Luck) {
        let pending = std::mem::take(&mut self.pending);
        let picked = luck.pick(&mut self.rng, pending.len());
        for (op, _) in pending.into_iter().zip(picked).filter(|(_, picked)| *picked) {
            apply(&mut self.durable_names, &op);
        }
    }

    fn crash(&mut self) {
        let luck = Luck::draw(&mut self.rng);
        self.settle_dir(luck);
        self.names.clone_from(&self.durable_names);
        for image in self.files.values_mut() {
            image.crash(&mut self.rng);
        }
    }

    fn restart(&mut self) {
        let Self { files, names, durable_names, pending, .. } = self;
        let may_come_back = |id: Id| pending.iter().any(|op| op.id() == Some(id));
        files.retain(|id, _| {
            names.values().chain(durable_names.values()).any(|named| named == id) || may_come_back(*id)
        });
        (self.locked, self.fuse, self.bad_sync, self.capacity) = (false, None, None, usize::MAX);
    }
}

fn apply(names: &mut BTreeMap<String, Id>, op: &DirOp) {
    match op {
        DirOp::Link(name, id) => drop(names.insert(name.clone(), *id)),
        DirOp::Unlink(name) => drop(names.remove(name)),
        DirOp::Rename(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
    }
}

struct Unlock(SimDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.lock_inner().locked = false;
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> Result<Box<dyn Send + Sync>, LogError> {
        if std::mem::replace(&mut self.lock_inner().locked, true) {
            return Err(LogError::InUse { path: self.path("lock"), pid: "1".to_owned() });
        }
        Ok(Box::new(Unlock(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.lock_inner();
        inner.operate()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock_inner();
        inner.operate()?;
        let id = inner.names.get(name).copied().ok_or_else(not_found)?;
        Ok(self.file(id, inner.handle()))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock_inner();
        inner.next += 1;
        let id = inner.next;
        inner.files.insert(id, Image::default());
        inner.dir_op(DirOp::Link(name.to_owned(), id))?;
        Ok(self.file(id, inner.handle()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock_inner();
        let id = inner.names.get(from).copied().ok_or_else(not_found)?;
        inner.dir_op(DirOp::Rename(from.to_owned(), to.to_owned(), id))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock_inner();
        inner.names.get(name).ok_or_else(not_found)?;
        inner.dir_op(DirOp::Unlink(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock_inner();
        if !inner.operate()? {
            let luck = Luck::draw(&mut inner.rng);
            inner.settle_dir(luck);
            return Err(power_off());
        }
        if inner.sync_fails() {
            return Err(io::Error::other("input/output error"));
        }
        if !inner.flaws.no_dir_sync {
            inner.settle_dir(Luck::All);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("sim/{name}")
    }
}

struct SimFile {
    disk: SimDisk,
    id: Id,
    handle: Handle,
}

impl SimFile {
    /// Runs `act` on the file's contents.
    fn with<T>(&self, inner: &mut Inner, act: impl FnOnce(&mut Image) -> T) -> io::Result<T> {
        inner.files.get_mut(&self.id).map(act).ok_or_else(not_found)
    }
}

impl ReadAt for SimFile {
    fn size(&self) -> io::Result<u64> {
        let mut inner = self.disk.lock_inner();
        self.with(&mut inner, |image| image.seen().len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.disk.lock_inner();
        inner.operate()?;
        self.with(&mut inner, |image| image.seen().read_at(offset, buf))?
    }
}

impl DiskFile for SimFile {
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.lock_inner();
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
        inner.has_room(self.id, length)?;
        let whole = inner.operate()?;
        self.with(&mut inner, |image| image.resize(length))?;
        if whole { Ok(()) } else { Err(power_off()) }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.lock_inner();
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        inner.has_room(self.id, offset + bytes.len())?;
        let whole = inner.operate()?;
        let flaws = inner.flaws;
        if flaws.elide_zeros && bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let part = if whole { bytes.len() } else { inner.rng.usize(..=bytes.len() / SECTOR) * SECTOR };
        self.with(&mut inner, |image| {
            if !(flaws.elide_equal_writes && image.holds(offset, &bytes[..part])) {
                image.write(self.handle, offset, &bytes[..part]);
            }
        })?;
        if whole { Ok(()) } else { Err(power_off()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.lock_inner();
        if !inner.operate()? {
            let (luck, mut rng) = (Luck::draw(&mut inner.rng), inner.rng.fork());
            self.with(&mut inner, |image| image.settle(luck, &mut rng))?;
            return Err(power_off());
        }
        if inner.sync_fails() {
            let (luck, mut rng) = (Luck::draw(&mut inner.rng), inner.rng.fork());
            let once = inner.flaws.fail_once;
            self.with(&mut inner, |image| {
                image.fail(self.handle, luck, &mut rng);
                if once {
                    image.forget_failures();
                }
            })?;
            return Err(io::Error::other("input/output error"));
        }
        let done = inner.flaws.no_sync || self.with(&mut inner, |image| image.sync(self.handle))?;
        if done { Ok(()) } else { Err(io::Error::other("input/output error, of an earlier write")) }
    }
}
