//! What every operation takes and every answer bears, in the `OpenAPI` document.

use serde_json::json;
use utoipa::openapi::{
    HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Type,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::Components,
};

const REQUEST_ID: &str = "X-Request-Id";
const CACHE_CONTROL: &str = "Cache-Control";
const CONTENT_TYPE_OPTIONS: &str = "X-Content-Type-Options";

/// What answers bear that a browser shows as pages, and the operations that answer so.
const PAGE_HEADERS: [(&str, &str); 3] = [
    ("Content-Security-Policy", "What the page may load and call: nothing of other sites."),
    ("X-Frame-Options", "No site may frame the page."),
    ("Referrer-Policy", "Other sites do not learn of the page."),
];
const PAGES: [&str; 2] = ["get_metrics", "get_problem"];

/// Adds what the operations refer to.
pub(super) fn add_components(components: &mut Components) {
    // Without constraints: an id that does not meet them is no error, only not taken over.
    let own = ParameterBuilder::new()
        .name(REQUEST_ID)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "An id of the caller's own, which the answer and the service's log then bear: 1 to 128 visible ASCII \
             characters. Any other is replaced by a new one.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    components.parameters.insert(REQUEST_ID.to_owned(), own.build().into());
    let request_id = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128));
    let request_id = HeaderBuilder::new().schema(Some(request_id)).description(Some(
        "The request's own id if it sent one (1 to 128 visible ASCII characters), else a new one.",
    ));
    components.headers.insert(REQUEST_ID.to_owned(), request_id.build().into());
    for (name, value, description) in [
        (CACHE_CONTROL, "no-store", "Answers are not to be kept."),
        (CONTENT_TYPE_OPTIONS, "nosniff", "An answer is what its content type says."),
    ] {
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([json!(value)]));
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description));
        components.headers.insert(name.to_owned(), header.build().into());
    }
    for (name, description) in PAGE_HEADERS {
        let header = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some(description));
        components.headers.insert(name.to_owned(), header.build().into());
    }
}

/// Adds the parameter to an operation, and the headers to each of its responses.
pub(super) fn add_to(operation: &mut Operation) {
    let own = Ref::new(format!("#/components/parameters/{REQUEST_ID}"));
    operation.parameters.get_or_insert_default().push(RefOr::Ref(own));
    let is_page = operation.operation_id.as_deref().is_some_and(|id| PAGES.contains(&id));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let of_pages = PAGE_HEADERS.map(|(name, _)| name);
        let of_page = of_pages.iter().filter(|_| is_page && status == "200");
        for name in [REQUEST_ID, CACHE_CONTROL, CONTENT_TYPE_OPTIONS].iter().chain(of_page) {
            let header = Ref::new(format!("#/components/headers/{name}"));
            response.headers.insert((*name).to_owned(), RefOr::Ref(header));
        }
    }
}
