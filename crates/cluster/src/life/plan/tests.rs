//! Simulated lives: seconds pass when told.

use super::*;

/// A cluster as one judge sees it.
struct World {
    judge: Judge,
    members: Vec<Watched>,
    /// Who beats.
    living: Vec<&'static str>,
    /// Who reaches whom on a probe.
    reachable: bool,
    now: Tick,
    wishes: Vec<Wish>,
}

impl World {
    fn new(names: &[&'static str]) -> World {
        let member = |name: &&str| Watched {
            node: Arc::from(*name),
            is_server: matches!(*name, "a" | "b" | "c"),
            epoch: 1,
            down: None,
        };
        let judge = Judge::new(Config::default(), "a");
        let members = names.iter().map(member).collect();
        let mut world =
            World { judge, members, living: names.to_vec(), reachable: false, now: 500, wishes: vec![] };
        world.judge.poll(world.now, true, &world.members);
        world
    }

    /// Seconds pass: the living beat every third, the judge turns every one, probes are answered at once.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1000;
            if (self.now / 1000).is_multiple_of(3) {
                let living = self.living.clone();
                living.iter().for_each(|name| self.judge.handle_beat(name, 1, 0, self.now));
            }
            self.turn(true);
        }
    }

    fn turn(&mut self, leads: bool) {
        for wish in self.judge.poll(self.now, leads, &self.members) {
            match &wish {
                Wish::Probe { target, .. } => self.judge.handle_probe(target, self.reachable, self.now),
                Wish::Down { node, epoch } => self.set_down(node.clone(), Some(*epoch)),
                Wish::Up { node, .. } => self.set_down(node.clone(), None),
                Wish::Held { .. } => {}
            }
            self.wishes.push(wish);
        }
    }

    fn set_down(&mut self, node: Arc<str>, down: Option<u64>) {
        let member = self.members.iter_mut().find(|member| member.node == node);
        member.into_iter().for_each(|member| member.down = down);
    }

    fn down(&self) -> Vec<&str> {
        self.members.iter().filter(|member| member.down.is_some()).map(|member| &*member.node).collect()
    }

    fn kill(&mut self, name: &str) {
        self.living.retain(|living| *living != name);
    }
}

#[test]
fn a_settled_cluster_wishes_nothing() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.pass(600);
    assert_eq!(world.wishes, []);
}

#[test]
fn who_falls_silent_is_probed_and_then_declared_once() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.pass(30);
    world.kill("d");
    world.pass(9);
    assert_eq!(world.down(), [""; 0]);
    assert!(matches!(&world.wishes[..], [Wish::Probe { target, through }]
        if &**target == "d" && through.len() == 2));
    world.pass(5);
    assert_eq!(world.down(), ["d"]);
    world.pass(60);
    let downs = world.wishes.iter().filter(|wish| matches!(wish, Wish::Down { .. })).count();
    assert_eq!(downs, 1);
}

#[test]
fn whom_others_reach_is_not_dead() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.reachable = true;
    world.kill("d");
    world.pass(120);
    assert_eq!(world.down(), [""; 0]);
}

#[test]
fn who_speaks_again_is_back() {
    let mut world = World::new(&["a", "b", "c"]);
    world.kill("b");
    world.pass(20);
    assert_eq!(world.down(), ["b"]);
    world.living.push("b");
    world.pass(4);
    assert_eq!(world.down(), [""; 0]);
    assert_eq!(world.wishes.last(), Some(&Wish::Up { node: "b".into(), epoch: 1 }));
}

#[test]
fn a_judge_that_was_late_gives_a_full_term() {
    let mut world = World::new(&["a", "b", "c"]);
    world.pass(30);
    // This process was stopped for a minute; the others beat into nothing.
    world.now += 60_000;
    world.turn(true);
    assert_eq!(world.wishes, []);
    world.kill("b");
    world.pass(9);
    assert_eq!(world.down(), [""; 0]);
    world.pass(5);
    assert_eq!(world.down(), ["b"]);
}

#[test]
fn a_new_leader_gives_a_full_term() {
    let mut world = World::new(&["a", "b", "c"]);
    world.kill("b");
    for _ in 0..60 {
        world.now += 1000;
        world.turn(false);
    }
    assert_eq!(world.wishes, []);
    world.judge.handle_beat("c", 1, 0, world.now);
    world.pass(9);
    assert_eq!(world.down(), [""; 0]);
    world.pass(5);
    assert_eq!(world.down(), ["b"]);
}

#[test]
fn another_servers_ears_count() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    world.kill("d");
    for _ in 0..40 {
        // Only b hears d, and says so, late.
        world.judge.handle_beat("d", 1, 2_500, world.now);
        world.pass(1);
    }
    assert_eq!(world.down(), [""; 0]);
}

#[test]
fn half_the_world_is_not_declared_dead_at_once() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut world = World::new(&names);
    world.pass(30);
    names[3..].iter().for_each(|name| world.kill(name));
    world.pass(20);
    assert_eq!(world.down().len(), 2);
    let held = world.wishes.iter().filter(|wish| matches!(wish, Wish::Held { .. })).count();
    assert_eq!(held, 1);
    // The network comes back before more were given up.
    world.living.extend(&names[3..]);
    world.pass(6);
    assert_eq!(world.down(), [""; 0]);
    // And who is really gone goes by and by.
    names[3..].iter().for_each(|name| world.kill(name));
    world.pass(200);
    assert_eq!(world.down().len(), 7);
}

#[test]
fn a_member_that_left_is_forgotten_and_strangers_are_not_heard() {
    let mut world = World::new(&["a", "b"]);
    world.judge.handle_beat("stranger", 1, 0, world.now);
    world.members.retain(|member| &*member.node != "b");
    world.pass(60);
    assert_eq!(world.wishes, []);
    assert_eq!(world.judge.report(world.now).len(), 1);
}
