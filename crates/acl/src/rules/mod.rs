//! One policy's text, in HCL or in JSON, with Consul's words.
//!
//! ```text
//! rules    = { named | whole }
//! named    = ( resource | resource "_prefix" ) name "{" "policy" "=" level [ "intentions" "=" level ] "}"
//! whole    = ( "acl" | "keyring" | "mesh" | "operator" | "peering" ) "=" level
//! level    = "deny" | "read" | "list" | "write"
//! ```
//!
//! `list` is for keys alone, `intentions` for services. A word that is not known is refused: a slip of the hand
//! in a denial must not pass for no denial. Everything is bounded: text, nesting, number of rules.

mod hcl;
mod json;
mod lex;
mod read;

use crate::resource::{Level, Resource};

/// Longest text, in bytes.
pub const MAX_RULES: usize = catalog::acl::MAX_RULES;
/// Deepest nesting.
const MAX_DEPTH: usize = 16;
/// Most pairs in one text.
const MAX_PAIRS: usize = 20_000;

/// Why a text is no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not the syntax.
    #[error("Failed to parse ACL rules: at line {line}: {what}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The syntax, and not what rules are made of.
    #[error("{0}")]
    Meaning(String),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub resource: Resource,
    /// Which; empty where there are no names.
    pub name: String,
    /// Whether the name is the beginning of many.
    pub is_prefix: bool,
    /// What it grants.
    pub level: Level,
}

/// The rules of one text, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// Reads a text; an empty one has no rules.
    ///
    /// # Errors
    /// [`Refused`], with the place or the words.
    pub fn parse(text: &str) -> Result<Rules, Refused> {
        if text.len() > MAX_RULES {
            let what = format!("the rules are longer than {MAX_RULES} bytes");
            return Err(Refused::Syntax { line: 1, what });
        }
        let tree = match text.trim_start().starts_with('{') {
            true => json::tree(text)?,
            false => hcl::tree(text)?,
        };
        read::rules(&tree).map(Rules)
    }
}

/// Any bytes: refused, or rules.
pub fn fuzz_rules(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(rules) = Rules::parse(text)
    {
        let rights = crate::Rights::compile(&rules.0, catalog::acl::DefaultPolicy::Deny);
        for Rule { resource, name, is_prefix, level } in &rules.0 {
            let is_denied = |other: &Rule| other.level == Level::Deny && other.resource == *resource;
            // Who is told so is let in, unless another rule about the same denies it.
            if *level == Level::Write && !is_prefix && !rules.0.iter().any(is_denied) {
                assert!(rights.allows(*resource, crate::Right::Write, name));
            }
        }
    }
}

/// What both syntaxes come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    Text(String),
    /// A number or a truth: nothing here wants one.
    Other(String),
    List(Vec<Tree>),
    Block(Vec<(String, Tree)>),
}
