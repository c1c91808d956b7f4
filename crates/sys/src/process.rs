//! What this process may and where it runs.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Raises the limit of open descriptors as far as it goes without privilege; returns what holds then.
///
/// # Errors
/// The kernel's.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum })?;
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Keeps glibc from raising its threshold for allocations that are given back to the kernel when freed.
///
/// By default the threshold follows the largest block that was freed, up to 32 MiB: a table that grew once
/// makes all later ones part of the heap, where they leave holes that stay resident. Does nothing where the
/// C library is another.
pub fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    {
        const THRESHOLD_BYTES: libc::c_int = 128 * 1024;
        // SAFETY: mallopt(3) takes two numbers, changes a setting of the allocator, and touches no memory of
        // ours. A refusal leaves the default in place, which is correct, only larger.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES) };
    }
}

/// Gives freed memory back to the kernel, wherever in the heap it lies. It looks through all of the heap and keeps
/// those who allocate waiting meanwhile: some milliseconds for each 100 MB. Does nothing where the C library is
/// another.
pub fn give_free_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim(3) takes a number, locks the allocator as any allocation does, and gives back only
        // pages that nothing allocated lies on.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Processor time that this process has taken so far, all threads together.
pub fn time_taken() -> Duration {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(taken).unwrap_or_default()
}

/// Numbers of the processors that this thread may run on, in order.
///
/// # Errors
/// The kernel's.
pub fn processors() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// The kernel's, also when this thread may not run there.
pub fn stay_on(processor: usize) -> io::Result<()> {
    if processor >= CpuSet::MAX_CPU {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("there is no processor {processor}"),
        ));
    }
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

/// Asks for short turns on the processor for the calling thread and those that it starts. It is not given more of the
/// processor, but runs at once when it has something to do, before whoever takes long turns.
///
/// Older kernels than 6.12 give everybody the same turns, and ignore it.
///
/// # Errors
/// The kernel's.
pub fn take_short_turns() -> io::Result<()> {
    const SHORT_NS: u64 = 200_000;
    set_turn(SHORT_NS)
}

/// Asks for the kernel's usual turns for the calling thread and those that it starts: for work in bulk.
///
/// # Errors
/// The kernel's.
pub fn take_usual_turns() -> io::Result<()> {
    set_turn(0)
}

/// `sched_setattr(2)`: the length of a turn is the field that deadline scheduling calls runtime.
fn set_turn(nanoseconds: u64) -> io::Result<()> {
    // SAFETY: the structure consists of numbers; all zeros is one of its values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: the kernel writes at most `size` bytes, which is how long the structure is.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = nanoseconds;
    // SAFETY: the kernel reads as many bytes as the field `size` says, which it has just written itself.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user whose rights this process has.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 64th of many small blocks stays, so that none of the heaps can shrink at its end.
    #[cfg(target_env = "gnu")]
    #[test]
    fn holes_between_what_lives_are_given_back() {
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
        };
        let blocks: Vec<Box<[u8; 1024]>> = (0..64 * 1024).map(|_| Box::new([1; 1024])).collect();
        let stay: Vec<_> = blocks.into_iter().enumerate().filter(|(n, _)| n % 64 == 0).collect();
        let before = resident();
        give_free_memory_back();
        assert!(resident() + (40 << 20) < before, "{} of {before} bytes are left", resident());
        drop(stay);
    }

    #[test]
    fn work_takes_time() {
        let before = time_taken();
        while time_taken() < before + Duration::from_millis(5) {}
    }

    #[test]
    fn the_limit_is_at_its_maximum_afterwards() {
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), limit);
    }

    #[test]
    fn a_thread_stays_where_it_is_told() {
        std::thread::spawn(|| {
            let first = processors().unwrap()[0];
            stay_on(first).unwrap();
            assert_eq!(processors().unwrap(), vec![first]);
        })
        .join()
        .unwrap();
        assert!(stay_on(1 << 20).is_err());
    }
}
