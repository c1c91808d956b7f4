//! Damage that no crash explains, done to a copy of the disk, and what a start must make of it.

use fastrand::Rng;

use super::{Life, Violation, World};
use crate::disk::ReadAt;
use crate::solo::format::{BatchHeader, MARKS, SECTOR};
use crate::solo::names::Name;
use crate::solo::scan::{Found, Scan, read_head};
use crate::{Index, LogError};

/// What a start must do about one piece of damage.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// It starts, and nothing is missing.
    Intact,
    /// It names the file, and the offset where that is sure.
    Refused(Option<u64>),
    /// Either of these two.
    RefusedOrIntact,
    /// It starts from an older checkpoint and says so; nothing is missing.
    FallsBack,
    /// It starts without the last batch, whose first index this is; or it refuses, knowing better.
    MayLoseFrom(Index),
}

/// A segment that a start needs.
struct Segment {
    name: String,
    length: usize,
    batches: Vec<BatchHeader>,
    /// It is the one that is being written.
    active: bool,
}

impl Segment {
    /// Whether a batch at `from` or behind says that `offset` was synced.
    fn proves(&self, offset: u64, from: u64) -> bool {
        self.batches.iter().any(|batch| batch.start >= from && batch.synced > offset)
    }
}

/// What lies on the disk, read with the eyes of one who knows that it is good.
struct Layout {
    segments: Vec<Segment>,
    /// Names of checkpoints, newest first.
    checkpoints: Vec<String>,
    /// All names, with sizes.
    files: Vec<(String, usize)>,
}

fn layout(world: &World) -> Option<Layout> {
    let contents = world.disk.contents();
    let files: Vec<(String, usize)> =
        contents.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect();
    let mut segments = Vec::new();
    let (mut checkpoints, mut base) = (Vec::new(), 0);
    for name in contents.keys() {
        match Name::parse(name) {
            Name::Segment(first) => segments.push((first, name)),
            Name::Checkpoint(index) => {
                checkpoints.insert(0, name.clone());
                base = index;
            }
            _ => {}
        }
    }
    let begin = segments.partition_point(|(first, _)| *first <= base + 1).checked_sub(1)?;
    let needed = &segments[begin..];
    let mut ends = needed.iter().skip(1).map(|(_, name)| {
        let bytes: &[u8] = &contents[*name];
        read_head(&bytes, &world.integrity).ok().and_then(Result::ok).map(|head| head.header.previous_end)
    });
    let mut read = Vec::new();
    for (_, name) in needed {
        let bytes: &[u8] = &contents[*name];
        let head = read_head(&bytes, &world.integrity).ok()?.ok()?;
        let active = read.len() + 1 == needed.len();
        let end = if active { head.header.length } else { ends.next()?? };
        let mut scan = Scan::new(&bytes as &dyn ReadAt, &head.header, end, &world.integrity);
        let mut batches = Vec::new();
        while let Ok(Found::Batch(batch, _)) = scan.step() {
            batches.push(batch);
        }
        read.push(Segment { name: (*name).clone(), length: bytes.len(), batches, active });
    }
    Some(Layout { segments: read, checkpoints, files })
}

/// Tries a few kinds of damage on copies of the world's disk.
pub(super) fn try_some(world: &mut World) -> Result<(), Violation> {
    // No segment yet: the first start was cut short.
    let Some(layout) = layout(world) else { return Ok(()) };
    let mut rng = world.rng.fork();
    for _ in 0..3 {
        world.stats.trials += 1;
        match rng.u8(..10) {
            0 => truncate(world, &layout, &mut rng)?,
            1 => lose(world, &layout, &mut rng)?,
            2 => zero(world, &layout, &mut rng)?,
            _ => flip(world, &layout, &mut rng)?,
        }
    }
    Ok(())
}

fn flip(world: &mut World, layout: &Layout, rng: &mut Rng) -> Result<(), Violation> {
    let (name, bit) = match rng.u8(..10) {
        0 => {
            let (name, size) = &layout.files[rng.usize(..layout.files.len())];
            (name, rng.usize(..(size * 8).max(1)))
        }
        1 if !layout.checkpoints.is_empty() => {
            let name = &layout.checkpoints[rng.usize(..layout.checkpoints.len())];
            let size = layout.files.iter().find(|(n, _)| n == name).map_or(1, |(_, size)| *size);
            (name, rng.usize(..(size * 8).max(1)))
        }
        2 => (&layout.segments[rng.usize(..layout.segments.len())].name, rng.usize(..3 * SECTOR * 8)),
        _ => {
            let segment = &layout.segments[rng.usize(..layout.segments.len())];
            let place = segment.batches.get(rng.usize(..segment.batches.len().max(1)));
            let at = place.map_or(0, |batch| batch.start as usize * 8 + rng.usize(..batch.length() * 8));
            (&segment.name, at)
        }
    };
    let verdict = judge_flip(layout, name, bit / 8);
    let disk = world.disk.fork();
    disk.flip(name, bit);
    check(world, disk, name, &verdict).map_err(|e| format!("bit {bit} of {name} flipped: {e}"))
}

