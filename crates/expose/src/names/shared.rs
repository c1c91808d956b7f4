//! A name that several nodes show together, each with an address of its own: homes apart, one service.
//!
//! Beside the name stands the group's mark, which every member must find there, and below the mark a record for each
//! member that says what of the name is its own. Each message has one of the two as its prerequisite, so no member
//! touches what another one added, and nobody outside the group can join.
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

/// The group that this node shows names with.
#[derive(Debug, Clone)]
pub(super) struct Share {
    mark: String,
    owner: Owner,
}

/// One change of a shared name.
pub(super) struct Step<'a> {
    pub(super) zone: &'a WireName,
    pub(super) key: &'a Key,
    pub(super) ttl: Ttl,
    pub(super) kind: StepKind<'a>,
}

/// What is to become of our part.
#[derive(Clone, Copy)]
pub(super) enum StepKind<'a> {
    /// It is this now, and shall be that; nothing takes it away.
    Change { from: &'a [Rdata], to: &'a [Rdata] },
    /// The group is there, and we are not in it.
    Join(&'a [Rdata]),
    /// Nobody is there.
    Found(&'a [Rdata]),
    /// Nobody is left in the group.
    Dissolve,
}

impl Share {
    pub(super) fn new(group: &Owner, owner: &Owner) -> Share {
        Share { mark: format!("portolan-shared={}", group.word()), owner: owner.clone() }
    }

    /// The group's mark.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Where our part of a name is written down.
    pub(super) fn member(&self, key: &Key) -> String {
        format!("m-{:016x}.{}", hash(self.owner.word()), side_name(key))
    }

    /// What stands there.
    fn says(&self, values: &[Rdata]) -> String {
        let values: Vec<String> = values.iter().map(written).collect();
        format!("{} {}", self.owner.mark(), values.join(" "))
    }

    /// What of the name is ours, by what stands there.
    pub(super) fn read(&self, kind: NameKind, said: &str) -> Option<Vec<Rdata>> {
        let (mark, values) = said.split_once(' ')?;
        let is_ours = mark == self.owner.mark();
        values.split(' ').map(|value| value_of(kind, value)).collect::<Option<_>>().filter(|_| is_ours)
    }

    /// Writes and signs it.
    pub(super) fn compose(&self, step: &Step<'_>, key: Arc<TsigKey>) -> Result<Signed, NameError> {
        let Step { zone, key: about, ttl, kind } = step;
        let (name, side, member) = (named(&about.0)?, named(&side_name(about))?, named(&self.member(about))?);
        let records = rtype(about.1);
        signed(
            zone,
            key,
            |to| {
                let adds = match kind {
                    StepKind::Change { to: values, .. }
                    | StepKind::Join(values)
                    | StepKind::Found(values) => !values.is_empty(),
                    StepKind::Dissolve => false,
                };
                if adds {
                    no_alias(to, &name)?;
                }
                match kind {
                    StepKind::Change { from, .. } => stands(to, &member, &self.says(from)),
                    StepKind::Join(_) => {
                        nothing_there(to, &member, Rtype::TXT)?;
                        stands(to, &side, &self.mark)
                    }
                    StepKind::Found(_) => {
                        nothing_there(to, &side, Rtype::TXT)?;
                        nothing_there(to, &name, records)
                    }
                    StepKind::Dissolve => {
                        nothing_there(to, &name, records)?;
                        stands(to, &side, &self.mark)
                    }
                }
            },
            |to| {
                let values = match kind {
                    StepKind::Change { from, to: values } => {
                        take_away(to, &name, from)?;
                        empty(to, &member, Rtype::TXT)?;
                        *values
                    }
                    StepKind::Join(values) => *values,
                    StepKind::Found(values) => {
                        to.push((&side, Class::IN, *ttl, text(&self.mark)))?;
                        *values
                    }
                    StepKind::Dissolve => return empty(to, &side, Rtype::TXT),
                };
                if values.is_empty() {
                    return Ok(());
                }
                to.push((&member, Class::IN, *ttl, text(&self.says(values))))?;
                add(to, &name, *ttl, values)
            },
        )
    }
}

/// FNV-1a of 64 bits: the same in every version, for a label of any owner's.
fn hash(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
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

/// The answer to it: the first text, whatever its parts.
pub(super) fn answered(bytes: &[u8], id: u16, name: &WireName) -> Result<Option<String>, NameError> {
    let broken = || NameError::Silent("its answer is no DNS message".into());
    let message = Message::from_octets(bytes).map_err(|_| broken())?;
    match message.header().rcode() {
        _ if message.header().id() != id => return Err(broken()),
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Ok(None),
        other => return Err(NameError::Refused(other.to_string())),
    }
    let records = message.answer().map_err(|_| broken())?.limit_to::<Txt<_>>();
    for record in records {
        let record = record.map_err(|_| broken())?;
        if record.owner().name_eq(name) {
            let text: Vec<u8> = record.data().iter().flatten().copied().collect();
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again_by_its_owner_alone() {
        let share = |owner: &str| Share::new(&Owner::new("fleet").unwrap(), &Owner::new(owner).unwrap());
        let (ours, theirs) = (share("attic"), share("barn"));
        let of = |kind, values: Vec<Rdata>| {
            let said = ours.says(&values);
            assert_eq!(ours.read(kind, &said), Some(values), "{said}");
            assert_eq!(theirs.read(kind, &said), None);
        };
        of(NameKind::A, vec![Rdata::A([45, 83, 0, 1].into()), Rdata::A([45, 83, 0, 2].into())]);
        of(NameKind::Aaaa, vec![Rdata::Aaaa("2001:db8::9".parse().unwrap())]);
        let target = "mc.example.org".into();
        of(NameKind::Srv, vec![Rdata::Srv { priority: 0, weight: 5, port: 25565, target }]);
        of(NameKind::Txt, vec![Rdata::Txt("a-token".into())]);
        let key = ("www.example.org".into(), NameKind::A);
        assert_eq!(ours.member(&key), "m-5abe54813cc4414c._portolan-a.www.example.org");
        assert_eq!(ours.read(NameKind::A, "portolan-owner=attic 1.2.3"), None);
    }
}
