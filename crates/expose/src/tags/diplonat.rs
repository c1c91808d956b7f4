//! `(diplonat (tcp_port 80 443) (udp_port 53))`: the ports of a service, the same outside as inside.
//!
//! A tag is taken whole or not at all, as the original does. What is refused it drops in silence; here it
//! is said where it is wrong.

use super::sexpr::{self, Form, Node, SyntaxError};
use crate::wish::{Port, Protocol};

/// Head of the list.
const HEAD: &str = "diplonat";

/// True when the tag means us, well or badly written. Services carry tags for others as well, and those are
/// none of our business.
pub fn is_meant(tag: &str) -> bool {
    let start = tag.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == '[');
    let end = start.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').unwrap_or(start.len());
    start[..end].eq_ignore_ascii_case(HEAD)
}

/// Reads the ports of a tag in the order in which they stand there; port 0 is read and is no port.
///
/// # Errors
/// [`SyntaxError`]: the first thing that is wrong. Then none of its ports counts.
pub fn read(tag: &str) -> Result<Vec<Port>, SyntaxError> {
    let node = sexpr::read(tag)?;
    let Form::List(items) = &node.form else { return fail(&node, "a list is due: (diplonat …)") };
    let Some((head, items)) = items.split_first() else { return fail(&node, "an empty list") };
    match &head.form {
        Form::Symbol(name) if name == HEAD => {}
        _ => return fail(head, "\"diplonat\" is due, in lower case"),
    }
    let mut ports = Vec::new();
    for item in items {
        item_ports(item, &mut ports)?;
    }
    Ok(ports)
}

fn item_ports(item: &Node, ports: &mut Vec<Port>) -> Result<(), SyntaxError> {
    let Form::List(parts) = &item.form else { return fail(item, "a list is due, like (tcp_port 80)") };
    let Some((head, numbers)) = parts.split_first() else { return fail(item, "an empty list") };
    let protocol = match &head.form {
        Form::Symbol(name) if name == "tcp_port" => Protocol::Tcp,
        Form::Symbol(name) if name == "udp_port" => Protocol::Udp,
        Form::Symbol(name) => {
            return fail(head, &format!("\"{name}\" is unknown; there are tcp_port and udp_port"));
        }
        _ => return fail(head, "tcp_port or udp_port is due"),
    };
    for number in numbers {
        let port = match &number.form {
            Form::Integer(value) => u16::try_from(*value).ok(),
            Form::Other(what) => return fail(number, &format!("{what}, where a port is due")),
            Form::Symbol(name) => return fail(number, &format!("\"{name}\" is not a port")),
            Form::List(_) => return fail(number, "a list, where a port is due"),
        };
        let Some(port) = port else { return fail(number, "a port is between 0 and 65535") };
        if port != 0 {
            ports.push(Port { protocol, number: port });
        }
    }
    Ok(())
}

fn fail<T>(node: &Node, why: &str) -> Result<T, SyntaxError> {
    Err(SyntaxError { column: node.column, why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(tag: &str) -> String {
        match read(tag) {
            Ok(ports) => ports.iter().map(Port::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("{}: {}", error.column, error.why),
        }
    }

    #[test]
    fn what_the_original_takes_is_taken() {
        for (tag, ports) in [
            ("(diplonat (tcp_port 1337) (tcp_port 1338 1339))", "1337/tcp 1338/tcp 1339/tcp"),
            ("(diplonat (udp_port 53) (tcp_port 53))", "53/udp 53/tcp"),
            ("(diplonat)", ""),
            ("(diplonat (tcp_port))", ""),
            ("(diplonat (tcp_port 0))", ""),
            ("[diplonat\n\t(udp_port +80 080 #x50)] ; three times the same", "80/udp 80/udp 80/udp"),
            ("(diplonat . ((tcp_port . (1 2))))", "1/tcp 2/tcp"),
        ] {
            assert_eq!(show(tag), ports, "{tag}");
        }
    }

    #[test]
    fn what_the_original_drops_is_refused_with_the_reason() {
        for (tag, why) in [
            ("(diplonat (http_port 81))", "12: \"http_port\" is unknown; there are tcp_port and udp_port"),
            ("(diplonat (tcp_port 80) (tcp_port 65536))", "35: a port is between 0 and 65535"),
            ("(diplonat (tcp_port -1))", "21: a port is between 0 and 65535"),
            ("(DIPLONAT (tcp_port 80))", "2: \"diplonat\" is due, in lower case"),
            ("(diplonat (TCP_PORT 80))", "12: \"TCP_PORT\" is unknown; there are tcp_port and udp_port"),
            ("(diplonat (tcp_port \"80\"))", "21: quoted text, where a port is due"),
            ("(diplonat (tcp_port 80.0))", "21: a number with a fraction, where a port is due"),
            (
                "(diplonat (tcp_port 8080-8090))",
                "21: a number with letters or signs in it, where a port is due",
            ),
            ("(diplonat (tcp_port (80)))", "21: a list, where a port is due"),
            ("(diplonat (tcp_port 80)))", "25: \")\" after the end of the expression"),
            ("(diplonat (tcp_port 80)", "24: \")\" is missing"),
            ("(diplonat tcp_port 80)", "11: a list is due, like (tcp_port 80)"),
            ("diplonat", "1: a list is due: (diplonat …)"),
        ] {
            assert_eq!(show(tag), why, "{tag}");
            assert!(is_meant(tag), "{tag}");
        }
    }

    #[test]
    fn tags_for_others_are_left_alone() {
        for tag in
            ["v1", "tricot diplonat.example.org", "(diplonats (tcp_port 1))", "", "(", "d53-a diplonat"]
        {
            assert!(!is_meant(tag), "{tag}");
        }
    }
}
