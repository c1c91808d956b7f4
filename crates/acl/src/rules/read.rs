//! From pairs to rules.

use super::{Refused, Rule, Tree};
use crate::resource::{Level, Resource};

/// # Errors
/// [`Refused::Meaning`], in Consul's words where it has some.
pub(super) fn rules(tree: &Tree) -> Result<Vec<Rule>, Refused> {
    let mut rules = Vec::new();
    for (word, value) in pairs(tree, "the rules")? {
        let (stem, is_prefix) = word.strip_suffix("_prefix").map_or((word, false), |stem| (stem, true));
        let unknown = || Refused::Meaning(format!("Invalid rules: there is no resource {word:?}"));
        let resource =
            Resource::parse(stem).filter(|found| *found != Resource::Intention).ok_or_else(unknown)?;
        match (resource.is_named(), is_prefix) {
            (true, _) => named(resource, is_prefix, value, &mut rules)?,
            (false, false) => rules.push(whole(resource, value)?),
            (false, true) => return Err(unknown()),
        }
    }
    Ok(rules)
}

/// Pairs of a block, or of every block in a list.
fn pairs<'a>(tree: &'a Tree, what: &str) -> Result<Vec<(&'a str, &'a Tree)>, Refused> {
    let blocks = match tree {
        Tree::List(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut all = Vec::new();
    for block in blocks {
        let Tree::Block(pairs) = block else {
            return Err(Refused::Meaning(format!("Invalid rules: {what}: a block is expected")));
        };
        all.extend(pairs.iter().map(|(key, value)| (key.as_str(), value)));
    }
    Ok(all)
}

fn whole(resource: Resource, value: &Tree) -> Result<Rule, Refused> {
    let level = level(value).filter(|level| *level != Level::List).ok_or_else(|| {
        Refused::Meaning(format!("Invalid {resource} policy: {}; it is deny, read or write", shown(value)))
    })?;
    Ok(Rule { resource, name: String::new(), is_prefix: false, level })
}

fn named(resource: Resource, is_prefix: bool, value: &Tree, rules: &mut Vec<Rule>) -> Result<(), Refused> {
    let word = if is_prefix { format!("{resource}_prefix") } else { resource.to_string() };
    for (name, body) in pairs(value, &word)? {
        let (mut policy, mut intentions) = (None, None);
        for (field, value) in pairs(body, &format!("{word} {name:?}"))? {
            match field {
                "policy" => policy = Some(value),
                "intentions" if resource == Resource::Service => intentions = Some(value),
                other => {
                    let what = format!("Invalid {word} policy: {name:?} has no field {other:?}");
                    return Err(Refused::Meaning(what));
                }
            }
        }
        let wrong = |what: &str, value: Option<&Tree>| {
            let found = value.map_or("nothing".to_owned(), shown);
            Refused::Meaning(format!("Invalid {word} {what}: {name:?} is to have {found}"))
        };
        let lets_list = resource == Resource::Key;
        let level_of = |value: Option<&Tree>| level(value?).filter(|l| *l != Level::List || lets_list);
        let level = level_of(policy).ok_or_else(|| wrong("policy", policy))?;
        rules.push(Rule { resource, name: name.to_owned(), is_prefix, level });
        if resource == Resource::Service {
            let level = match intentions {
                Some(_) => level_of(intentions).ok_or_else(|| wrong("intentions", intentions))?,
                // Whoever may look at a service may look at who may reach it.
                None => level.min(Level::Read),
            };
            rules.push(Rule { resource: Resource::Intention, name: name.to_owned(), is_prefix, level });
        }
    }
    Ok(())
}

fn level(value: &Tree) -> Option<Level> {
    match value {
        Tree::Text(word) => Level::parse(word),
        _ => None,
    }
}

fn shown(value: &Tree) -> String {
    match value {
        Tree::Text(text) => format!("{text:?}"),
        Tree::Other(text) => text.clone(),
        Tree::List(_) => "a list".to_owned(),
        Tree::Block(_) => "a block".to_owned(),
    }
}
