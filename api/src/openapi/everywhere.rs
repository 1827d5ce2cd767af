//! What every operation takes and every answer bears, in the `OpenAPI` document.

use serde_json::json;
use utoipa::openapi::{
    HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, Type,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::Components,
};

const REQUEST_ID: &str = "X-Request-Id";
const CACHE_CONTROL: &str = "Cache-Control";

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
    let no_store = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([json!("no-store")]));
    let no_store =
        HeaderBuilder::new().schema(Some(no_store)).description(Some("Answers are not to be kept."));
    components.headers.insert(CACHE_CONTROL.to_owned(), no_store.build().into());
}

/// Adds the parameter to an operation, and the headers to each of its responses.
pub(super) fn add_to(operation: &mut Operation) {
    let own = Ref::new(format!("#/components/parameters/{REQUEST_ID}"));
    operation.parameters.get_or_insert_default().push(RefOr::Ref(own));
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            for name in [REQUEST_ID, CACHE_CONTROL] {
                let header = Ref::new(format!("#/components/headers/{name}"));
                response.headers.insert(name.to_owned(), RefOr::Ref(header));
            }
        }
    }
}
