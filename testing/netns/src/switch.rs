//! The Ethernet between the hosts, on one thread of the test. Here networks fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::hardware_address;

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Nothing passes when false.
    pub up: bool,
    /// Share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// How much longer a frame takes.
    pub delay: Duration,
    /// Up to how much longer still, at random. Frames keep their order.
    pub jitter: Duration,
}

impl Link {
    /// Everything passes, at once.
    pub const FINE: Link = Link { up: true, loss: 0.0, delay: Duration::ZERO, jitter: Duration::ZERO };
    /// Nothing passes.
    pub const CUT: Link = Link { up: false, ..Link::FINE };
}

/// A switch with a link from every host to every other. It ends with the value.
#[derive(Debug)]
pub struct Switch {
    shared: Arc<Shared>,
    /// Closing it ends the thread.
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    hosts: usize,
}

#[derive(Debug)]
struct Shared {
    /// By sender and receiver.
    links: Mutex<Vec<Vec<Link>>>,
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Vec<Vec<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switch {
    /// Joins the other ends of the hosts' wires, in the hosts' order.
    pub(crate) fn start(wires: Vec<OwnedFd>) -> io::Result<Switch> {
        let hosts = wires.len();
        let shared = Arc::new(Shared { links: Mutex::new(vec![vec![Link::FINE; hosts]; hosts]) });
        let (ended, wake) = rustix::pipe::pipe()?;
        let forwarder =
            Forwarder { wires, ended, shared: shared.clone(), waiting: BinaryHeap::new(), sent: 0 };
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || forwarder.run())?;
        Ok(Switch { shared, wake: Some(wake), thread: Some(thread), hosts })
    }

    /// Sets one direction.
    ///
    /// # Panics
    /// There is no such host.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.shared.links()[from][to] = link;
    }

    /// Sets both directions between two hosts.
    pub fn set_both(&self, one: usize, other: usize, link: Link) {
        self.set(one, other, link);
        self.set(other, one, link);
    }

    /// Sets every direction.
    pub fn set_all(&self, link: Link) {
        self.shared.links().iter_mut().flatten().for_each(|each| *each = link);
    }

    /// Cuts every link between these hosts and the others, both ways.
    pub fn split(&self, part: &[usize]) {
        for one in part {
            for other in (0..self.hosts).filter(|other| !part.contains(other)) {
                self.set_both(*one, other, Link::CUT);
            }
        }
    }

    /// Makes everything well again.
    pub fn heal(&self) {
        self.set_all(Link::FINE);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has shown itself in the test.
            let _ = thread.join();
        }
    }
}

/// A frame that is on its way: due when, in which order, to whom.
type Waiting = (Instant, u64, usize, Vec<u8>);

struct Forwarder {
    wires: Vec<OwnedFd>,
    ended: OwnedFd,
    shared: Arc<Shared>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sent: u64,
}

impl Forwarder {
    fn run(mut self) {
        let mut frame = vec![0; 65_536];
        let mut last_due = vec![vec![Instant::now(); self.wires.len()]; self.wires.len()];
        while self.wait() {
            let now = Instant::now();
            for (from, last_due) in last_due.iter_mut().enumerate() {
                // A wire has the frames of one turn only: the others wait for their turn too.
                for _ in 0..64 {
                    let Ok(length) = rustix::io::read(&self.wires[from], &mut frame[..]) else { break };
                    self.forward(from, &frame[..length], now, last_due);
                }
            }
            self.deliver(Instant::now());
        }
    }

    /// Until something can be read or is due; false when the switch has ended.
    fn wait(&self) -> bool {
        let due = self.waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let timeout = due.and_then(|due| Timespec::try_from(due).ok());
        let mut sources: Vec<PollFd<'_>> =
            self.wires.iter().map(|wire| PollFd::new(wire, PollFlags::IN)).collect();
        sources.push(PollFd::new(&self.ended, PollFlags::IN));
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) => sources.last().is_some_and(|end| end.revents().is_empty()),
            Err(cause) => cause == rustix::io::Errno::INTR,
        }
    }

    fn forward(&mut self, from: usize, frame: &[u8], now: Instant, last_due: &mut [Instant]) {
        let Some(target) = frame.get(..6) else { return };
        let is_group = target[0] & 1 == 1;
        for to in (0..self.wires.len()).filter(|to| *to != from) {
            if !is_group && hardware_address(to as u8) != *target {
                continue;
            }
            let link = self.shared.links()[from][to];
            if !link.up || fastrand::f64() < link.loss {
                continue;
            }
            let due = now + link.delay + link.jitter.mul_f64(fastrand::f64());
            // Never before what was sent earlier: this is one cable.
            last_due[to] = last_due[to].max(due);
            self.sent += 1;
            self.waiting.push(Reverse((last_due[to], self.sent, to, frame.to_vec())));
        }
    }

    fn deliver(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((.., to, frame))) = self.waiting.pop() else { return };
            // A full queue or an interface that is down loses frames, as a real one does.
            let _ = rustix::io::write(&self.wires[to], &frame);
        }
    }
}
