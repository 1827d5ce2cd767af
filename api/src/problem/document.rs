//! Problems in the `OpenAPI` document: a schema for each kind, and the responses of an operation from its list of
//! kinds.

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

/// The description of the member `session`.
const SESSION: &str =
    "The database's id of the session whose open transaction called db_locks_guard, if it is known.";

/// The description of the member `reason` of a 423.
const REASON: &str = "`no_wait`: the request did not want to wait. `timed_out`: its waiting time is over. \
                      `guarded_transaction`: only an open transaction that called db_locks_guard prevents the grant.";

/// The problems that all operations of one category can answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CommonProblems {
    /// An operation that reads only the path of a request, and that needs no credential.
    Operating,
    /// The same, for an operation that a setting can protect.
    Protectable,
    /// An operation on keys without a body.
    Keys,
    /// An operation on keys with a body.
    KeysWithBody,
}

impl CommonProblems {
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

/// Declares the problems of an operation as a type for `responses(…)`: those that all such operations can answer, and
/// the operation's own kinds.
macro_rules! problems {
    ($name:ident: $common:ident $(, $kind:ident)*) => {
        /// The problems that an operation of this file can answer.
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses()
            -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::problem::responses(
                    $crate::problem::CommonProblems::$common,
                    &[$($crate::problem::ProblemKind::$kind),*],
                )
            }
        }
    };
}
pub(crate) use problems;

/// The responses of an operation, one for each status.
pub(crate) fn responses(common: CommonProblems, own: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    // The operation's own kinds come first, because they say more.
    for kind in own.iter().chain(common.kinds()) {
        by_status.entry(kind.properties().status).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), response(&kinds).into())).collect()
}

fn response(kinds: &[ProblemKind]) -> Response {
    let lines: Vec<_> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.properties().name, kind.properties().when))
        .collect();
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
            response.header("Allow", allow.description(Some("The methods that this path supports.")).build());
    }
    if kinds.contains(&ProblemKind::Unauthorized) {
        let challenge = HeaderBuilder::new().schema(Some(Object::with_type(Type::String)));
        let challenge =
            challenge.description(Some("`Bearer`. If the request had a token, also what is wrong with it."));
        response = response.header("WWW-Authenticate", challenge.build());
    }
    let has_retry_after = |kind: &ProblemKind| {
        matches!(kind, ProblemKind::NotGranted | ProblemKind::TooManyRequests | ProblemKind::Unavailable)
    };
    if kinds.iter().any(has_retry_after) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let retry = HeaderBuilder::new().schema(Some(seconds));
        response = response.header(
            "Retry-After",
            retry.description(Some("The seconds to wait before the next try.")).build(),
        );
    }
    response.build()
}

fn reference(kind: ProblemKind) -> Ref {
    Ref::from_schema_name(kind.properties().schema)
}

/// Adds the schemas of all kinds of problems and of their parts.
pub(crate) fn add_problem_schemas(components: &mut Components) {
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    components.schemas.insert(HolderBody::name().into_owned(), HolderBody::schema());
    for kind in ProblemKind::ALL {
        let schema = Schema::Object(schema(kind));
        components.schemas.insert(kind.properties().schema.to_owned(), schema.into());
    }
}

fn schema(kind: ProblemKind) -> Object {
    let properties = kind.properties();
    let object = ObjectBuilder::new()
        .description(Some(format!("{} {}", properties.when, properties.advice)))
        .property("type", fixed_text(properties.uri))
        .required("type")
        .property("title", fixed_text(properties.title))
        .required("title")
        .property(
            "status",
            ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([properties.status])),
        )
        .required("status")
        .property("detail", text("What happened in this case, for people to read."))
        .required("detail");
    match properties.extra {
        ExtraMembers::None => object,
        ExtraMembers::Errors => object
            .property(
                "errors",
                list("The errors, one for each wrong field.", FieldError::name().as_ref()).min_items(Some(1)),
            )
            .required("errors"),
        ExtraMembers::Holders => with_holders(object),
        ExtraMembers::Revoked => object
            .property("revoked_at", time("The time when the grant was ended, by the database's clock."))
            .required("revoked_at")
            .property(
                "revoked_by",
                nullable_text("The operator who ended the grant; null without authentication."),
            )
            .required("revoked_by")
            .property("reason", nullable_text("The reason that the operator gave, or null."))
            .required("reason"),
        ExtraMembers::NotGranted => with_holders(object)
            .property(
                "reason",
                text(REASON).enum_values(Some(["no_wait", "timed_out", "guarded_transaction"])),
            )
            .required("reason")
            .property("waiters", count("The number of requests that still wait.", 0))
            .required("waiters")
            .property(
                "queue_position",
                count("The request's position in the queue when it left, if it had one.", 1),
            )
            .property("session", text(SESSION)),
        ExtraMembers::Session => object.property("session", text(SESSION)),
    }
    .build()
}

fn with_holders(object: ObjectBuilder) -> ObjectBuilder {
    let holders = list("The holders: at most the 10 whose leases end first.", HolderBody::name().as_ref());
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
