//! A name that several nodes show together, each with an address of its own: homes apart, one service.
//!
//! Beside the name stand the group's mark and a text for each member that says what of the name is its own. Every
//! message has all of that, as it was read, as its prerequisite: so nobody changes what another one changed meanwhile, nobody
//! outside the group gets in, and an address that two members have stays until both have taken it back.
//!
//! What is absent: aliases, of which a name has one. They belong to one owner, as without a group.

use std::sync::Arc;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, ToName as _, Ttl};
use domain::rdata::Txt;
use domain::tsig::Key as TsigKey;

use super::update::{
    Owner, Rdata, Signed, WireName, add, empty, named, no_alias, nothing_there, rtype, side_name, signed,
    stands, take_away, text,
};
use super::{Key, NameError};
use crate::wish::NameKind;

/// Begins what stands there for a member; then the owner, and what of the name is its own.
pub(super) const MEMBER: &str = "portolan-member=";

/// The group that this node shows names with.
#[derive(Debug, Clone)]
pub(super) struct Share {
    mark: String,
    member: String,
}

/// One change of a shared name.
pub(super) struct Step<'a> {
    pub(super) zone: &'a WireName,
    pub(super) key: &'a Key,
    pub(super) ttl: Ttl,
    /// All texts beside the name now; none where nobody shows it.
    pub(super) found: &'a [String],
    /// What of the name shall be ours; nothing takes our part away.
    pub(super) values: &'a [Rdata],
}

impl Share {
    pub(super) fn new(group: &Owner, owner: &Owner) -> Share {
        let (mark, member) =
            (format!("portolan-shared={}", group.word()), format!("{MEMBER}{} ", owner.word()));
        Share { mark, member }
    }

    /// The group's mark.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// True when a name beside which this was found is the group's, or nobody's.
    pub(super) fn may_join(&self, found: &[String]) -> bool {
        found.is_empty() || found.contains(&self.mark)
    }

    /// Our own text of these.
    pub(super) fn own<'f>(&self, found: &'f [String]) -> Option<&'f String> {
        found.iter().find(|text| text.starts_with(&self.member))
    }

    /// What stands there for us.
    fn says(&self, values: &[Rdata]) -> String {
        let values: Vec<String> = values.iter().map(written).collect();
        format!("{}{}", self.member, values.join(" "))
    }

    /// Writes and signs it.
    pub(super) fn compose(&self, step: &Step<'_>, key: Arc<TsigKey>) -> Result<Signed, NameError> {
        let Step { zone, key: about, ttl, found, values } = step;
        let (name, side) = (named(&about.0)?, named(&side_name(about))?);
        let records = rtype(about.1);
        let own = self.own(found);
        let others: Vec<&String> =
            found.iter().filter(|text| **text != self.mark && Some(*text) != own).collect();
        let kept: Vec<Rdata> = others.iter().flat_map(|text| read(about.1, text)).collect();
        let mut gone = own.map_or_else(Vec::new, |text| read(about.1, text));
        gone.retain(|value| !kept.contains(value) && !values.contains(value));
        signed(
            zone,
            key,
            |to| {
                if !values.is_empty() {
                    no_alias(to, &name)?;
                }
                if found.is_empty() {
                    nothing_there(to, &side, Rtype::TXT)?;
                    return nothing_there(to, &name, records);
                }
                found.iter().try_for_each(|text| stands(to, &side, text))
            },
            |to| {
                take_away(to, &name, &gone)?;
                if values.is_empty() && others.is_empty() {
                    return empty(to, &side, Rtype::TXT);
                }
                if found.is_empty() {
                    to.push((&side, Class::IN, *ttl, text(&self.mark)))?;
                }
                if let Some(own) = own {
                    to.push((&side, Class::NONE, Ttl::ZERO, text(own)))?;
                }
                if values.is_empty() {
                    return Ok(());
                }
                to.push((&side, Class::IN, *ttl, text(&self.says(values))))?;
                add(to, &name, *ttl, values)
            },
        )
    }
}

