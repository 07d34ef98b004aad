//! What every answer tells the browser, so that no route can forget it.

use axum::{
    extract::Request,
    http::{
        HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::Response,
};

/// The policy of a page whose one form goes to a company IdP, and from there wherever that likes:
/// browsers apply `form-action` to the redirects after it too.
pub(super) const FORM_TO_COMPANY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action https:; frame-ancestors 'none'; base-uri 'none'";

/// For every answer.
const ALWAYS: [(HeaderName, &str); 4] = [
    // the public address is https, always; of other hosts under this name we know nothing
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // not `no-referrer`, with which browsers send `Origin: null` with our own forms
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// For pages beside.
const PAGES: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Add what the route itself hasn't set otherwise.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/html"));
    for (name, value) in ALWAYS.into_iter().chain(PAGES.into_iter().filter(|_| is_page)) {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
