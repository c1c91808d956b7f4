//! What services say about themselves in their tags: Diplonat's words and D53's.

pub mod d53;
pub mod diplonat;
pub mod sexpr;

use std::sync::Arc;

use sexpr::SyntaxError;

use crate::wish::{Complaint, NameWish, PortWish, Wishes};

/// Most of a tag that is shown in a complaint.
const SHOWN: usize = 120;

/// Adds what one tag of a service wishes, or the complaint about it. Tags for others are passed over.
pub fn take(service: &Arc<str>, tag: &str, wishes: &mut Wishes) {
    let complain = |error: SyntaxError| Complaint {
        service: service.clone(),
        tag: tag.chars().take(SHOWN).collect(),
        column: error.column,
        why: error.why,
    };
    if diplonat::is_meant(tag) {
        match diplonat::read(tag) {
            Ok(ports) => wishes.ports.extend(ports.into_iter().map(|port| PortWish {
                external: port,
                internal: port.number,
                service: service.clone(),
            })),
            Err(error) => wishes.complaints.push(complain(error)),
        }
    } else if d53::is_meant(tag) {
        match d53::read(tag) {
            Ok((kind, name)) => drop(wishes.names.insert(NameWish {
                name,
                kind,
                service: service.clone(),
                is_optional: false,
            })),
            Err(error) => wishes.complaints.push(complain(error)),
        }
    }
}