fn judge_flip(layout: &Layout, name: &str, byte: usize) -> Verdict {
    if layout.checkpoints.first().is_some_and(|newest| newest == name) {
        return Verdict::FallsBack;
    }
    let Some(segment) = layout.segments.iter().find(|segment| segment.name == name) else {
        return Verdict::Intact;
    };
    if byte < SECTOR {
        return Verdict::Refused(Some(0));
    }
    let hit = |batch: &&BatchHeader| {
        (batch.start as usize..batch.start as usize + batch.unpadded()).contains(&byte)
    };
    match segment.batches.iter().find(hit) {
        None => {
            debug_assert!(byte >= MARKS[0] as usize);
            Verdict::Intact
        }
        Some(batch) if segment.active && !segment.proves(batch.start, batch.start + 1) => {
            Verdict::MayLoseFrom(batch.first)
        }
        Some(batch) => Verdict::Refused(Some(batch.start)),
    }
}

fn truncate(world: &mut World, layout: &Layout, rng: &mut Rng) -> Result<(), Violation> {
    let segment = &layout.segments[rng.usize(..layout.segments.len())];
    let length = rng.usize(..segment.length);
    let disk = world.disk.fork();
    disk.truncate(&segment.name, length);
    check(world, disk, &segment.name, &Verdict::Refused(None))
        .map_err(|e| format!("{} truncated to {length}: {e}", segment.name))
}

fn lose(world: &mut World, layout: &Layout, rng: &mut Rng) -> Result<(), Violation> {
    let telling =
        |name: &str| matches!(Name::parse(name), Name::Segment(_) | Name::Checkpoint(_) | Name::Spare(_));
    if layout.files.iter().filter(|(name, _)| telling(name)).count() == 1 {
        // A directory without files is an empty log: there is nothing to tell it by.
        return Ok(());
    }
    let (name, _) = &layout.files[rng.usize(..layout.files.len())];
    let disk = world.disk.fork();
    disk.lose(name);
    check(world, disk, "", &Verdict::RefusedOrIntact).map_err(|e| format!("{name} lost: {e}"))
}

/// Zeroes whole batches in front of one that is known to have been synced.
fn zero(world: &mut World, layout: &Layout, rng: &mut Rng) -> Result<(), Violation> {
    let segment = &layout.segments[rng.usize(..layout.segments.len())];
    let known = world.acknowledged.len() as u64;
    let proof = segment.batches.iter().rposition(|batch| batch.count > 0 && batch.next() <= known + 1);
    let Some(proof) = proof.filter(|&proof| proof > 0) else { return Ok(()) };
    let first = rng.usize(..proof);
    let start = segment.batches[first].start;
    let behind = segment.batches[rng.usize(first + 1..=proof)].start;
    if !segment.proves(start, behind) {
        return Ok(());
    }
    let range = start as usize..behind as usize;
    let disk = world.disk.fork();
    disk.zero(&segment.name, range.clone());
    check(world, disk, &segment.name, &Verdict::Refused(Some(start)))
        .map_err(|e| format!("{range:?} of {} zeroed: {e}", segment.name))
}

fn check(
    world: &mut World,
    disk: crate::sim::SimDisk,
    name: &str,
    verdict: &Verdict,
) -> Result<(), Violation> {
    let refused_here = |error: &LogError, place: Option<u64>| match error {
        LogError::Damaged { path, offset, synced, .. } => {
            path.ends_with(name) && place.is_none_or(|place| place == *offset && *synced > place)
        }
        _ => false,
    };
    match (Life::open(&disk, &world.integrity), verdict) {
        (Ok(life), Verdict::MayLoseFrom(first)) => {
            world.verify_bytes(&life)?;
            let known = world.acknowledged.len() as u64;
            world.stats.cut_by_damage += u64::from(life.last() < known);
            let enough = life.last() >= known.min(first - 1);
            if enough { Ok(()) } else { Err(format!("only {} entries are left", life.last())) }
        }
        (Ok(_), Verdict::Refused(_)) => Err("it starts all the same".to_owned()),
        (Ok(life), verdict) => {
            let mut observer = World { checkpoint: 0, ..World::new(0, super::Variant::default()) };
            observer.acknowledged.clone_from(&world.acknowledged);
            observer.under_way.clone_from(&world.under_way);
            observer.verify(&life)?;
            if *verdict == Verdict::FallsBack {
                world.stats.fell_back += 1;
                let said = life.warnings.iter().any(|warning| warning.contains(name));
                return if said { Ok(()) } else { Err(format!("no warning: {:?}", life.warnings)) };
            }
            Ok(())
        }
        (Err(error), Verdict::Refused(place)) if refused_here(&error, *place) => {
            world.stats.refused += 1;
            Ok(())
        }
        (Err(LogError::Damaged { .. }), Verdict::RefusedOrIntact) => Ok(()),
        // A mark or a checkpoint proves that the last batch was synced.
        (Err(error), Verdict::MayLoseFrom(_)) if refused_here(&error, None) => Ok(()),
        (Err(error), verdict) => Err(format!("{verdict:?} is due, but: {}", crate::error_chain(&error))),
    }
}
