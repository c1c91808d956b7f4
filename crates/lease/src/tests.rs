//! Leases against a real catalog, with time as a number.

use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{
    Catalog, CheckDef, CheckRegistration, Command, Deregister, Envelope, InitialStatus, InstanceDef,
    InstanceRegistration, Lease, NodeDef, NodeRegistration, Probe, Register, Snapshot, Status,
};

use crate::{Config, Expired, Leases, RenewError, ReportError};

/// A catalog with one node and its leases; `at` is the time in milliseconds.
struct World {
    catalog: Catalog,
    sequence: u64,
    origin: Instant,
    leases: Leases,
}

impl World {
    fn new() -> World {
        let origin = Instant::now();
        let config = Config { late_sweep: Duration::from_secs(3600), ..Config::default() };
        let leases = Leases::new("n1", config, origin);
        World { catalog: Catalog::default(), sequence: 0, origin, leases }
    }

    fn apply(&mut self, command: Command) {
        self.apply_as("n1", command);
    }

    fn apply_as(&mut self, node: &str, command: Command) {
        self.sequence += 1;
        let sequence = self.sequence;
        let envelope = Envelope { node: node.into(), epoch: 1, sequence, time_ms: 0, command };
        let applied = self.catalog.apply(sequence, &envelope);
        assert!(applied.outcome.is_done(), "{:?}", applied.outcome);
    }

    fn snapshot(&self) -> Snapshot {
        self.catalog.snapshot()
    }

    fn at(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms)
    }

    fn sweep(&self, ms: u64) -> Vec<Expired> {
        self.leases.sweep(&self.snapshot(), self.at(ms))
    }

    /// Sweeps and applies what follows.
    fn sweep_and_apply(&mut self, ms: u64) -> usize {
        let expired = self.sweep(ms);
        for expired in &expired {
            self.apply(expired.command());
        }
        expired.len()
    }

    fn renew(&self, id: &str, ms: u64) -> Result<Duration, RenewError> {
        self.leases.renew(&self.snapshot(), "n1", id, self.at(ms))
    }

    fn report(&self, check: &str, status: Status, output: &str, ms: u64) -> Option<Command> {
        self.leases.report(&self.snapshot(), "n1", check, status, output, self.at(ms)).unwrap()
    }

    /// Reports and applies what follows; true when the log heard of it.
    fn report_and_apply(&mut self, status: Status, output: &str, ms: u64) -> bool {
        let command = self.report("alive", status, output, ms);
        let is_heard = command.is_some();
        command.into_iter().for_each(|command| self.apply(command));
        is_heard
    }

    fn status(&self, check: &str) -> Status {
        self.snapshot().check("n1", check).unwrap().status
    }
}

fn registration(id: &str, ttl_ms: Option<u64>, checks: Vec<CheckRegistration>) -> Command {
    let node = NodeDef::new("n1".into(), "127.0.0.1".into());
    let def = InstanceDef {
        lease: ttl_ms.map(|ttl_ms| Lease { ttl_ms }),
        ..InstanceDef::new(id.into(), "web".into(), 80)
    };
    Command::Register(Box::new(Register {
        node: Some(NodeRegistration { def: node, only_if_absent: true }),
        on: "n1".into(),
        instance: Some(InstanceRegistration { def, replace_checks: false }),
        checks,
    }))
}

fn ttl_check(status: Status, deregister_after_ms: Option<u64>) -> CheckRegistration {
    let def = CheckDef {
        id: "alive".into(),
        name: "alive".into(),
        notes: "".into(),
        service_id: "web-1".into(),
        probe: Probe::Ttl { ttl_ms: 10_000 },
        deregister_after_ms,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    CheckRegistration { def, status: InitialStatus::Keep(status), output: "".into() }
}

#[test]
fn an_instance_that_is_not_renewed_goes() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![]));
    assert_eq!(world.sweep(0), []);
    assert_eq!(world.sweep(59_999), []);
    assert_eq!(world.sweep_and_apply(60_000), 1);
    assert!(world.snapshot().instance("n1", "web-1").is_none());
    assert_eq!(world.sweep(200_000), [], "and that is said once");
    assert!(matches!(world.renew("web-1", 200_000), Err(RenewError::Unknown { .. })));
}

