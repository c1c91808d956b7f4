//! What px nodes say to each other: compact JSON, one carriage return behind each record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Name of the sender.
    pub from: String,
    /// Name of the receiver.
    pub to: String,
    /// What is said.
    pub content: Content,
}

/// What a record says, in px's own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// Nothing.
    Invalid,
    /// To be answered by a `Pong` of the same number.
    Ping {
        /// Counts the sender's pings.
        seqnum: u64,
        /// Any text.
        message: String,
    },
    /// Answers a `Ping`.
    Pong {
        /// The ping's number.
        seqnum: u64,
        /// The ping's text.
        message: String,
    },
    /// Asks for a vote.
    PaxosLeaderElectionRequest {
        /// For whom.
        ballot: Ballot,
    },
    /// A vote.
    PaxosLeaderElectionReply {
        /// For whom.
        ballot: Ballot,
        /// What the voter knows, in whichever form it keeps it.
        log: serde_json::Value,
    },
    /// The leader lives.
    PaxosLivenessNotification {
        /// Who it is.
        leader: Ballot,
        /// What it knows.
        log: serde_json::Value,
    },
    /// How far everybody is.
    PaxosKnowledgeStateUpdate {
        /// Who leads.
        leader: Ballot,
        /// Server to slot.
        #[serde(flatten)]
        slots: BTreeMap<String, serde_json::Value>,
    },
    /// A proposal.
    PaxosProposeRequest {
        /// For which place.
        slot: u64,
        /// Who leads.
        leader: Ballot,
        /// What is proposed.
        data: Data,
    },
    /// The answer to a proposal.
    PaxosProposeReply {
        /// For which place.
        slot: u64,
        /// Who leads.
        leader: Ballot,
        /// What was proposed.
        data: Data,
        /// It was chosen.
        chosen: bool,
    },
}

/// A ballot: its number counts first, then its leader's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// Who would lead.
    pub leader: String,
    /// Which attempt.
    pub number: u64,
}

/// Proposed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The bytes, as a list of numbers.
    pub data: Vec<u8>,
    /// px compares proposals by this hash of theirs alone.
    pub id: u128,
}

impl Message {
    /// The record, with what ends it. JSON escapes control characters, so the end never occurs within.
    ///
    /// # Errors
    /// A number that JSON cannot hold; none that a [`Message`] read from a record has.
    pub fn to_record(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut record = serde_json::to_vec(self)?;
        record.push(crate::parser::END);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_px_s_own() {
        let content = Content::Ping { seqnum: 1, message: "x\r".into() };
        let ping = Message { from: "a".into(), to: "b".into(), content };
        let record = ping.to_record().unwrap();
        assert_eq!(
            record,
            br#"{"from":"a","to":"b","content":{"Ping":{"seqnum":1,"message":"x\r"}}}"#
                .iter()
                .chain(b"\r")
                .copied()
                .collect::<Vec<_>>()
        );
        let others = [
            r#"{"from":"a","to":"b","content":"Invalid"}"#,
            r#"{"from":"a","to":"b","content":{"PaxosLeaderElectionRequest":{"ballot":{"leader":"a","number":3}}}}"#,
            r#"{"from":"a","to":"b","content":{"PaxosProposeReply":{"slot":1,"leader":{"leader":"a","number":3},"data":{"data":[104,105],"id":340282366920938463463374607431768211455},"chosen":true}}}"#,
            r#"{"from":"a","to":"b","content":{"PaxosLivenessNotification":{"leader":{"leader":"a","number":3},"log":{"1":null}}}}"#,
        ];
        for text in others {
            let message: Message = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
        }
    }
}
