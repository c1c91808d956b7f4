//! One of two voters is lost for good, and neither can decide without the other.
//!
//! Of two, both have to have accepted what is decided: so the disk of either holds all that anybody was ever told, and
//! the one that is left may count its whole log as decided. Whether the other is lost only people know; both doing this
//! would be two orders. Of three or more, others may know more than one disk, and there is nothing to be had here.

use crate::write::{Batch, Write};
use crate::{Configuration, Image, ServerId};

/// Why a disk cannot become the whole order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWhole {
    /// It does not vote.
    #[error("this server does not vote: what it has may be less than was acknowledged")]
    NoVote,
    /// That one does not vote: the order does not wait for it.
    #[error("server {0} does not vote: the order does not wait for it")]
    NotIt(ServerId),
    /// More than two vote.
    #[error(
        "{0} servers vote: more than half of them have all that was acknowledged, this one alone may not"
    )]
    Others(usize),
}

impl Image {
    /// What to write so that this server needs the other of two voters no more, and the configuration that then is in
    /// force: of this server alone, or the one that the two were about to change to, in which the lost one is but one of
    /// three. May be done once the other is lost for good, and on one of the two.
    ///
    /// # Errors
    /// [`NotWhole`].
    pub fn without(&self, lost: ServerId) -> Result<(Batch, Configuration), NotWhole> {
        let me = self.identity().ok_or(NotWhole::NoVote)?;
        let present = self.configuration().ok_or(NotWhole::NoVote)?;
        if present.disk_of(me.server) != Some(me.disk) {
            return Err(NotWhole::NoVote);
        }
        if !present.contains(lost) {
            return Err(NotWhole::NotIt(lost));
        }
        match present.members().len() {
            0..=2 => {}
            more => return Err(NotWhole::Others(more)),
        }
        let end = self.log.end().max(self.have());
        let next = match &self.seal {
            None => Configuration::new(present.id + 1, vec![me], end),
            // What the two were about to become, and perhaps are: the lost one decided it if anybody did.
            Some(next) => next.clone().begin(end),
        };
        if !next.contains(me.server) {
            return Err(NotWhole::NoVote);
        }
        let writes = vec![Write::Decided(end), Write::Configure(next.clone())];
        Ok((Batch { writes }, next))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Command, Identity, Successor};

    fn identity(number: u64) -> Identity {
        Identity { server: ServerId(number), disk: number }
    }

    fn command(text: &'static str) -> Command {
        Command(Bytes::from_static(text.as_bytes()))
    }

    /// Server 2's disk among so many; of three entries it knows one to be decided.
    fn image(voters: u64) -> Image {
        let members = (1..=voters).map(identity).collect();
        let entries = vec![command("a"), command("b"), command("c")];
        let writes = vec![
            Write::Identity(identity(2)),
            Write::Configure(Configuration::new(4, members, 0)),
            Write::Append { at: 1, entries },
            Write::Decided(1),
        ];
        let mut image = Image::default();
        image.apply(&Batch { writes });
        image
    }

    #[test]
    fn of_two_the_one_that_is_left_has_all_that_was_acknowledged() {
        let mut image = image(2);
        let (batch, next) = image.without(ServerId(1)).unwrap();
        image.apply(&batch);
        assert_eq!(image.configuration(), Some(&next));
        assert_eq!((next.id, next.base, next.members()), (5, 3, &[identity(2)][..]));
        assert_eq!((image.have(), image.entry(3)), (3, Some(&command("c"))));
        assert_eq!(image.without(ServerId(1)), Err(NotWhole::NotIt(ServerId(1))));
    }

    #[test]
    fn a_change_that_was_begun_is_finished() {
        let mut image = image(2);
        let three = Successor { id: 5, members: (1..=3).map(identity).collect() };
        image.apply(&Batch { writes: vec![Write::Seal(Some(three))] });
        let (_, next) = image.without(ServerId(1)).unwrap();
        assert_eq!((next.id, next.members().len()), (5, 3));
        // The other one was about to go on alone, and may have.
        let other = Successor { id: 5, members: vec![identity(1)] };
        image.apply(&Batch { writes: vec![Write::Seal(Some(other))] });
        assert_eq!(image.without(ServerId(1)), Err(NotWhole::NoVote));
    }

    #[test]
    fn of_three_one_alone_may_lack_what_the_others_have() {
        assert_eq!(image(3).without(ServerId(1)), Err(NotWhole::Others(3)));
    }
}
