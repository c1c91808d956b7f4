//! Tokens, policies and roles: what is let in, what follows what, what is kept.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use catalog::acl::{ANONYMOUS, DefaultPolicy, Links, MANAGEMENT};
use catalog::{
    AclCommand, AclPolicy, AclRefusal, AclRole, AclToken, Catalog, Command, Envelope, KeyHash, Outcome,
    Refusal, Topic, checkpoint,
};
use portolan_catalog as catalog;

struct World(Catalog, u64);

impl World {
    fn new() -> World {
        World(Catalog::default(), 0)
    }

    fn at(&mut self, time_ms: u64, command: AclCommand) -> Outcome {
        self.1 += 1;
        let command = Command::Acl(command);
        let envelope = Envelope { node: "n".into(), epoch: 1, sequence: self.1, time_ms, command };
        // As every node gets it.
        let bytes = envelope.encode().expect("encodes");
        let applied = self.0.apply(self.1, &Envelope::decode(&bytes).expect("decodes"));
        let touched = applied.touched.contains(&Topic::Acl);
        assert!(touched || !applied.outcome.is_change(), "whoever watches is woken");
        applied.outcome
    }

    fn apply(&mut self, command: AclCommand) -> Outcome {
        self.at(1000, command)
    }

    fn put(&mut self, accessor: &str, secret: u8, links: Links) -> Outcome {
        self.apply(AclCommand::PutToken { token: Box::new(token(accessor, secret, links)), is_new: true })
    }
}

fn token(accessor: &str, secret: u8, links: Links) -> AclToken {
    AclToken {
        accessor: accessor.into(),
        secret: KeyHash([secret; 32]),
        description: "".into(),
        links,
        local: false,
        expires_ms: None,
        created_ms: 0,
        create_index: 0,
        modify_index: 0,
    }
}

fn policy(id: &str, name: &str) -> Box<AclPolicy> {
    Box::new(AclPolicy {
        id: id.into(),
        name: name.into(),
        description: "".into(),
        rules: "operator = \"read\"".into(),
        datacenters: Vec::new(),
        create_index: 0,
        modify_index: 0,
    })
}

fn to_policy(id: &str) -> Links {
    Links { policies: vec![id.into()], ..Links::default() }
}

#[test]
fn the_first_token_is_made_once_and_again_with_the_index_that_was_told() {
    let mut world = World::new();
    let bootstrap = |accessor: &str, secret, reset| AclCommand::Bootstrap {
        token: Box::new(token(accessor, secret, Links::default())),
        reset,
    };
    assert!(world.apply(bootstrap("a", 1, None)).is_change());
    let first = world.0.snapshot().acl().token("a").cloned().expect("made");
    assert_eq!(*first.links.policies, [MANAGEMENT.into()]);
    let refused = world.apply(bootstrap("b", 2, None));
    assert_eq!(refused, Outcome::Refused(AclRefusal::Bootstrapped { reset: 1 }.into()));
    let wrong = world.apply(bootstrap("b", 2, Some(7)));
    assert_eq!(wrong, Outcome::Refused(AclRefusal::WrongReset { given: 7, reset: 1 }.into()));
    assert!(world.apply(bootstrap("b", 2, Some(1))).is_change());
    let again = world.apply(bootstrap("c", 3, Some(1)));
    assert_eq!(again, Outcome::Refused(AclRefusal::WrongReset { given: 1, reset: 4 }.into()), "once");
}

#[test]
fn a_token_is_known_by_its_secrets_hash_until_it_goes() {
    let mut world = World::new();
    assert!(world.put("a", 1, Links::default()).is_change());
    let found = |world: &World| {
        let now = world.0.snapshot();
        now.acl().token_of_secret(KeyHash([1; 32])).map(|token| token.accessor.clone())
    };
    assert_eq!(found(&world).as_deref(), Some("a"));
    let taken = world.put("b", 1, Links::default());
    assert_eq!(taken, Outcome::Refused(AclRefusal::TokenTaken("SecretID").into()));
    assert!(world.apply(AclCommand::DeleteToken { accessor: "a".into() }).is_change());
    assert_eq!(found(&world), None);
    assert!(!world.apply(AclCommand::DeleteToken { accessor: "a".into() }).is_change());
    assert!(!world.apply(AclCommand::DeleteToken { accessor: ANONYMOUS.into() }).is_done());
}