#[test]
fn a_renewal_lasts_a_full_term() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![]));
    world.sweep(0);
    assert_eq!(world.renew("web-1", 30_000), Ok(Duration::from_secs(60)));
    assert_eq!(world.sweep(89_999), []);
    assert_eq!(world.sweep(90_000).len(), 1);
}

#[test]
fn one_may_renew_before_the_sweep_knows_of_the_registration() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![]));
    assert_eq!(world.renew("web-1", 1_000), Ok(Duration::from_secs(60)));
    assert_eq!(world.sweep(60_999), []);
    assert_eq!(world.sweep(61_000).len(), 1);
}

#[test]
fn without_a_lease_there_is_nothing_to_renew() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![]));
    assert_eq!(world.renew("web-1", 0), Ok(Duration::ZERO));
    assert_eq!(world.sweep(u64::from(u32::MAX)), []);
}

#[test]
fn another_nodes_instance_is_not_ours_to_renew() {
    let mut world = World::new();
    world.apply_as("n2", registration("web-1", Some(60_000), vec![]));
    assert_eq!(world.sweep(100_000), []);
    let refused = world.renew("web-1", 0);
    assert_eq!(refused, Err(RenewError::Elsewhere { id: "web-1".into(), owner: "n2".into() }));
}

#[test]
fn a_renewal_that_crosses_the_expiry_is_told_so() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![]));
    world.sweep(0);
    let expired = world.sweep(60_000);
    assert_eq!(world.renew("web-1", 60_001), Err(RenewError::Expired { id: "web-1".into(), ttl_ms: 60_000 }));
    // Registered again before the end was decided: the end is refused, and the new lease is a full one.
    world.apply(registration("web-1", Some(60_000), vec![]));
    assert_eq!(world.renew("web-1", 61_000), Ok(Duration::from_secs(60)));
    world.sequence += 1;
    let (sequence, command) = (world.sequence, expired[0].command());
    let late = Envelope { node: "n1".into(), epoch: 1, sequence, time_ms: 0, command };
    assert!(!world.catalog.apply(sequence, &late).outcome.is_done());
    assert_eq!(world.sweep(120_999), []);
    assert_eq!(world.sweep(121_000).len(), 1);
}

#[test]
fn an_end_that_did_not_come_about_is_proposed_again() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![]));
    world.sweep(0);
    assert_eq!(world.sweep(60_000).len(), 1);
    assert_eq!(world.sweep(61_000), []);
    assert_eq!(world.sweep(65_000).len(), 1);
}

#[test]
fn registering_again_is_a_renewal_and_other_changes_are_not() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![ttl_check(Status::Passing, None)]));
    world.sweep(0);
    world.apply(registration("web-1", Some(60_000), vec![ttl_check(Status::Passing, None)]));
    world.sweep(5_000);
    let output_only = Command::SetStatus {
        node: "n1".into(),
        check: "alive".into(),
        status: Status::Passing,
        output: "news".into(),
    };
    world.apply(output_only);
    world.sweep(9_000);
    assert_eq!(world.sweep(14_999), []);
    assert!(matches!(&world.sweep(15_000)[..], [Expired::Check { .. }]));
    assert!(matches!(&world.sweep(65_000)[..], [Expired::Instance { .. }, Expired::Check { .. }]));
}

