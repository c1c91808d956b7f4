//! Which rules are intentions, and what either is in the other's words.
//!
//! An intention is a rule about the connections of one name, or of everybody, to one service, or to every one,
//! however they come. Rules about users, networks, schemes and the like have no word in Consul and are not shown.
//! Consul asks the most exact intention first; here the first rule that matches decides. So an intention is put
//! before the first one that is less exact.

use std::sync::Arc;

use catalog::intention::ANY_SERVICE;
use catalog::{Action, Intention as Rule, Place, Source, validate};
use consul::Text;
use consul::connect::Intention;
use consul::instant;

use crate::http::Failure;

/// Consul's word for every service.
pub(super) const EVERY: &str = "*";
/// Label under which a rule keeps the UUID that Consul's clients know it by.
pub(super) const ID: &str = "consul-intention-id";

/// Source and destination of a rule that is an intention.
pub(super) fn ends(rule: &Rule) -> Option<(&str, &str)> {
    if rule.scheme.is_some() || rule.direction.is_some() {
        return None;
    }
    let source = match &rule.source {
        Source::Any => EVERY,
        Source::Identity(name) if validate::label("service name", name).is_ok() => name,
        _ => return None,
    };
    Some((source, if &*rule.service == ANY_SERVICE { EVERY } else { &rule.service }))
}

/// True when a rule is about exactly these two.
pub(super) fn is_of(rule: &Rule, source: &str, destination: &str) -> bool {
    ends(rule).is_some_and(|(s, d)| s == source && d.eq_ignore_ascii_case(destination))
}

/// How exact: Consul's numbers.
pub(super) fn precedence(source: &str, destination: &str) -> u32 {
    match (source, destination) {
        (EVERY, EVERY) => 5,
        (_, EVERY) => 6,
        (EVERY, _) => 8,
        _ => 9,
    }
}

/// The id that Consul's clients know a rule by.
pub(super) fn id(rule: &Rule) -> Option<&Arc<str>> {
    rule.meta.iter().find(|(name, _)| &***name == ID).map(|(_, value)| value)
}

/// A rule in Consul's words, if there are any.
pub(super) fn shown(rule: &Rule) -> Option<Intention> {
    let (source, destination) = ends(rule)?;
    let labels = rule.meta.iter().filter(|(name, _)| &***name != ID);
    Some(Intention {
        id: id(rule).cloned().unwrap_or_default(),
        description: rule.note.clone(),
        source_ns: "default".into(),
        source_name: source.into(),
        destination_ns: "default".into(),
        destination_name: destination.into(),
        source_type: "consul".into(),
        action: rule.action.as_str().into(),
        meta: labels.map(|(name, value)| (name.clone(), value.clone())).collect(),
        precedence: precedence(source, destination),
        created_at: instant::write(rule.created_ms).into(),
        updated_at: instant::write(rule.updated_ms).into(),
        create_index: rule.create_index,
        modify_index: rule.modify_index,
        ..Intention::default()
    })
}

/// An intention as a rule, known to Consul's clients by `id` if that is not empty.
///
/// # Errors
/// 400: it says what rules cannot, or nothing.
pub(super) fn rule(sent: &Intention, id: &str) -> Result<Rule, Failure> {
    let wrong = |why: &str| Err(Failure::bad_request(format!("Invalid intention: {why}")));
    if !sent.permissions.is_empty() {
        return wrong("Permissions are not supported by this server; rules are about connections");
    }
    let tenancies =
        [&sent.source_ns, &sent.destination_ns, &sent.source_partition, &sent.destination_partition];
    if tenancies.into_iter().any(|tenancy| !matches!(&**tenancy, "" | "default")) {
        return wrong("there is no namespace or partition but \"default\"");
    }
    if !sent.source_peer.is_empty() || !sent.source_sameness_group.is_empty() {
        return wrong("cluster peering is not supported by this server");
    }
    if !matches!(&*sent.source_type, "" | "consul") {
        return wrong("SourceType must be set to 'consul'");
    }
    let action = match &*sent.action {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        _ => return wrong("Action must be set to 'allow' or 'deny'"),
    };
    let (source, destination) =
        (name("SourceName", &sent.source_name)?, name("DestinationName", &sent.destination_name)?);
    let source = if source == EVERY { Source::Any } else { Source::Identity(source.into()) };
    let mut rule = Rule::new(action, source, if destination == EVERY { ANY_SERVICE } else { destination });
    rule.note = sent.description.clone();
    let labels = sent.meta.iter().filter(|(name, _)| &***name != ID);
    let id = (!id.is_empty()).then(|| (Arc::from(ID), Arc::from(id)));
    rule.meta = labels.map(|(name, value)| (name.clone(), value.clone())).chain(id).collect();
    Ok(rule)
}

