use std::sync::Arc;

use consul::listing::{CatalogService, HealthCheck, ServiceEntry};
use proptest::prelude::*;

use super::*;

fn sample() -> CatalogService {
    let text = |text: &str| Arc::<str>::from(text);
    CatalogService {
        node: text("n1"),
        service_name: text("web"),
        service_tags: vec![text("v1.2"), text("blue")],
        service_port: 80,
        service_meta: [(text("env"), text("prod")), (text("a.b"), text("c"))].into(),
        ..CatalogService::default()
    }
}

fn lets(expression: &str) -> Result<bool, String> {
    Filter::parse(expression).map(|filter| filter.lets(&sample())).map_err(|refused| refused.to_string())
}

#[test]
fn what_passes() {
    let passing = [
        "",
        "ServiceName == web",
        "ServiceName==\"web\"",
        "ServiceName == `web`",
        "ServiceName != db",
        "ServiceName matches \"^w.b$\"",
        "ServiceName not matches `^x`",
        "ServiceName contains eb",
        "\"eb\" in ServiceName",
        "ServicePort == 80",
        "ServicePort != 81",
        "ServiceTags contains blue",
        "blue in ServiceTags",
        "\"v1.2\" in ServiceTags",
        "v1.2 in ServiceTags",
        "red not in ServiceTags",
        "ServiceTags is not empty",
        "NodeMeta is empty",
        "ServiceMeta.env == prod",
        "ServiceMeta[\"a.b\"] == c",
        "env in ServiceMeta",
        "ServiceMeta contains env",
        "ServiceMeta.missing != x",
        "ServiceMeta.missing is empty",
        "ServiceWeights.Passing == 1",
        "ServiceEnableTagOverride == false",
        "not ServiceName == db",
        "ServiceName == db or ServicePort == 80 and Node == n1",
        "(ServiceName == db or ServicePort == 80) and Node == n1",
        "NOT (ServiceName == db AND Node == n1)",
        "ServiceAddress is empty",
        "ServiceTaggedAddresses.lan.Port != 80",
        "ServiceProxy.DestinationServiceName == \"\"",
        "ServiceProxy.MeshGateway.Mode is empty and ServiceProxy.LocalServicePort == 0",
        "ServiceProxy.Upstreams is empty",
        "not ServiceProxy.Upstreams.DestinationName == db",
        "PeerName is empty and ServiceSocketPath is empty",
    ];
    for expression in passing {
        assert_eq!(lets(expression), Ok(true), "{expression}");
    }
    let failing = [
        "ServiceName == WEB",
        "ServiceMeta.missing == x",
        "ServiceMeta.missing is not empty",
        "red in ServiceTags",
        "ServiceProxy.Upstreams.DestinationName != db",
        "ServiceName == db and ServicePort == 80 or Node == n2",
        "not not ServiceName == db",
    ];
    for expression in failing {
        assert_eq!(lets(expression), Ok(false), "{expression}");
    }
}

#[test]
fn what_is_refused_and_where() {
    let refused = [
        (
            "ServiceProxy.Upstreams.Nope == 1",
            "at character 1: Selector \"ServiceProxy.Upstreams.Nope\" is not valid",
        ),
        ("Foo == 1", "at character 1: Selector \"Foo\" is not valid"),
        ("Node == n1 and Foo.x == 1", "at character 16: Selector \"Foo.x\" is not valid"),
        ("ServiceMeta.a.b == 1", "at character 1: Selector \"ServiceMeta.a.b\" is not valid"),
        (
            "ServicePort matches 8",
            "at character 1: Invalid match operator \"Matches\" for selector \"ServicePort\"",
        ),
        ("ServiceTags == a", "at character 1: Invalid match operator \"Equal\" for selector \"ServiceTags\""),
        (
            "ServiceWeights == 1",
            "at character 1: Invalid match operator \"Equal\" for selector \"ServiceWeights\"",
        ),
        (
            "ServicePort is empty",
            "at character 1: Invalid match operator \"Is Empty\" for selector \"ServicePort\"",
        ),
        (
            "ServiceEnableTagOverride == tru",
            "at character 1: Failed to coerce value \"tru\" for selector \"ServiceEnableTagOverride\": it is no boolean",
        ),
        ("ServiceName = web", "at character 13: '=' must be followed by '=': comparisons are == and !="),
        ("((ServicePort==80", "at character 18: the closing parenthesis is missing"),
        ("ServicePort==80)", "at character 16: there is no opening parenthesis for this one"),
        ("ServiceName == \"web", "at character 16: the closing quote is missing"),
        ("ServiceName == web Node == n1", "at character 20: expected \"and\", \"or\" or the end"),
        ("ServiceName ==", "at character 15: expected a value"),
        ("and", "at character 4: expected one of ==, !=, in, not in, contains, matches, is empty"),
        (
            "ServiceName; drop",
            "at character 12: ';' is not expected here; put values with such characters in quotes",
        ),
    ];
    for (expression, error) in refused {
        assert_eq!(lets(expression), Err(error.to_owned()), "{expression}");
    }
    assert!(
        lets("ServiceName matches \"w(\"")
            .expect_err("a bad pattern")
            .contains("Failed to compile regular expression")
    );
}

#[test]
fn limits_hold() {
    assert!(lets(&"(".repeat(4000)).expect_err("too deep").contains("nested deeper"));
    assert!(lets(&"not ".repeat(1000)).expect_err("too deep").contains("nested deeper"));
    assert!(lets(&format!("Node == {}", "x".repeat(5000))).expect_err("too long").contains("longer than"));
    let many = vec!["Node == n1"; 200].join(" or ");
    assert!(lets(&many).expect_err("too many").contains("more than 128 comparisons"));
    let huge = "ServiceName matches \"(((a{100}){100}){100}){100}\"";
    assert!(lets(huge).expect_err("too large a pattern").contains("Failed to compile"));
}

#[test]
fn a_list_passes_when_any_element_does() {
    let check = |status: &str| HealthCheck { status: status.into(), ..HealthCheck::default() };
    let entry = ServiceEntry { checks: vec![check("passing"), check("critical")], ..ServiceEntry::default() };
    let lets = |text: &str| Filter::<ServiceEntry>::parse(text).expect("reads").lets(&entry);
    assert!(lets("Checks.Status == critical") && lets("Checks.Status != critical"));
    assert!(!lets("Checks.Status == warning") && !lets("not Checks.Status == critical"));
    assert!(lets("Checks is not empty"));
    assert!(Filter::<ServiceEntry>::parse("Checks.Foo == x").is_err());
    assert!(
        !Filter::<ServiceEntry>::parse("Checks.Status != x").expect("reads").lets(&ServiceEntry::default())
    );
}

proptest! {
    /// Words of the language in any order are read or refused, and never anything else.
    #[test]
    fn any_words_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "and", "or", "not", "in", "is", "empty", "contains", "matches", "==", "!=", "(", ")", "[", "]",
                ".", "Node", "ServiceTags", "ServiceMeta", "Checks", "\"x\"", "`y`", "80", "Node.Node", "\"",
            ]),
            0..24,
        ),
    ) {
        crate::fuzz::filter(words.join(" ").as_bytes());
        crate::fuzz::filter(words.concat().as_bytes());
        let _ = lets(&words.join(" "));
    }

    /// `not` turns every verdict round.
    #[test]
    fn not_turns_it_round(port in 0u64..200, name in "[a-z]{1,4}") {
        for test in [format!("ServicePort == {port}"), format!("ServiceName contains {name}")] {
            prop_assert_eq!(lets(&test).map(|verdict| !verdict), lets(&format!("not {test}")));
        }
    }
}
