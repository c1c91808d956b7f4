//! Public names that lead to a service of this home, for clients inside it.

use std::net::IpAddr;

use domain::base::ToName as _;
use domain::base::iana::Rtype;

use crate::responder::Responder;
use crate::slow::records::{Owned, Sections};
use crate::slow::request::Request;
use crate::zone::Zone;

/// What such a client is answered; `None` for everybody else, and for all other names.
pub(super) fn sections(
    responder: &Responder,
    zone: &Zone,
    request: &Request<'_>,
    from: IpAddr,
) -> Option<Sections> {
    let indoors = zone.indoors.as_ref()?;
    if matches!(request.qtype, Rtype::AXFR | Rtype::IXFR) {
        return None;
    }
    let ips = indoors.addresses(&request.lower, from.to_canonical(), zone.is_local(from))?;
    let name: Owned = request.message.sole_question().ok()?.qname().to_name();
    Some(Sections::of_addresses(responder, &name, request.qtype, &ips))
}