/// What of a name is a member's, by what stands there for it.
fn read(kind: NameKind, said: &str) -> Vec<Rdata> {
    let values = said.strip_prefix(MEMBER).and_then(|rest| rest.split_once(' '));
    values.map_or_else(Vec::new, |(_, values)| {
        values.split(' ').filter_map(|value| value_of(kind, value)).collect()
    })
}

fn written(value: &Rdata) -> String {
    match value {
        Rdata::A(v4) => v4.to_string(),
        Rdata::Aaaa(v6) => v6.to_string(),
        Rdata::Srv { priority, weight, port, target } => format!("{priority},{weight},{port},{target}"),
        Rdata::Cname(text) | Rdata::Txt(text) => text.to_string(),
    }
}

fn value_of(kind: NameKind, text: &str) -> Option<Rdata> {
    Some(match kind {
        NameKind::A => Rdata::A(text.parse().ok()?),
        NameKind::Aaaa => Rdata::Aaaa(text.parse().ok()?),
        NameKind::Cname => Rdata::Cname(text.into()),
        NameKind::Txt => Rdata::Txt(text.into()),
        NameKind::Srv => {
            let mut words = text.splitn(4, ',');
            let mut number = || words.next()?.parse().ok();
            let (priority, weight, port) = (number()?, number()?, number()?);
            Rdata::Srv { priority, weight, port, target: words.next()?.into() }
        }
    })
}

/// A question for the text that stands at a name.
pub(super) fn question(name: &WireName) -> Result<(u16, Vec<u8>), NameError> {
    let id = fastrand::u16(..);
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    let pushed = question.push((name, Rtype::TXT, Class::IN));
    pushed.map_err(|error| NameError::Refused(error.to_string()))?;
    Ok((id, question.finish()))
}

/// The answer to it: all texts, each whole.
pub(super) fn answered(bytes: &[u8], id: u16, name: &WireName) -> Result<Vec<String>, NameError> {
    let broken = || NameError::Silent("its answer is no DNS message".into());
    let message = Message::from_octets(bytes).map_err(|_| broken())?;
    match message.header().rcode() {
        _ if message.header().id() != id => return Err(broken()),
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Ok(Vec::new()),
        other => return Err(NameError::Refused(other.to_string())),
    }
    let mut texts = Vec::new();
    for record in message.answer().map_err(|_| broken())?.limit_to::<Txt<_>>() {
        let record = record.map_err(|_| broken())?;
        if record.owner().name_eq(name) {
            let text: Vec<u8> = record.data().iter().flatten().copied().collect();
            texts.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        let share = |owner: &str| Share::new(&Owner::new("fleet").unwrap(), &Owner::new(owner).unwrap());
        let (ours, theirs) = (share("attic"), share("barn"));
        let of = |kind, values: Vec<Rdata>| {
            let said = ours.says(&values);
            assert_eq!(read(kind, &said), values, "{said}");
            let found = [theirs.mark.clone(), said.clone()];
            assert_eq!((ours.own(&found), theirs.own(&found)), (Some(&said), None));
        };
        of(NameKind::A, vec![Rdata::A([45, 83, 0, 1].into()), Rdata::A([45, 83, 0, 2].into())]);
        of(NameKind::Aaaa, vec![Rdata::Aaaa("2001:db8::9".parse().unwrap())]);
        let target = "mc.example.org".into();
        of(NameKind::Srv, vec![Rdata::Srv { priority: 0, weight: 5, port: 25565, target }]);
        of(NameKind::Txt, vec![Rdata::Txt("a-token".into())]);
        // One owner whose word begins with another's, and what somebody else wrote.
        assert_eq!(share("at").own(&[ours.says(&[])]), None);
        assert!(!ours.may_join(&["portolan-owner=attic".into()]) && ours.may_join(&[]));
        assert_eq!(read(NameKind::A, "portolan-owner=attic 1.2.3.4"), []);
    }
}
