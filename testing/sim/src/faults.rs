//! What breaks, and how it is mended.

use crate::event::Event;
use crate::host::Step;
use crate::net::{pair_of, side_of};
use crate::oracle::Violation;
use crate::plan::Fault;
use crate::world::World;

impl World {
    /// Something breaks, and the next fault is set.
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        if self.healed_at.is_some() {
            return Ok(());
        }
        let next = self.rng.below(self.plan.fault_every_us * 2);
        self.agenda.after(next, Event::Fault);
        let Some(kind) = self.rng.pick(&self.plan.faults.clone()).copied() else { return Ok(()) };
        let host = self.rng.below(self.hosts.len() as u64) as usize;
        let other = self.rng.below(self.hosts.len() as u64) as usize;
        self.trace.say(self.agenda.now, || format!("{kind:?} at server {host} (and {other})"));
        match kind {
            Fault::Crash => self.crash(host),
            Fault::CrashAtStep => self.die_soon(host),
            Fault::CutOneWay => self.cut(host, other),
            Fault::Cut => {
                self.cut(host, other);
                self.cut(other, host);
            }
            Fault::Isolate => {
                for peer in 0..self.hosts.len() {
                    self.cut(host, peer);
                    self.cut(peer, host);
                }
            }
            Fault::Partition => self.partition(),
            Fault::SlowLink => self.slow_link(host, other),
            Fault::ResetSession if host != other => self.end_session(pair_of(host, other)),
            Fault::ResetSession => {}
            Fault::SlowDisk => {
                self.hosts[host].slow_disk_us = self.rng.within(10_000, 500_000);
                self.recover_later(host);
            }
            Fault::SkewClock => {
                let (now, ppm) = (self.now(), self.rng.within(700_000, 1_400_000));
                self.hosts[host].set_rate(now, ppm);
            }
            Fault::Pause => {
                self.hosts[host].paused_until = self.now() + self.rng.within(20_000, 900_000);
            }
            Fault::Wipe => self.wipe(host),
        }
        Ok(())
    }

    /// A server dies: of its writes, only what was synced is sure to survive.
    pub(crate) fn crash(&mut self, host: usize) {
        let now = self.now();
        let Some(process) = self.hosts[host].process.take() else { return };
        self.counts.crashes += 1;
        self.trace.say(now, || format!("server {host} dies"));
        let under_way = process.turn.as_ref().map(|turn| turn.batch());
        self.hosts[host].disk.crash(under_way, &mut self.rng);
        self.hosts[host].paused_until = 0;
        self.hosts[host].die_at = None;
        for other in 0..self.hosts.len() {
            if other != host {
                self.end_session(pair_of(host, other));
            }
        }
        let life = self.hosts[host].life;
        if !self.hosts[host].gone {
            let delay = self.rng.within(1_000, 1_200_000);
            self.agenda.after(delay, Event::Restart { host, life });
        }
    }

    fn die_soon(&mut self, host: usize) {
        let some = self.rng.below(6) as usize;
        let step = if self.rng.chance(300) { Step::Persisted } else { Step::Effects(some) };
        self.hosts[host].die_at = Some(step);
    }

    fn cut(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let pair = pair_of(from, to);
        let from = side_of(pair, from);
        let state = self.net.pair(pair);
        state.cut[from] = true;
        let session = state.session;
        let silence = self.rng.within(50_000, 600_000);
        self.agenda.after(silence, Event::Silent { pair, session });
        let lasts = self.rng.within(20_000, 1_500_000);
        self.agenda.after(lasts, Event::Mend { pair, from });
    }

    fn partition(&mut self) {
        let half: Vec<bool> = (0..self.hosts.len()).map(|_| self.rng.chance(500)).collect();
        for a in 0..half.len() {
            for b in 0..half.len() {
                if half[a] != half[b] {
                    self.cut(a, b);
                }
            }
        }
    }

    fn slow_link(&mut self, host: usize, other: usize) {
        if host != other {
            let pair = pair_of(host, other);
            self.net.pair(pair).slow_us = self.rng.within(5_000, 250_000);
            let lasts = self.rng.within(50_000, 1_500_000);
            self.agenda.after(lasts, Event::Quicken { pair });
        }
    }

    fn recover_later(&mut self, host: usize) {
        let lasts = self.rng.within(50_000, 1_500_000);
        self.agenda.after(lasts, Event::Recover { host });
    }

    pub(crate) fn recover(&mut self, host: usize) {
        self.hosts[host].slow_disk_us = 0;
    }

    /// From here on nothing breaks, and everything that can come back does.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        let now = self.now();
        self.trace.say(now, || "everything is mended".to_owned());
        self.healed_at = Some(now);
        self.net.heal();
        for host in 0..self.hosts.len() {
            self.hosts[host].slow_disk_us = 0;
            self.hosts[host].paused_until = 0;
            self.hosts[host].die_at = None;
            self.hosts[host].set_rate(now, 1_000_000);
            let life = self.hosts[host].life;
            self.agenda.after(1_000, Event::Restart { host, life });
        }
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                let pair = pair_of(a, b);
                self.unstall(pair);
                // Some sessions end once more, about when the last commands are under way: what they lose no
                // later traffic brings to light.
                if self.rng.chance(300) {
                    let soon = self.rng.within(440_000, 560_000);
                    self.agenda.after(soon, Event::Jolt { pair });
                }
            }
        }
        self.agenda.after(700_000, Event::Check);
        Ok(())
    }
}