#[test]
fn a_restart_gives_every_lease_a_full_term() {
    let mut world = World::new();
    world.apply(registration("web-1", Some(60_000), vec![ttl_check(Status::Passing, None)]));
    world.sweep(0);
    let restarted = Leases::new("n1", Config::default(), world.at(59_000));
    let sweep = |ms| restarted.sweep(&world.snapshot(), world.at(ms));
    assert_eq!(sweep(60_000), []);
    restarted.renew(&world.snapshot(), "n1", "web-1", world.at(61_000)).unwrap();
    for ms in (61..69).map(|s| s * 1000) {
        assert_eq!(sweep(ms), []);
    }
    assert!(matches!(&sweep(70_000)[..], [Expired::Check { .. }]));
}

#[test]
fn a_late_sweep_takes_nothing_away() {
    let mut world = World::new();
    world.leases.config.late_sweep = Duration::from_secs(5);
    world.apply(registration("web-1", Some(60_000), vec![]));
    world.sweep(0);
    assert_eq!(world.sweep(100_000), [], "nobody could have renewed while this node stood still");
    assert_eq!(world.leases.stats().late_sweeps, 1);
    for ms in (101..160).map(|s| s * 1000) {
        assert_eq!(world.sweep(ms), []);
    }
    assert_eq!(world.sweep(160_000).len(), 1);
}

#[test]
fn a_sweep_that_was_announced_to_be_rare_is_not_late() {
    let mut world = World::new();
    world.leases.config.late_sweep = Duration::from_secs(5);
    world.leases.expect_sweeps_every(Duration::from_secs(30));
    world.apply(registration("web-1", Some(60_000), vec![]));
    world.sweep(0);
    assert_eq!(world.sweep(30_000), []);
    assert_eq!(world.leases.unrenewed_for("n1", "web-1", world.at(31_000)), Some(Duration::from_secs(31)));
    assert_eq!(world.sweep(60_000).len(), 1);
    assert_eq!(world.leases.stats().late_sweeps, 0);
    assert_eq!(world.leases.unrenewed_for("n1", "web-1", world.at(61_000)), None);
}

#[test]
fn reports_reach_the_log_only_when_something_changes() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![ttl_check(Status::Critical, None)]));
    world.sweep(0);
    assert!(world.report_and_apply(Status::Passing, "fine", 1_000));
    assert_eq!(world.status("alive"), Status::Passing);
    for second in 2..50 {
        assert!(!world.report_and_apply(Status::Passing, "fine", second * 1_000));
        assert_eq!(world.sweep(second * 1_000), []);
    }
    assert_eq!(world.sweep_and_apply(59_000), 1);
    assert_eq!(world.status("alive"), Status::Critical);
    let output = world.snapshot().check("n1", "alive").unwrap().output.clone();
    assert_eq!(&*output, "TTL expired: no report for 10s; the last one said: fine");
    assert_eq!(world.sweep(100_000), [], "a critical check stays critical without further words");
    assert!(world.report_and_apply(Status::Warning, "back", 101_000));
    assert_eq!(world.sweep(110_999), []);
    assert_eq!(world.sweep(111_000).len(), 1);
}

#[test]
fn a_report_that_crosses_the_expiry_wins() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![ttl_check(Status::Passing, None)]));
    world.sweep(0);
    let expired = world.sweep(10_000);
    // The snapshot still says passing, and yet the report has to be proposed.
    let report = world.report("alive", Status::Passing, "", 10_001).expect("must be proposed");
    world.apply(expired[0].command());
    world.apply(report);
    assert_eq!(world.status("alive"), Status::Passing);
    assert_eq!(world.sweep(20_000), []);
    assert_eq!(world.sweep(20_001).len(), 1);
}

#[test]
fn outputs_are_held_back_and_not_lost() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![ttl_check(Status::Passing, None)]));
    world.sweep(0);
    assert!(world.report_and_apply(Status::Passing, "1", 1_000), "the first one goes at once");
    for second in 2..=300 {
        assert!(!world.report_and_apply(Status::Passing, &second.to_string(), second * 1_000));
        assert_eq!(world.sweep(second * 1_000), []);
    }
    assert_eq!(&*world.leases.output("n1", "alive").unwrap(), "300");
    assert_eq!(&*world.snapshot().check("n1", "alive").unwrap().output, "1");
    assert_eq!(world.sweep_and_apply(301_000), 1);
    assert_eq!(&*world.snapshot().check("n1", "alive").unwrap().output, "300");
    assert!(world.report_and_apply(Status::Warning, "x", 302_000), "a change of status never waits");
}

