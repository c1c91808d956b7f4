//! Rules as people write them, and what they come to.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use catalog::acl::DefaultPolicy;
use portolan_acl::{Level, Resource, Right, Rights, Rule, Rules, fuzz_rules};
use proptest::prelude::*;

fn parse(text: &str) -> Vec<Rule> {
    Rules::parse(text).unwrap_or_else(|why| panic!("{why}: {text}")).0
}

fn refused(text: &str) -> String {
    Rules::parse(text).expect_err(text).to_string()
}

fn rights(text: &str) -> Rights {
    Rights::compile(&parse(text), DefaultPolicy::Deny)
}

#[test]
fn both_syntaxes_say_the_same() {
    let hcl = r#"
        # What a deployment needs.
        key_prefix "deploy/" { policy = "write" }
        key "deploy/locked" { policy = "deny" } // but this
        service "web" {
          policy     = "write"
          intentions = "deny"
        }
        /* and
           the rest */
        operator = "read"
        node_prefix "" { policy = "read" }
    "#;
    let json = r#"{
        "key_prefix": {"deploy/": {"policy": "write"}},
        "key": [{"deploy/locked": {"policy": "deny"}}],
        "service": {"web": [{"policy": "write", "intentions": "deny"}]},
        "operator": "read",
        "node_prefix": {"": {"policy": "read"}}
    }"#;
    let sorted = |text| {
        let mut rules = parse(text);
        rules.sort_by_key(|rule| (rule.resource, rule.name.clone(), rule.is_prefix));
        rules
    };
    assert_eq!(sorted(hcl), sorted(json));
    assert_eq!(parse(hcl).len(), 6, "the intention of the service is a rule of its own");
}

#[test]
fn other_forms_of_hcl_are_read_too() {
    assert_eq!(parse("key \"\" { policy = \"list\" }")[0].level, Level::List);
    assert_eq!(parse("key = { \"a\\\"b\\u0063\" = { policy = \"read\" } }")[0].name, "a\"bc");
    assert_eq!(parse("key = [{ a { policy = \"read\" } }, { b { policy = \"deny\" } }]").len(), 2);
    assert_eq!(parse("\"key\" \"x\" { \"policy\" = \"read\", }")[0].name, "x");
}

#[test]
fn what_is_no_rule_is_refused_with_its_place() {
    assert!(refused("key \"a\" {\n policy = \"read\"").contains("line 2"));
    assert!(refused("\n\nkey \"a\" ?").contains("line 3"));
    assert!(refused("key \"a\" { policy = \"foo\" }").starts_with("Invalid key policy"));
    assert!(refused("key \"a\" { }").starts_with("Invalid key policy"));
    assert!(refused("service \"a\" { policy = \"list\" }").starts_with("Invalid service policy"));
    assert!(
        refused("service \"a\" { policy = \"read\" intentions = \"x\" }")
            .starts_with("Invalid service intentions")
    );
    assert!(refused("key_prefx \"a\" { policy = \"deny\" }").contains("there is no resource \"key_prefx\""));
    assert!(refused("key \"a\" { policy = \"read\" polcy = \"deny\" }").contains("no field \"polcy\""));
    assert!(refused("operator = \"list\"").starts_with("Invalid operator policy"));
    assert!(refused("operator_prefix \"\" { policy = \"read\" }").contains("no resource"));
    assert!(refused("intention \"a\" { policy = \"read\" }").contains("no resource"));
    assert!(refused("key \"a\" \"b\" { policy = \"read\" }").contains("no field"));
    assert!(refused("{\"key\": {\"a\": {\"policy\": 1}}}").contains("is to have 1"));
    assert!(refused("{\"key\": {\"a\": ").starts_with("Failed to parse ACL rules"));
    assert!(refused(&"key = ".repeat(100)).starts_with("Failed to parse"));
    assert!(refused(&format!("key {}", "{ a ".repeat(100))).contains("nested deeper"));
    assert!(refused(&format!("x = {}", "[".repeat(100_000))).contains("nested deeper"));
    assert!(refused(&"#".repeat(portolan_acl::MAX_RULES + 1)).contains("longer than"));
}

#[test]
fn the_very_name_counts_before_the_longest_prefix_before_the_default() {
    let rights = rights(
        r#"key_prefix "" { policy = "read" } key_prefix "a/" { policy = "write" }
           key_prefix "a/b/" { policy = "deny" } key "a/b/c" { policy = "read" } key "z" { policy = "deny" }"#,
    );
    let may = |right, key| rights.allows(Resource::Key, right, key);
    assert!(may(Right::Read, "x") && !may(Right::Write, "x"));
    assert!(may(Right::Write, "a/x") && !may(Right::Read, "a/b/x"));
    assert!(may(Right::Read, "a/b/c") && !may(Right::Write, "a/b/c") && !may(Right::Read, "z"));
    assert!(!rights.allows(Resource::Node, Right::Read, "x"), "the default");
    assert!(!rights.allows_under(Resource::Key, Right::Write, "a/"), "something under it is denied");
    assert!(!rights.allows_under(Resource::Key, Right::Write, ""));
    assert!(rights.allows_under(Resource::Key, Right::Write, "a/x"));
    assert!(
        rights.allows_some(Resource::Key, Right::Write) && !rights.allows_some(Resource::Event, Right::Read)
    );
}