/// A service's name in an intention.
fn name<'a>(field: &str, name: &'a Text) -> Result<&'a str, Failure> {
    if name.is_empty() {
        return Err(Failure::bad_request(format!("Invalid intention: {field} must be set")));
    }
    if &**name != EVERY {
        validate::label("service name", name)
            .map_err(|why| Failure::bad_request(format!("Invalid intention: {field}: {why}")))?;
    }
    Ok(name)
}

/// Where an intention goes among the rules there are, when none is about the same two.
pub(super) fn place<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>, new: &Rule) -> Place {
    let exactness = |rule: &Rule| ends(rule).map(|(source, destination)| precedence(source, destination));
    let own = exactness(new);
    let mut less_exact = rules.filter(|rule| exactness(rule).is_some_and(|other| Some(other) < own));
    less_exact.next().map_or(Place::Last, |rule| Place::Before(rule.id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(source: &str, destination: &str) -> Intention {
        Intention {
            source_name: source.into(),
            destination_name: destination.into(),
            action: "allow".into(),
            ..Intention::default()
        }
    }

    #[test]
    fn an_intention_is_the_same_after_it_was_a_rule() {
        for (source, destination) in [("web", "db"), ("*", "db"), ("web", "*"), ("*", "*")] {
            let back =
                shown(&rule(&sent(source, destination), "an-id").expect("a rule")).expect("an intention");
            assert_eq!(
                (&*back.source_name, &*back.destination_name, &*back.id),
                (source, destination, "an-id")
            );
            assert!(back.meta.is_empty());
        }
    }

    #[test]
    fn what_rules_cannot_say_is_refused() {
        let cannot = [
            Intention { permissions: vec![serde_json::json!({})], ..sent("a", "b") },
            Intention { source_ns: "other".into(), ..sent("a", "b") },
            Intention { source_peer: "far".into(), ..sent("a", "b") },
            Intention { action: "".into(), ..sent("a", "b") },
            sent("", "b"),
            sent("a", ""),
            // Never what a source of ours would be read as.
            sent("uid:0", "b"),
            sent("10.0.0.0/8", "b"),
            sent("spiffe://x/y", "b"),
        ];
        for intention in cannot {
            assert!(rule(&intention, "").is_err(), "{intention:?}");
        }
    }

    #[test]
    fn rules_beyond_consuls_words_are_not_shown() {
        for text in ["uid:5", "node:n1", "10.0.0.0/8", "host:x", "spiffe://a/b/c"] {
            let source = Source::parse(text).expect("a source");
            assert_eq!(shown(&Rule::new(Action::Allow, source, "db")), None, "{text}");
        }
        let mut by_tcp = Rule::new(Action::Allow, Source::Any, "db");
        by_tcp.scheme = Some("tcp".into());
        assert_eq!(shown(&by_tcp), None);
    }

    #[test]
    fn the_more_exact_goes_first() {
        let rules: Vec<_> = [("*", "*"), ("web", "db")]
            .into_iter()
            .map(|(source, destination)| Arc::new(rule(&sent(source, destination), "").expect("a rule")))
            .collect();
        let at =
            |source, destination| place(rules.iter(), &rule(&sent(source, destination), "").expect("a rule"));
        assert_eq!(at("api", "db"), Place::Before("any,*".into()));
        assert_eq!(at("*", "*"), Place::Last);
    }
}
