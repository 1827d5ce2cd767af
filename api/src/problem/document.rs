//! Problems in the `OpenAPI` document: a schema for each kind, and the responses of an operation from its list of kinds.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, Object, ObjectBuilder, OneOfBuilder, Ref, RefOr, Response,
        ResponseBuilder, Schema, Type,
        schema::{ArrayBuilder, Components, KnownFormat, SchemaFormat, SchemaType},
    },
};

use super::{FieldError, HolderBody, ProblemKind, kind::ExtraMembers};

/// What `session` is.
const SESSION: &str = "The database's id of the session whose transaction called db_locks_guard and is open, where it can be told.";

/// What every operation of a sort can answer, whatever it does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Common {
    /// An operation that takes no part of a request but its path, and is open to everybody.
    Operating,
    /// The same, where it may be protected.
    Protectable,
    /// An operation on keys without a body.
    Keys,
    /// An operation on keys with a body.
    KeysWithBody,
}

impl Common {
    const fn kinds(self) -> &'static [ProblemKind] {
        use ProblemKind as Kind;
        match self {
            Self::Operating => &[
                Kind::InvalidRequest,
                Kind::Forbidden,
                Kind::MethodNotAllowed,
                Kind::MisdirectedRequest,
                Kind::InternalError,
            ],
            Self::Protectable => &[
                Kind::InvalidRequest,
                Kind::Unauthorized,
                Kind::Forbidden,
                Kind::MethodNotAllowed,
                Kind::MisdirectedRequest,
                Kind::TooManyRequests,
                Kind::InternalError,
                Kind::Unavailable,
            ],
            Self::Keys => &[
                Kind::InvalidRequest,
                Kind::Unauthorized,
                Kind::Forbidden,
                Kind::RouteNotFound,
                Kind::MethodNotAllowed,
                Kind::MisdirectedRequest,
                Kind::TooManyRequests,
                Kind::InternalError,
                Kind::Unavailable,
            ],
            Self::KeysWithBody => &[
                Kind::InvalidRequest,
                Kind::Unauthorized,
                Kind::Forbidden,
                Kind::RouteNotFound,
                Kind::MethodNotAllowed,
                Kind::RequestTimeout,
                Kind::PayloadTooLarge,
                Kind::UnsupportedMediaType,
                Kind::MisdirectedRequest,
                Kind::TooManyRequests,
                Kind::InternalError,
                Kind::Unavailable,
            ],
        }
    }
}

/// Declares the problems of an operation: a type to name in `responses(…)`, made of what all such operations can answer
/// and the operation's own kinds.
macro_rules! problems {
    ($name:ident: $common:ident $(, $kind:ident)*) => {
        /// The problems that an operation of this file can answer.
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses()
            -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::problem::responses(
                    $crate::problem::Common::$common,
                    &[$($crate::problem::ProblemKind::$kind),*],
                )
            }
        }
    };
}
pub(crate) use problems;

/// The responses of an operation, one a status.
pub(crate) fn responses(common: Common, own: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    // Its own kinds come first: they say more.
    for kind in own.iter().chain(common.kinds()) {
        by_status.entry(kind.facts().status).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), response(&kinds).into())).collect()
}

fn response(kinds: &[ProblemKind]) -> Response {
    let lines: Vec<_> =
        kinds.iter().map(|kind| format!("`{}`: {}", kind.facts().name, kind.facts().when)).collect();
    let schema: RefOr<Schema> = match kinds {
        [kind] => reference(*kind).into(),
        several => {
            let one_of =
                several.iter().fold(OneOfBuilder::new(), |one_of, kind| one_of.item(reference(*kind)));
            Schema::OneOf(one_of.build()).into()
        }
    };
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response =
        ResponseBuilder::new().description(lines.join(" ")).content("application/problem+json", content);
    if kinds.contains(&ProblemKind::MethodNotAllowed) {
        let allow = HeaderBuilder::new().schema(Some(Object::with_type(Type::String)));
        response =
            response.header("Allow", allow.description(Some("The methods that this path has.")).build());
    }
    if kinds.contains(&ProblemKind::Unauthorized) {
        let challenge = HeaderBuilder::new().schema(Some(Object::with_type(Type::String)));
        let challenge =
            challenge.description(Some("`Bearer`, and what is wrong with the token where one was sent."));
        response = response.header("WWW-Authenticate", challenge.build());
    }
    let has_retry_after = |kind: &ProblemKind| {
        matches!(kind, ProblemKind::NotGranted | ProblemKind::TooManyRequests | ProblemKind::Unavailable)
    };
    if kinds.iter().any(has_retry_after) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let retry = HeaderBuilder::new().schema(Some(seconds));
        response = response
            .header("Retry-After", retry.description(Some("In how many seconds to try again.")).build());
    }
    response.build()
}

fn reference(kind: ProblemKind) -> Ref {
    Ref::from_schema_name(kind.facts().schema)
}

/// Adds the schemas of all kinds of problems, and of what they are made of.
pub(crate) fn add_problem_schemas(components: &mut Components) {
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    components.schemas.insert(HolderBody::name().into_owned(), HolderBody::schema());
    for kind in ProblemKind::ALL {
        let schema = Schema::Object(schema(kind));
        components.schemas.insert(kind.facts().schema.to_owned(), schema.into());
    }
}

fn schema(kind: ProblemKind) -> Object {
    let facts = kind.facts();
    let object = ObjectBuilder::new()
        .description(Some(format!("{} {}", facts.when, facts.advice)))
        .property("type", fixed_text(facts.uri))
        .required("type")
        .property("title", fixed_text(facts.title))
        .required("title")
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([facts.status])))
        .required("status")
        .property("detail", text("What happened this time, for people."))
        .required("detail");
    match facts.extra {
        ExtraMembers::None => object,
        ExtraMembers::Errors => object
            .property(
                "errors",
                list("What is wrong, field by field.", FieldError::name().as_ref()).min_items(Some(1)),
            )
            .required("errors"),
        ExtraMembers::Holders => with_holders(object),
        ExtraMembers::Revoked => object
            .property("revoked_at", time("When it was ended, by the database's clock."))
            .required("revoked_at")
            .property("revoked_by", nullable_text("Who ended it; null without authentication."))
            .required("revoked_by")
            .property("reason", nullable_text("The reason that was given."))
            .required("reason"),
        ExtraMembers::NotGranted => with_holders(object)
            .property(
                "reason",
                text("Why it ended empty-handed.").enum_values(Some([
                    "no_wait",
                    "timed_out",
                    "guarded_transaction",
                ])),
            )
            .required("reason")
            .property("waiters", count("How many still wait.", 0))
            .required("waiters")
            .property("queue_position", count("Its place in the queue when it left, where it had one.", 1))
            .property("session", text(SESSION)),
        ExtraMembers::Session => object.property("session", text(SESSION)),
    }
    .build()
}

fn with_holders(object: ObjectBuilder) -> ObjectBuilder {
    let holders =
        list("Those who hold it: at most the 10 whose leases end first.", HolderBody::name().as_ref());
    object.property("holders", holders.max_items(Some(10))).required("holders")
}

fn fixed_text(value: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([json!(value)]))
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn nullable_text(description: &str) -> ObjectBuilder {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(types).description(Some(description))
}

fn time(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn count(description: &str, from: i64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(from))
        .description(Some(description))
}

fn list(description: &str, item: &str) -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name(item)).description(Some(description))
}
