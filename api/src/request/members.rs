//! Splits a JSON object into its members, without reading the values.
//!
//! A derived deserializer stops at the first error and does not see duplicates. Here the members are split first, which is safe
//! for any depth of nesting, and each value is read by its field's function.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The most members of a body. Each field of a request is looked for among all of them, and no request has nearly as many fields.
pub(super) const MOST_MEMBERS: usize = 100;

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// The name.
    pub(super) name: Cow<'a, str>,
    /// The JSON text of the value, without surrounding whitespace.
    pub(super) value: &'a str,
    /// Whether a field has read it.
    pub(super) known: bool,
}

/// The members of an object.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    /// The first ones in their order, duplicates included.
    pub(super) all: Vec<Member<'a>>,
    /// Whether there are more, which are left out.
    pub(super) are_more: bool,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // The usual maximum of fields in a request.
                let mut all = Vec::with_capacity(8);
                while all.len() < MOST_MEMBERS {
                    let Some(Text(name)) = map.next_key()? else {
                        return Ok(Members { all, are_more: false });
                    };
                    let value: &'de RawValue = map.next_value()?;
                    all.push(Member { name, value: value.get(), known: false });
                }
                let mut are_more = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    are_more = true;
                }
                Ok(Members { all, are_more })
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A string that is borrowed if it has no escapes.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
