//! Reading JSON as Go and Consul's key translation read it: struct fields in any letter case and with or
//! without underscores, `null` as the zero value. Keys of maps (`Meta`) are data and stay as they are.
//!
//! It is a serde adapter and no second pass: each request body is parsed once.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

/// Reads one JSON document. The error names the field and the place.
///
/// # Errors
/// Text that is not JSON, nested deeper than 128 levels, followed by something else, or of another shape.
pub fn decode<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Folded(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

struct Folded<D>(D);

/// What `null` stands for.
#[derive(Clone, Copy)]
enum Zero {
    Null,
    Bool,
    Number,
    Text,
    Seq,
    Map,
}

struct Lenient<V> {
    visitor: V,
    zero: Zero,
    fields: &'static [&'static str],
}

impl<V> Lenient<V> {
    fn new(visitor: V, zero: Zero) -> Lenient<V> {
        Lenient { visitor, zero, fields: &[] }
    }
}

macro_rules! lenient {
    ($($zero:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Lenient::new(visitor, Zero::$zero))
        }
    )*)*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Folded<D> {
    type Error = D::Error;

    lenient! {
        Null: deserialize_any deserialize_unit deserialize_identifier;
        Bool: deserialize_bool;
        Number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
            deserialize_f32 deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf;
        Seq: deserialize_seq;
        Map: deserialize_map;
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Lenient { visitor, zero: Zero::Map, fields })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Lenient::new(visitor, Zero::Null))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Lenient<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<V::Value, E> {
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<V::Value, E> {
        self.visitor.visit_str(value)
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.visitor.visit_borrowed_str(value)
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<V::Value, E> {
        self.visitor.visit_string(value)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Folded(inner))
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        match self.zero {
            Zero::Null => self.visitor.visit_unit(),
            Zero::Bool => self.visitor.visit_bool(false),
            Zero::Number => self.visitor.visit_u64(0),
            Zero::Text => self.visitor.visit_borrowed_str(""),
            Zero::Seq => {
                let nothing = std::iter::empty::<()>();
                self.visitor.visit_seq(SeqDeserializer::<_, E>::new(nothing))
            }
            Zero::Map => {
                let nothing = std::iter::empty::<((), ())>();
                self.visitor.visit_map(MapDeserializer::<_, E>::new(nothing))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(FoldedSeq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(FoldedMap { entries, fields: self.fields, field: "" })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(data)
    }
}

struct FoldedSeq<A>(A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for FoldedSeq<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(FoldedSeed(seed))
    }
}

struct FoldedMap<A> {
    entries: A,
    /// The struct's fields; empty for a map, whose keys are data.
    fields: &'static [&'static str],
    /// Field whose value comes next, for errors.
    field: &'static str,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FoldedMap<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if self.fields.is_empty() {
            return self.entries.next_key_seed(seed);
        }
        let Some(key) = self.entries.next_key_seed(FieldName(self.fields))? else {
            return Ok(None);
        };
        self.field = key;
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.entries.next_value_seed(FoldedSeed(seed));
        match self.field {
            "" => value,
            field => value.map_err(|cause| de::Error::custom(format_args!("{field}: {cause}"))),
        }
    }
}

struct FoldedSeed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for FoldedSeed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Folded(deserializer))
    }
}

/// Reads a key as the field that it means; `""` when it means none.
struct FieldName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<&'static str, E> {
        let exact = self.0.iter().find(|field| **field == key);
        Ok(exact.or_else(|| self.0.iter().find(|field| is_same_name(field, key))).copied().unwrap_or(""))
    }
}

/// True when the names differ only in letter case and underscores.
fn is_same_name(field: &str, key: &str) -> bool {
    let letters = |byte: &u8| *byte != b'_';
    let folded = |byte: u8| byte.to_ascii_lowercase();
    field.bytes().filter(letters).map(folded).eq(key.bytes().filter(letters).map(folded))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::decode;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Sample {
        #[serde(rename = "ServiceID")]
        service_id: String,
        tags: Vec<String>,
        meta: BTreeMap<String, String>,
        port: u16,
        enable_tag_override: bool,
        check: Option<Box<Sample>>,
    }

    #[test]
    fn fields_come_in_any_case_and_map_keys_stay() {
        let json = br#"{"service_id":"a","TAGS":["Tag_One"],"meta":{"Some_Key":"V"},"enableTagOverride":true,
            "Check":{"serviceid":"b"},"Unknown":{"x":[1]}}"#;
        let sample: Sample = decode(json).expect("reads");
        assert_eq!(sample.service_id, "a");
        assert_eq!(sample.tags, ["Tag_One"]);
        assert_eq!(sample.meta["Some_Key"], "V");
        assert!(sample.enable_tag_override);
        assert_eq!(sample.check.expect("nested").service_id, "b");
    }

    #[test]
    fn null_is_the_zero_value() {
        let json =
            br#"{"ServiceID":null,"Tags":null,"Meta":null,"Port":null,"EnableTagOverride":null,"Check":null}"#;
        assert_eq!(decode::<Sample>(json).expect("reads"), Sample::default());
        assert_eq!(decode::<Sample>(b"null").expect("reads"), Sample::default());
    }

    #[test]
    fn an_error_names_field_and_place() {
        let error = decode::<Sample>(b"{\"Check\":\n{\"Port\": \"x\"}}").expect_err("a port is a number");
        let text = error.to_string();
        assert!(text.starts_with("Check: Port: invalid type: string"), "{text}");
        assert!(text.ends_with("at line 2 column 12"), "{text}");
        assert!(decode::<Sample>(b"{} {}").is_err(), "two documents are one too many");
        assert!(decode::<Sample>("[".repeat(100_000).as_bytes()).is_err(), "depth is limited");
    }
}