#[test]
fn a_denial_wins_over_another_policy_and_otherwise_whoever_grants_more() {
    let both = |one: &str, other: &str| {
        let rules =
            [one, other].map(|level| parse(&format!("key \"a\" {{ policy = \"{level}\" }}"))).concat();
        let rights = Rights::compile(&rules, DefaultPolicy::Allow);
        let may = |right| rights.allows(Resource::Key, right, "a");
        (may(Right::Read), may(Right::List), may(Right::Write))
    };
    for (one, other) in [("deny", "write"), ("write", "deny"), ("deny", "list")] {
        assert_eq!(both(one, other), (false, false, false), "{one} {other}");
    }
    assert_eq!(both("read", "write"), (true, true, true));
    assert_eq!(both("list", "read"), (true, true, false));
}

#[test]
fn defaults_never_open_the_lists_themselves() {
    for default in [DefaultPolicy::Allow, DefaultPolicy::Read, DefaultPolicy::Deny] {
        let rights = Rights::compile(&[], default);
        assert!(!rights.allows(Resource::Acl, Right::Read, ""), "{default:?}");
        let (reads, writes) = (default != DefaultPolicy::Deny, default == DefaultPolicy::Allow);
        for resource in [Resource::Key, Resource::Operator, Resource::Service] {
            assert_eq!(rights.allows(resource, Right::Read, "a"), reads);
            assert_eq!(rights.allows(resource, Right::Write, "a"), writes);
        }
    }
    let read = Rights::compile(&parse("acl = \"read\""), DefaultPolicy::Deny);
    assert!(read.allows(Resource::Acl, Right::Read, "") && !read.allows(Resource::Acl, Right::Write, ""));
    assert!(Rights::everything().allows(Resource::Acl, Right::Write, ""));
}

#[test]
fn whoever_may_look_at_a_service_may_look_at_its_intentions() {
    for (policy, reads) in [("write", true), ("read", true), ("deny", false)] {
        let rights = rights(&format!("service \"web\" {{ policy = \"{policy}\" }}"));
        assert_eq!(rights.allows(Resource::Intention, Right::Read, "web"), reads, "{policy}");
        assert!(!rights.allows(Resource::Intention, Right::Write, "web"));
    }
}

/// What the documentation says, as slowly as it says it.
fn naive(rules: &[Rule], resource: Resource, right: Right, name: &str) -> bool {
    let of = |is_prefix: bool, named: &str| {
        let about =
            rules.iter().filter(|r| r.resource == resource && r.is_prefix == is_prefix && r.name == named);
        about.map(|rule| rule.level).reduce(Level::merged)
    };
    let ends = (0..=name.len()).rev().filter(|end| name.is_char_boundary(*end));
    let level = of(false, name).or_else(|| ends.into_iter().find_map(|end| of(true, &name[..end])));
    level.unwrap_or(Level::Deny).grants(right)
}

fn rule() -> impl Strategy<Value = Rule> {
    let level = prop::sample::select(vec![Level::Deny, Level::Read, Level::List, Level::Write]);
    ("[aä]{0,3}", any::<bool>(), level).prop_map(|(name, is_prefix, level)| Rule {
        resource: Resource::Key,
        name,
        is_prefix,
        level,
    })
}

proptest! {
    /// In whatever order the rules come.
    #[test]
    fn compiled_rules_say_what_the_documentation_says(
        rules in prop::collection::vec(rule(), 0..8), name in "[aä]{0,4}",
    ) {
        let rights = Rights::compile(&rules, DefaultPolicy::Deny);
        for right in [Right::Read, Right::List, Right::Write] {
            let expected = naive(&rules, Resource::Key, right, &name);
            prop_assert_eq!(rights.allows(Resource::Key, right, &name), expected);
            // Whoever may do it to everything under a prefix may do it to each.
            if rights.allows_under(Resource::Key, right, &name) {
                for end in ["", "a", "ä", "aa", "b"] {
                    let longer = format!("{name}{end}");
                    prop_assert!(rights.allows(Resource::Key, right, &longer));
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        fuzz_rules(&bytes);
    }

    #[test]
    fn nearly_rules_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "key", "key_prefix", "service", "operator", "acl", "policy", "intentions", "=", "{", "}", "[", "]",
                ",", "\"\"", "\"a\"", "\"write\"", "\"deny\"", "<<E\n", "E\n", "# x\n", "/*", "*/", "1", "true", ":",
            ]),
            0..24,
        ),
    ) {
        fuzz_rules(words.join(" ").as_bytes());
    }
}
