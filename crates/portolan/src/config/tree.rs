//! A parsed file in which every key and value remembers where it stands, whatever the format was.

use std::ops::Range;

use serde_json::{Map, Value};

/// Byte range in the source text.
pub(super) type Span = Range<usize>;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub(super) span: Span,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Table(Vec<Field>),
    List(Vec<Tree>),
    Leaf(Value),
}

/// A key with its value, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) tree: Tree,
}

impl Tree {
    /// The value without its places.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Tree::value).collect()),
            Kind::Table(fields) => {
                let pairs = fields.iter().map(|field| (field.name.clone(), field.tree.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Where `path` stands: the key for `on_key`, else the value. The nearest that exists when the path
    /// goes further than the file.
    pub(super) fn place(&self, path: &[String], on_key: bool) -> Span {
        let Some((first, rest)) = path.split_first() else { return self.span.clone() };
        match &self.kind {
            Kind::Table(fields) => match fields.iter().find(|field| field.name == *first) {
                Some(field) if rest.is_empty() && on_key => field.span.clone(),
                Some(field) => field.tree.place(rest, on_key),
                None => self.span.clone(),
            },
            Kind::List(items) => match first.parse::<usize>().ok().and_then(|index| items.get(index)) {
                Some(item) => item.place(rest, on_key),
                None => self.span.clone(),
            },
            Kind::Leaf(_) => self.span.clone(),
        }
    }
}
