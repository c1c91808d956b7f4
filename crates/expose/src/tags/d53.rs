//! `d53-a www.example.org`: a public name of a service. D53's words, in both of their forms.

use std::sync::Arc;

use catalog::exposure::public_name;

use super::sexpr::SyntaxError;
use crate::wish::NameKind;

const HEADS: [(&str, NameKind); 3] =
    [("d53-a", NameKind::A), ("d53-aaaa", NameKind::Aaaa), ("d53-cname", NameKind::Cname)];

/// True when the tag's first word is one of ours.
pub fn is_meant(tag: &str) -> bool {
    tag.split_whitespace().next().is_some_and(|head| HEADS.iter().any(|(name, _)| *name == head))
}

/// Reads `d53-a <name>`, or the older `d53-a <domain> <subdomain>`.
///
/// # Errors
/// [`SyntaxError`] with the column of the word that is wrong.
pub fn read(tag: &str) -> Result<(NameKind, Arc<str>), SyntaxError> {
    let words: Vec<(usize, &str)> = words(tag).collect();
    let fail = |column, why: &str| Err(SyntaxError { column, why: why.to_owned() });
    let [(_, head), rest @ ..] = words.as_slice() else { return fail(1, "an empty tag") };
    let Some((_, kind)) = HEADS.iter().find(|(name, _)| name == head) else {
        return fail(1, "d53-a, d53-aaaa or d53-cname is due");
    };
    let (column, name) = match rest {
        [] => return fail(tag.chars().count() + 1, "a name is missing"),
        [(column, name)] => (*column, (*name).to_owned()),
        [(column, domain), (_, sub)] => (*column, format!("{sub}.{domain}")),
        [_, _, (column, _), ..] => return fail(*column, "more than a name"),
    };
    match public_name(&name) {
        Ok(name) => Ok((*kind, name)),
        Err(why) => fail(column, why),
    }
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| {
        let offset = word.as_ptr() as usize - text.as_ptr() as usize;
        (text[..offset].chars().count() + 1, word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (tag, kind, name) in [
            ("d53-a www.Example.org.", NameKind::A, "www.example.org"),
            ("d53-aaaa example.org www", NameKind::Aaaa, "www.example.org"),
            ("d53-cname  *.example.org", NameKind::Cname, "*.example.org"),
        ] {
            assert_eq!(read(tag), Ok((kind, name.into())), "{tag}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_column() {
        for (tag, column) in [
            ("d53-a", 6),
            ("d53-a www", 7),
            ("d53-a a..b", 7),
            ("d53-a www.example.org b c", 25),
            ("d53-a www.ex\u{e4}mple.org", 7),
        ] {
            assert_eq!(read(tag).map_err(|error| error.column), Err(column), "{tag}");
        }
        assert!(is_meant("d53-a x") && !is_meant("d53-ab x") && !is_meant("d53"));
    }
}
