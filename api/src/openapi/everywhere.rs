//! The parameter that every operation has and the headers that every answer has, in the `OpenAPI` document.

use serde_json::json;
use utoipa::openapi::{
    HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Type,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::Components,
};

const REQUEST_ID: &str = "X-Request-Id";
const CACHE_CONTROL: &str = "Cache-Control";
const CONTENT_TYPE_OPTIONS: &str = "X-Content-Type-Options";

/// The headers of answers that a browser shows as a page. [`PAGES`] are the operations with such answers.
const PAGE_HEADERS: [(&str, &str); 3] = [
    ("Content-Security-Policy", "The page may load and call nothing from other sites."),
    ("X-Frame-Options", "No site may show the page in a frame."),
    ("Referrer-Policy", "Other sites do not learn the address of the page."),
];
const PAGES: [&str; 2] = ["get_metrics", "get_problem"];

/// Adds the parameter and the headers to which the operations refer.
pub(super) fn add_components(components: &mut Components) {
    // The schema has no constraints: an id that does not meet them is no error, it is only replaced.
    let own = ParameterBuilder::new()
        .name(REQUEST_ID)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "An id that the caller chooses: 1 to 128 visible ASCII characters. The answer and the log of the service \
             contain it. The service replaces any other value by a new id.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
    components.parameters.insert(REQUEST_ID.to_owned(), own.build().into());
    let request_id = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(128));
    let request_id = HeaderBuilder::new()
        .schema(Some(request_id))
        .description(Some("The id that the request sent (1 to 128 visible ASCII characters), or a new one."));
    components.headers.insert(REQUEST_ID.to_owned(), request_id.build().into());
    for (name, value, description) in [
        (CACHE_CONTROL, "no-store", "Answers must not be cached."),
        (CONTENT_TYPE_OPTIONS, "nosniff", "Browsers must use the declared content type."),
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
