//! What selectors can lead to: the fields of each listed type, by Go's names.

use consul::agent::{AgentService, Member};
use consul::connect::Intention;
use consul::listing::{CatalogService, HealthCheck, Node, NodeService, ServiceEntry};
use consul::{Labels, ServiceAddress, ServiceConnect, TaggedAddresses, Text, Weights};

/// A type whose fields can be selected.
pub(crate) trait Fields {
    /// The field of that name.
    fn field(&self, name: &str) -> Option<Value<'_>>;
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Bool(bool),
    Texts(&'a [Text]),
    Labels(&'a Labels),
    Addresses(&'a TaggedAddresses),
    Nested(&'a dyn Fields),
    Checks(&'a [HealthCheck]),
    /// A list of such things that is always empty here.
    NoneOf(&'static dyn Fields),
}

/// Where a path ends.
pub(super) enum Found<'a> {
    Value(Value<'a>),
    /// In a map that has no such key.
    Missing,
    /// At a name that no field has.
    Nowhere,
}

/// Follows a path, through every element of a list, until `each` says true; then true. With `sampling` an
/// empty list stands for one default element, so that paths can be checked without data.
pub(super) fn find(
    fields: &dyn Fields,
    path: &[String],
    sampling: bool,
    each: &mut dyn FnMut(Found<'_>) -> bool,
) -> bool {
    let Some((name, rest)) = path.split_first() else { return each(Found::Nowhere) };
    match fields.field(name) {
        None => each(Found::Nowhere),
        Some(value) => follow(value, rest, sampling, each),
    }
}

fn follow(
    value: Value<'_>,
    path: &[String],
    sampling: bool,
    each: &mut dyn FnMut(Found<'_>) -> bool,
) -> bool {
    let Some((name, rest)) = path.split_first() else { return each(Found::Value(value)) };
    match value {
        Value::Nested(fields) => find(fields, path, sampling, each),
        Value::Checks(checks) if checks.is_empty() && sampling => {
            find(&HealthCheck::default(), path, sampling, each)
        }
        Value::NoneOf(fields) if sampling => find(fields, path, sampling, each),
        Value::NoneOf(_) => false,
        Value::Checks(checks) => checks.iter().any(|check| find(check, path, sampling, each)),
        Value::Labels(labels) if rest.is_empty() => match labels.get(&**name) {
            Some(value) => each(Found::Value(Value::Text(value))),
            None => each(if sampling { Found::Value(Value::Text("")) } else { Found::Missing }),
        },
        Value::Addresses(addresses) => match addresses.get(&**name) {
            Some(address) => follow(Value::Nested(address), rest, sampling, each),
            None if sampling => follow(Value::Nested(&ServiceAddress::default()), rest, sampling, each),
            None => each(Found::Missing),
        },
        _ => each(Found::Nowhere),
    }
}

/// Labels that were never given are empty ones.
fn some(labels: &Option<Labels>) -> Value<'_> {
    static NONE: Labels = Labels::new();
    Value::Labels(labels.as_ref().unwrap_or(&NONE))
}

macro_rules! fields {
    ($type:ty, $self:ident, { $($name:literal => $value:expr,)* }) => {
        impl Fields for $type {
            fn field(&self, name: &str) -> Option<Value<'_>> {
                let $self = self;
                match name {
                    $($name => Some($value),)*
                    _ => None,
                }
            }
        }
    };
}

fields!(Weights, it, {
    "Passing" => Value::Number(it.passing.into()),
    "Warning" => Value::Number(it.warning.into()),
});

fields!(ServiceAddress, it, {
    "Address" => Value::Text(&it.address),
    "Port" => Value::Number(it.port.into()),
});

fields!(ServiceConnect, it, {
    "Native" => Value::Bool(it.native),
});

/// What a service that is no proxy has for one: Consul lets filters ask about it all the same.
struct NoProxy;

/// `Mode` of something, empty.
struct NoMode;

/// How a proxy would take over connections.
struct NotTransparent;

/// What a proxy would lead to.
struct NoUpstream;

fields!(NoProxy, _it, {
    "DestinationServiceName" => Value::Text(""),
    "DestinationServiceID" => Value::Text(""),
    "LocalServiceAddress" => Value::Text(""),
    "LocalServicePort" => Value::Number(0),
    "Mode" => Value::Text(""),
    "MeshGateway" => Value::Nested(&NoMode),
    "TransparentProxy" => Value::Nested(&NotTransparent),
    "Upstreams" => Value::NoneOf(&NoUpstream),
});

fields!(NoMode, _it, {
    "Mode" => Value::Text(""),
});

fields!(NotTransparent, _it, {
    "OutboundListenerPort" => Value::Number(0),
    "DialedDirectly" => Value::Bool(false),
});

fields!(NoUpstream, _it, {
    "DestinationType" => Value::Text(""),
    "DestinationNamespace" => Value::Text(""),
    "DestinationPartition" => Value::Text(""),
    "DestinationPeer" => Value::Text(""),
    "DestinationName" => Value::Text(""),
    "Datacenter" => Value::Text(""),
    "LocalBindAddress" => Value::Text(""),
    "LocalBindPort" => Value::Number(0),
    "MeshGateway" => Value::Nested(&NoMode),
});

fields!(Node, it, {
    "ID" => Value::Text(&it.id),
    "Node" => Value::Text(&it.node),
    "Address" => Value::Text(&it.address),
    "Datacenter" => Value::Text(&it.datacenter),
    "PeerName" => Value::Text(""),
    "TaggedAddresses" => some(&it.tagged_addresses),
    "Meta" => some(&it.meta),
    "CreateIndex" => Value::Number(it.create_index),
    "ModifyIndex" => Value::Number(it.modify_index),
});

fields!(CatalogService, it, {
    "ID" => Value::Text(&it.id),
    "Node" => Value::Text(&it.node),
    "Address" => Value::Text(&it.address),
    "Datacenter" => Value::Text(&it.datacenter),
    "TaggedAddresses" => some(&it.tagged_addresses),
    "NodeMeta" => some(&it.node_meta),
    "ServiceKind" => Value::Text(&it.service_kind),
    "ServiceID" => Value::Text(&it.service_id),
    "ServiceName" => Value::Text(&it.service_name),
    "ServiceTags" => Value::Texts(&it.service_tags),
    "ServiceAddress" => Value::Text(&it.service_address),
    "ServiceTaggedAddresses" => Value::Addresses(&it.service_tagged_addresses),
    "ServiceWeights" => Value::Nested(&it.service_weights),
    "ServiceMeta" => Value::Labels(&it.service_meta),
    "ServicePort" => Value::Number(it.service_port.into()),
    "ServiceEnableTagOverride" => Value::Bool(it.service_enable_tag_override),
    "ServiceConnect" => Value::Nested(&it.service_connect),
    "ServiceProxy" => Value::Nested(&NoProxy),
    "ServiceSocketPath" => Value::Text(&it.service_socket_path),
    "PeerName" => Value::Text(""),
    "CreateIndex" => Value::Number(it.create_index),
    "ModifyIndex" => Value::Number(it.modify_index),
});

fields!(NodeService, it, {
    "ID" => Value::Text(&it.id),
    "Service" => Value::Text(&it.service),
    "Kind" => Value::Text(""),
    "Tags" => Value::Texts(&it.tags),
    "Address" => Value::Text(&it.address),
    "TaggedAddresses" => Value::Addresses(&it.tagged_addresses),
    "Meta" => some(&it.meta),
    "Port" => Value::Number(it.port.into()),
    "Weights" => Value::Nested(&it.weights),
    "EnableTagOverride" => Value::Bool(it.enable_tag_override),
    "Connect" => Value::Nested(&it.connect),
    "Proxy" => Value::Nested(&NoProxy),
    "SocketPath" => Value::Text(""),
    "PeerName" => Value::Text(""),
    "CreateIndex" => Value::Number(it.create_index),
    "ModifyIndex" => Value::Number(it.modify_index),
});

fields!(AgentService, it, {
    "ID" => Value::Text(&it.id),
    "Service" => Value::Text(&it.service),
    "Kind" => Value::Text(""),
    "Tags" => Value::Texts(&it.tags),
    "Address" => Value::Text(&it.address),
    "TaggedAddresses" => Value::Addresses(&it.tagged_addresses),
    "Meta" => Value::Labels(&it.meta),
    "Port" => Value::Number(it.port.into()),
    "Weights" => Value::Nested(&it.weights),
    "EnableTagOverride" => Value::Bool(it.enable_tag_override),
    "Connect" => Value::Nested(connect_of(it)),
    "Proxy" => Value::Nested(&NoProxy),
    "SocketPath" => Value::Text(""),
    "PeerName" => Value::Text(""),
    "Datacenter" => Value::Text(&it.datacenter),
});

/// Left out of what is shown where it says nothing.
fn connect_of(service: &AgentService) -> &ServiceConnect {
    static NOT_NATIVE: ServiceConnect = ServiceConnect { native: false };
    service.connect.as_ref().unwrap_or(&NOT_NATIVE)
}

fields!(Member, it, {
    "Name" => Value::Text(&it.name),
    "Addr" => Value::Text(&it.addr),
    "Port" => Value::Number(it.port.into()),
    "Tags" => Value::Labels(&it.tags),
    "Status" => Value::Number(it.status.into()),
});

fields!(HealthCheck, it, {
    "Node" => Value::Text(&it.node),
    "CheckID" => Value::Text(&it.check_id),
    "Name" => Value::Text(&it.name),
    "Status" => Value::Text(&it.status),
    "Notes" => Value::Text(&it.notes),
    "Output" => Value::Text(&it.output),
    "ServiceID" => Value::Text(&it.service_id),
    "ServiceName" => Value::Text(&it.service_name),
    "ServiceTags" => Value::Texts(&it.service_tags),
    "Type" => Value::Text(&it.kind),
    "Interval" => Value::Text(&it.interval),
    "Timeout" => Value::Text(&it.timeout),
    "PeerName" => Value::Text(""),
});

fields!(Intention, it, {
    "ID" => Value::Text(&it.id),
    "Description" => Value::Text(&it.description),
    "SourceNS" => Value::Text(&it.source_ns),
    "SourceName" => Value::Text(&it.source_name),
    "DestinationNS" => Value::Text(&it.destination_ns),
    "DestinationName" => Value::Text(&it.destination_name),
    "SourceType" => Value::Text(&it.source_type),
    "Action" => Value::Text(&it.action),
    "Meta" => Value::Labels(&it.meta),
    "Precedence" => Value::Number(it.precedence.into()),
});

fields!(ServiceEntry, it, {
    "Node" => Value::Nested(&it.node),
    "Service" => Value::Nested(&it.service),
    "Checks" => Value::Checks(&it.checks),
});