#[test]
fn a_report_is_not_undone_by_the_registration_before_it() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![ttl_check(Status::Critical, None)]));
    let registered = world.snapshot();
    assert!(world.report_and_apply(Status::Passing, "fine", 1_000));
    world.leases.follow(&registered, world.at(1_001));
    assert_eq!(&*world.leases.output("n1", "alive").unwrap(), "fine");
    world.sweep(1_002);
    assert_eq!(
        (&*world.leases.output("n1", "alive").unwrap(), world.status("alive")),
        ("fine", Status::Passing)
    );
    assert_eq!(world.sweep_and_apply(11_100), 1, "and it lasts its term");
}

#[test]
fn only_ttl_checks_take_reports() {
    let mut world = World::new();
    let mut external = ttl_check(Status::Passing, None);
    external.def.probe = Probe::External;
    world.apply(registration("web-1", None, vec![external]));
    let report =
        |check| world.leases.report(&world.snapshot(), "n1", check, Status::Passing, "", world.at(0));
    assert!(matches!(report("alive"), Err(ReportError::NotTtl { .. })));
    assert!(matches!(report("nothing"), Err(ReportError::Unknown { .. })));
}

#[test]
fn a_check_that_stays_critical_takes_its_instance_away() {
    let mut world = World::new();
    world.apply(registration("web-1", None, vec![ttl_check(Status::Critical, Some(60_000))]));
    world.sweep(0);
    world.report_and_apply(Status::Passing, "", 50_000);
    world.sweep(50_000);
    world.report_and_apply(Status::Critical, "broken", 55_000);
    world.sweep(55_000);
    assert_eq!(world.sweep(114_999), [], "the time counts from the last change to critical");
    assert_eq!(world.sweep_and_apply(115_000), 1);
    assert!(world.snapshot().instance("n1", "web-1").is_none());
    assert_eq!(world.sweep(116_000), []);
    assert_eq!(world.leases.stats().ttl_checks, 0);
}

#[test]
fn what_is_deregistered_leaves_no_slot() {
    let mut world = World::new();
    for id in ["web-1", "web-2", "web-3"] {
        world.apply(registration(id, Some(1_000), vec![]));
    }
    world.sweep(0);
    let before = world.snapshot();
    assert_eq!(world.leases.stats().instances, 3);
    let deregister = Deregister::Instance { node: "n1".into(), id: "web-2".into(), registered_index: None };
    world.apply(Command::Deregister(deregister));
    world.sweep(1);
    assert_eq!(world.leases.stats().instances, 2);
    // Somebody with an older snapshot brings it back: the next expiry finds that nothing is there.
    world.leases.renew(&before, "n1", "web-2", world.at(2)).unwrap();
    assert_eq!(world.sweep(2_000).len(), 2);
    assert_eq!(world.leases.stats().instances, 2);
    let arc: Arc<str> = "n1".into();
    world.apply(Command::Deregister(Deregister::Node { node: arc }));
    world.sweep(2_001);
    assert_eq!(world.leases.stats().instances, 0);
}

#[test]
fn a_check_that_moves_to_another_instance_keeps_its_deadline() {
    let mut world = World::new();
    // The ids order the two changes: a check must survive moving in either direction.
    for (from, to) in [("web-1", "aaa"), ("aaa", "zzz")] {
        let on = |id: &str| {
            let mut check = ttl_check(Status::Passing, None);
            check.def.service_id = id.into();
            registration(id, None, vec![check])
        };
        world.apply(on(from));
        world.sweep(0);
        world.apply(on(to));
        world.sweep(1);
        assert_eq!(world.leases.stats().ttl_checks, 1, "from {from} to {to}");
    }
}
