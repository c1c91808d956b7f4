//! What a check of the catalog asks: kept for whoever runs such checks (consul-esm) and reads them from here.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{GoDuration, Text};

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// `Definition` of a check. What is empty is left out, as Consul leaves it out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckDefinition {
    /// URL of an HTTP probe.
    #[serde(rename = "HTTP", skip_serializing_if = "str::is_empty")]
    pub http: Text,
    /// Name to verify instead of the URL's host.
    #[serde(rename = "TLSServerName", skip_serializing_if = "str::is_empty")]
    pub tls_server_name: Text,
    /// Accept any certificate.
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_false")]
    pub tls_skip_verify: bool,
    /// Header fields.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<Text, Vec<Text>>,
    /// Method.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub method: Text,
    /// Body.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub body: Text,
    /// An answer that leads elsewhere is the answer.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_redirects: bool,
    /// `host:port` of a TCP probe.
    #[serde(rename = "TCP", skip_serializing_if = "str::is_empty")]
    pub tcp: Text,
    /// With TLS.
    #[serde(rename = "TCPUseTLS", skip_serializing_if = "is_false")]
    pub tcp_use_tls: bool,
    /// `host:port` of a UDP probe.
    #[serde(rename = "UDP", skip_serializing_if = "str::is_empty")]
    pub udp: Text,
    /// `host:port` of an HTTP/2 ping.
    #[serde(rename = "H2PING", skip_serializing_if = "str::is_empty")]
    pub h2_ping: Text,
    /// With TLS.
    #[serde(skip_serializing_if = "is_false")]
    pub h2_ping_use_tls: bool,
    /// Service of the operating system.
    #[serde(rename = "OSService", skip_serializing_if = "str::is_empty")]
    pub os_service: Text,
    /// Time between probes.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub interval: GoDuration,
    /// Longest output kept, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_max_size: u64,
    /// Longest a probe may take.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub timeout: GoDuration,
    /// Deregister the instance after it was critical for this long.
    #[serde(skip_serializing_if = "GoDuration::is_zero")]
    pub deregister_critical_service_after: GoDuration,
    /// Program and arguments.
    #[serde(alias = "Args", skip_serializing_if = "Vec::is_empty")]
    pub script_args: Vec<Text>,
    /// Container to run them in.
    #[serde(rename = "DockerContainerID", skip_serializing_if = "str::is_empty")]
    pub docker_container_id: Text,
    /// Shell in it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub shell: Text,
    /// `host:port[/service]` of a gRPC probe.
    #[serde(rename = "GRPC", skip_serializing_if = "str::is_empty")]
    pub grpc: Text,
    /// With TLS.
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "is_false")]
    pub grpc_use_tls: bool,
    /// Node of an alias check.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub alias_node: Text,
    /// Service of an alias check.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub alias_service: Text,
    /// Term of a report.
    #[serde(rename = "TTL", skip_serializing_if = "GoDuration::is_zero")]
    pub ttl: GoDuration,
}

impl CheckDefinition {
    /// Consul's `Type` of such a check; empty where it asks nothing.
    pub fn kind(&self) -> &'static str {
        let asked = [
            (!self.grpc.is_empty(), "grpc"),
            (!self.http.is_empty(), "http"),
            (!self.ttl.is_zero(), "ttl"),
            (!self.tcp.is_empty(), "tcp"),
            (!self.udp.is_empty(), "udp"),
            (!self.alias_node.is_empty() || !self.alias_service.is_empty(), "alias"),
            (!self.docker_container_id.is_empty(), "docker"),
            (!self.script_args.is_empty(), "script"),
            (!self.h2_ping.is_empty(), "h2ping"),
            (!self.os_service.is_empty(), "os_service"),
        ];
        asked.into_iter().find(|(is_it, _)| *is_it).map_or("", |(_, kind)| kind)
    }
}

/// A definition, most often none. None is `{}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition(pub Option<Box<CheckDefinition>>);

impl Serialize for Definition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(definition) => definition.serialize(serializer),
            None => crate::Empty {}.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Definition, D::Error> {
        let read = CheckDefinition::deserialize(deserializer)?;
        Ok(Definition((read != CheckDefinition::default()).then(|| Box::new(read))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_given_back() {
        let sent = br#"{"HTTP":"","tcp":"a:1","Interval":"5s","timeout":10000000000,"TLSSkipVerify":false}"#;
        let read: Definition = crate::decode(sent).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"TCP":"a:1","Interval":"5s","Timeout":"10s"}"#);
        assert_eq!(read.0.unwrap().kind(), "tcp");
        for nothing in ["{}", "null", r#"{"Interval":"0s"}"#] {
            let read: Definition = crate::decode(nothing.as_bytes()).unwrap();
            assert_eq!((serde_json::to_string(&read).unwrap().as_str(), &read.0), ("{}", &None));
        }
    }
}
