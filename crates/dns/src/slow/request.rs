//! Reading any packet at all.

use domain::base::iana::{Class, Opcode, OptRcode, Rtype};
use domain::base::opt::Opt;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, ParsedName, ToName};
use domain::rdata::AllRecordData;

use crate::wire::name::LowerName;
use crate::wire::question::{Edns, cookie_in};

/// Most records that a query may carry beside its question. None but OPT means anything to us, and a TSIG
/// or a cookie is one more.
const MAX_RECORDS: usize = 8;

/// A query that has one readable question.
pub(crate) struct Request<'p> {
    pub(crate) message: Message<&'p [u8]>,
    /// The question's name, lower case, to look up.
    pub(crate) lower: LowerName,
    pub(crate) qtype: Rtype,
    pub(crate) edns: Option<Edns>,
    pub(crate) recursion_desired: bool,
    /// The question can be given back.
    pub(crate) has_question: bool,
}

/// Why a packet is not looked up.
pub(crate) enum Refusal<'p> {
    /// Nobody gets an answer to that.
    Drop,
    /// An answer without records.
    Answer(Box<Request<'p>>, OptRcode),
}

impl<'p> Request<'p> {
    pub(crate) fn read(packet: &'p [u8]) -> Result<Request<'p>, Refusal<'p>> {
        let message = Message::from_octets(packet).map_err(|_| Refusal::Drop)?;
        let header = message.header();
        if header.qr() {
            return Err(Refusal::Drop);
        }
        let mut request = Request {
            message,
            lower: LowerName::default(),
            qtype: Rtype::ANY,
            edns: None,
            recursion_desired: header.rd(),
            has_question: false,
        };
        let refusal = request.examine(header.opcode()).err();
        match refusal {
            None => Ok(request),
            Some(code) => Err(Refusal::Answer(Box::new(request), code)),
        }
    }

    /// Fills in what can be read; the code to refuse with where something cannot.
    fn examine(&mut self, opcode: Opcode) -> Result<(), OptRcode> {
        if opcode != Opcode::QUERY {
            return Err(OptRcode::NOTIMP);
        }
        let question = self.message.sole_question().map_err(|_| OptRcode::FORMERR)?;
        self.read_name(question.qname())?;
        self.has_question = true;
        self.qtype = question.qtype();
        self.read_records()?;
        match question.qclass() {
            Class::IN => Ok(()),
            _ => Err(OptRcode::REFUSED),
        }
    }

    fn read_name(&mut self, name: &ParsedName<&[u8]>) -> Result<(), OptRcode> {
        let name: domain::base::Name<Vec<u8>> = name.to_name();
        self.lower.read(name.as_slice()).map(drop).map_err(|_| OptRcode::FORMERR)
    }

    /// Reads every record behind the question, so that no length in the packet lies unnoticed.
    fn read_records(&mut self) -> Result<(), OptRcode> {
        let malformed = OptRcode::FORMERR;
        let counts = self.message.header_counts();
        let records = [counts.ancount(), counts.nscount(), counts.arcount()].map(usize::from);
        if records.iter().sum::<usize>() > MAX_RECORDS || records[0] > 0 {
            return Err(malformed);
        }
        let mut newer = false;
        let mut section = self.message.authority().map_err(|_| malformed)?;
        for record in section.by_ref() {
            record.map_err(|_| malformed)?;
        }
        let mut additional = self.message.additional().map_err(|_| malformed)?;
        for record in additional.by_ref() {
            let record = record.map_err(|_| malformed)?;
            if record.rtype() != Rtype::OPT {
                continue;
            }
            let is_misplaced = self.edns.is_some() || !record.owner().is_root();
            let data = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
            if is_misplaced || data.is_err() {
                return Err(malformed);
            }
            let flags = record.ttl().as_secs();
            newer = (flags >> 16) & 0xff != 0;
            let (size, dnssec_ok) = (record.class().to_int(), flags & 0x8000 != 0);
            self.edns = Some(Edns { size, dnssec_ok, cookie: None });
            let opt = record.to_record::<Opt<_>>().ok().flatten().ok_or(malformed)?;
            let mut options = Vec::new();
            opt.data().compose_rdata(&mut options).map_err(|_| malformed)?;
            let cookie = cookie_in(&options).map_err(|_| malformed)?;
            self.edns = Some(Edns { size, dnssec_ok, cookie });
        }
        if additional.pos() != self.message.as_slice().len() {
            return Err(malformed);
        }
        if newer { Err(OptRcode::BADVERS) } else { Ok(()) }
    }
}
