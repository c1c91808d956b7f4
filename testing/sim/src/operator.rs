//! An operator who changes the members: grows, shrinks, replaces what is lost. He loses no majority himself.

use paxos::{Configuration, ServerId};

use crate::event::Event;
use crate::oracle::Violation;
use crate::world::World;

/// Sizes that a cluster may have.
const SIZES: [usize; 5] = [1, 2, 3, 5, 7];

impl World {
    pub(crate) fn operate(&mut self) -> Result<(), Violation> {
        if self.healed_at.is_some() {
            return Ok(());
        }
        let next = self.rng.within(60_000, 500_000);
        self.agenda.after(next, Event::Operate);
        if self.rng.chance(350) && self.hosts.len() < self.plan.founders + 5 {
            self.add_new_host();
        }
        if self.rng.chance(150) {
            self.destroy_one();
        }
        let leader = (0..self.hosts.len()).find(|host| {
            self.hosts[*host].process.as_ref().is_some_and(|process| {
                process.driver.status().leader == Some((self.hosts[*host].identity.server, true))
            })
        });
        let Some(leader) = leader else { return Ok(()) };
        let members = self.draw_members();
        let Some(process) = &mut self.hosts[leader].process else { return Ok(()) };
        let asked = process.driver.handle_reconfigure(members.clone());
        self.trace.say(self.agenda.now, || format!("server {leader} is asked for {members:?}: {asked:?}"));
        self.pump(leader)
    }

    /// Some of the servers that still exist, in a size that clusters have.
    fn draw_members(&mut self) -> Vec<ServerId> {
        let mut there: Vec<ServerId> = (0..self.hosts.len())
            .filter(|host| !self.hosts[*host].gone && !self.hosts[*host].impostor)
            .map(|host| self.hosts[host].identity.server)
            .collect();
        let fits: Vec<usize> = SIZES.into_iter().filter(|size| *size <= there.len()).collect();
        let size = self.rng.pick(&fits).copied().unwrap_or(1);
        while there.len() > size {
            let out = self.rng.below(there.len() as u64) as usize;
            there.swap_remove(out);
        }
        there
    }

    /// A server is lost for good, where a majority survives it.
    fn destroy_one(&mut self) {
        let host = self.rng.below(self.hosts.len() as u64) as usize;
        if self.may_lose(host) {
            self.trace.say(self.agenda.now, || format!("server {host} is destroyed"));
            self.hosts[host].gone = true;
            self.crash(host);
        }
    }

    /// A disk is lost, where a majority survives it. The server comes back as another; in some lifetimes it
    /// claims to be the same, and must not be believed.
    pub(crate) fn wipe(&mut self, host: usize) {
        if !self.may_lose(host) {
            return;
        }
        self.trace.say(self.agenda.now, || format!("server {host} loses its disk"));
        self.crash(host);
        self.hosts[host].disk.wipe();
        self.hosts[host].founders = None;
        if self.variant.reused_identity || self.rng.chance(500) {
            self.hosts[host].impostor = true;
            self.hosts[host].disks += 1;
            self.hosts[host].identity.disk = self.rng.next();
        } else {
            self.hosts[host].gone = true;
            self.add_new_host();
        }
    }

    /// Everybody has let this server go.
    pub(crate) fn released(&mut self, host: usize) {
        let now = self.agenda.now;
        self.trace.say(now, || format!("server {host} may be switched off"));
        // Unless somebody has asked for it again meanwhile.
        if self.healed_at.is_none() && self.rng.chance(500) && self.may_lose(host) {
            self.hosts[host].gone = true;
            self.crash(host);
        }
    }

    /// Whether the cluster can lose a server for good: no change of members is under way, every other member
    /// has taken office, and a majority of them stays.
    fn may_lose(&self, host: usize) -> bool {
        if self.hosts[host].gone || self.hosts[host].impostor {
            return false;
        }
        let Some(newest) = self.newest() else { return false };
        if self.change_under_way(&newest) {
            return false;
        }
        let lost = |at: usize| {
            let host = &self.hosts[at];
            (host.gone || host.impostor) && newest.contains(host.identity.server)
        };
        let lost_members = (0..self.hosts.len()).filter(|at| lost(*at)).count();
        let is_member = newest.contains(self.hosts[host].identity.server);
        lost_members + usize::from(is_member) + newest.majority() <= newest.members().len()
    }

    fn change_under_way(&self, newest: &Configuration) -> bool {
        self.hosts.iter().filter(|host| !host.gone && !host.impostor).any(|host| {
            let seals = |image: &paxos::Image| image.is_sealed();
            let member = newest.contains(host.identity.server);
            let behind = host.disk.image().configuration().is_none_or(|known| known.id < newest.id);
            let sealed = seals(host.disk.image())
                || host.process.as_ref().is_some_and(|process| process.driver.image(seals));
            sealed || (member && behind)
        })
    }
}