#[test]
fn the_anonymous_token_and_the_policy_for_everything_are_always_there() {
    let mut world = World::new();
    let now = world.0.snapshot();
    assert!(now.acl().token(ANONYMOUS).is_some() && now.acl().policy(MANAGEMENT).is_some());
    assert!(world.apply(AclCommand::PutPolicy { policy: policy("p", "p"), is_new: true }).is_change());
    let mut anonymous = (**now.acl().token(ANONYMOUS).expect("there")).clone();
    anonymous.links = to_policy("p");
    let change = AclCommand::PutToken { token: Box::new(anonymous), is_new: false };
    assert!(world.apply(change).is_change());
    let now = world.0.snapshot();
    assert_eq!(now.acl().tokens().count(), 1);
    assert_eq!(*now.acl().token(ANONYMOUS).expect("there").links.policies, ["p".into()]);
    assert!(!world.apply(AclCommand::DeletePolicy { id: MANAGEMENT.into() }).is_done());
    let mut weaker = (**now.acl().policy(MANAGEMENT).expect("there")).clone();
    weaker.rules = "".into();
    let change = AclCommand::PutPolicy { policy: Box::new(weaker), is_new: false };
    assert!(!world.apply(change).is_done());
}

#[test]
fn links_lead_somewhere_and_go_with_what_they_lead_to() {
    let mut world = World::new();
    let nowhere = world.put("a", 1, to_policy("p"));
    let no_such = AclRefusal::NoSuchLink { what: "policy", id: "p".into() };
    assert_eq!(nowhere, Outcome::Refused(no_such.into()));
    assert!(world.apply(AclCommand::PutPolicy { policy: policy("p", "p"), is_new: true }).is_change());
    let same_name = world.apply(AclCommand::PutPolicy { policy: policy("q", "p"), is_new: true });
    let taken = AclRefusal::NameTaken { what: "Policy", name: "p".into() };
    assert_eq!(same_name, Outcome::Refused(Refusal::Acl(taken)));
    let role = AclRole {
        id: "r".into(),
        name: "r".into(),
        description: "".into(),
        links: to_policy("p"),
        create_index: 0,
        modify_index: 0,
    };
    assert!(world.apply(AclCommand::PutRole { role: Box::new(role), is_new: true }).is_change());
    let links = Links { roles: vec!["r".into()], ..to_policy("p") };
    assert!(world.put("a", 1, links).is_change());
    assert!(world.apply(AclCommand::DeletePolicy { id: "p".into() }).is_change());
    let now = world.0.snapshot();
    assert!(now.acl().token("a").expect("stays").links.policies.is_empty());
    assert!(now.acl().role("r").expect("stays").links.policies.is_empty());
    assert!(world.apply(AclCommand::DeleteRole { id: "r".into() }).is_change());
    assert!(world.0.snapshot().acl().token("a").expect("stays").links.roles.is_empty());
}

#[test]
fn what_expired_goes_with_the_next_change_and_nothing_moves_without_one() {
    let mut world = World::new();
    let short = AclToken { expires_ms: Some(5000), ..token("a", 1, Links::default()) };
    assert!(world.apply(AclCommand::PutToken { token: Box::new(short), is_new: true }).is_change());
    let before = world.0.snapshot().acl_index();
    assert!(!world.at(4999, AclCommand::SetDefault(DefaultPolicy::Read)).is_change());
    assert_eq!(world.0.snapshot().acl_index(), before);
    world.at(5000, AclCommand::SetDefault(DefaultPolicy::Deny));
    let now = world.0.snapshot();
    assert!(now.acl().token("a").is_none() && now.acl().token_of_secret(KeyHash([1; 32])).is_none());
    assert_eq!(now.acl().default_policy(), DefaultPolicy::Deny);
}

#[test]
fn a_checkpoint_keeps_all_of_it_and_no_secret() {
    let mut world = World::new();
    world.apply(AclCommand::PutPolicy { policy: policy("p", "p"), is_new: true });
    world.put("a", 1, to_policy("p"));
    let now = world.0.snapshot();
    let mut bytes = Vec::new();
    checkpoint::write(&now, &mut bytes).expect("writes");
    assert_eq!(checkpoint::read(&bytes[..]).expect("reads"), now);
}
