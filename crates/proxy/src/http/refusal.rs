//! Why a request is turned away before it is routed. One row per reason: status, label for the metric, and
//! what the client is told.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelValue;
use relay::http::chunks::NotChunks;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $text:literal;)*) => {
        /// Why a request is turned away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
        pub(crate) enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Status of the answer.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Refusal::$name => StatusCode::$status,)* }
            }

            /// The reason, for the client.
            pub(crate) fn text(self) -> &'static str {
                match self { $(Refusal::$name => $text,)* }
            }
        }
    };
}

refusals! {
    /// RFC 9112 section 2.2 lets a server take these; intermediaries differ.
    BareLineFeed = BAD_REQUEST, "a line ends in a bare line feed instead of CRLF";
    /// An empty line where a request should begin.
    EmptyRequestLine = BAD_REQUEST, "an empty line stands where the request line should be";
    /// Not `method target version`.
    RequestLine = BAD_REQUEST, "the request line is not \"method target HTTP/1.1\"";
    /// Characters that no URI has.
    Target = BAD_REQUEST, "the request target has characters that are not allowed in a URI";
    /// Longer than we read.
    TargetTooLong = URI_TOO_LONG, "the request line is too long";
    /// HTTP/0.9, HTTP/1.2, HTTP/3 in words.
    Version = HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here";
    /// `obs-fold`, RFC 9112 section 5.2.
    FoldedField = BAD_REQUEST, "a header line is folded or begins with a blank";
    /// No colon, a blank before it, an empty name, other characters than a token has.
    FieldName = BAD_REQUEST, "a header name is empty or has characters that are not allowed";
    /// NUL, a bare CR and their like.
    ControlCharacter = BAD_REQUEST, "a header value has a control character";
    /// Bytes of the head.
    HeadTooLong = REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too long";
    /// Fields of the head or of the trailers.
    TooManyFields = REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many header fields";
    /// Signs, hexadecimal, lists, repetitions, overflow.
    ContentLength = BAD_REQUEST, "Content-Length is not one decimal number";
    /// RFC 9112 section 6.3, item 3.
    TwoLengths = BAD_REQUEST, "both Content-Length and Transfer-Encoding are given";
    /// In HTTP/1.0, or twice.
    TransferEncoding = BAD_REQUEST, "Transfer-Encoding is repeated or used in HTTP/1.0";
    /// RFC 9112 section 6.1: a coding that is not understood.
    TransferCoding = NOT_IMPLEMENTED, "only the transfer coding \"chunked\" is understood";
    /// RFC 9112 section 7.1.
    Chunk = BAD_REQUEST, "a chunk of the body is malformed";
    /// RFC 9110 section 6.5.1.
    Trailer = BAD_REQUEST, "a trailer has a field that may only stand in a head";
    /// RFC 9112 section 3.2.
    NoHost = BAD_REQUEST, "the Host header is missing";
    /// RFC 9112 section 3.2.
    SeveralHosts = BAD_REQUEST, "there is more than one Host header";
    /// Absolute form, or `:authority` beside `Host`.
    OtherHost = BAD_REQUEST, "the request target names another host than the Host header";
    /// Not a host name or address with an optional port.
    Authority = BAD_REQUEST, "the host is neither a name nor an address with an optional port";
    /// RFC 9110 section 7.4: the host's own TLS site asks for certificates.
    Misdirected = MISDIRECTED_REQUEST, "the host is to be asked over a connection of its own, by TLS and under its name";
    /// A percent sign without two hexadecimal digits.
    Escape = BAD_REQUEST, "the path has a percent sign that begins no escape";
    /// `%2f`, `%5c`, `%00` and `..;` where the path decides.
    AmbiguousPath = BAD_REQUEST, "the path has an escape or a segment that could be read in two ways";
    /// Tunnels are asked for by name on other listeners.
    Connect = NOT_IMPLEMENTED, "CONNECT is not served here";
    /// RFC 9110 section 10.1.1.
    Expectation = EXPECTATION_FAILED, "the only expectation that can be met is 100-continue";
    /// The proxy led back to itself.
    Loop = LOOP_DETECTED, "the request has passed this proxy too often: a route leads back to it";
    /// More than the configuration allows.
    BodyTooLong = PAYLOAD_TOO_LARGE, "the request body is longer than is allowed here";
    /// The head took too long.
    SlowHead = REQUEST_TIMEOUT, "the request head did not arrive in time";
    /// The body stopped coming.
    SlowBody = REQUEST_TIMEOUT, "the request body did not arrive in time";
}

impl From<NotChunks> for Refusal {
    fn from(why: NotChunks) -> Refusal {
        match why {
            NotChunks::BareLineFeed => Refusal::BareLineFeed,
            NotChunks::Chunk => Refusal::Chunk,
            NotChunks::Field => Refusal::FieldName,
            NotChunks::Forbidden => Refusal::Trailer,
            NotChunks::TooMany => Refusal::TooManyFields,
        }
    }
}
