//! The three cookies. Each is 256 random bits that mean nothing by themselves: the ledger keeps their
//! hashes. `__Host-` (RFC 6265bis, section 4.1.3.2) ties them to this host alone, over TLS alone.

use axum_extra::extract::{
    CookieJar,
    cookie::{Cookie, SameSite},
};

use super::secret::{self, Secret};
use crate::ledger::Hash;

/// Which browser this is, for a sign-in to end where it began.
const BROWSER: &str = "__Host-rollcall-browser";
/// Which browser brought an answer that nobody here asked for. It comes with another site's POST,
/// which brings no cookies of ours: to give it the one above would end a sign-in under way.
const UNASKED: &str = "__Host-rollcall-unasked";
/// Whose session this is.
const SESSION: &str = "__Host-rollcall-session";

/// The hash of the browser's cookie, which is made where there is none.
pub(super) fn browser(jar: CookieJar) -> Result<(CookieJar, Hash), secret::NoRandomness> {
    if let Some(hash) = known_browser(&jar) {
        return Ok((jar, hash));
    }
    let secret = Secret::new()?;
    let hash = secret.hash();
    Ok((jar.add(cookie(BROWSER, secret.into_text())), hash))
}

/// The hash of the browser's cookie.
pub(super) fn known_browser(jar: &CookieJar) -> Option<Hash> {
    jar.get(BROWSER).map(|cookie| secret::hash(cookie.value()))
}

/// Tell the browser by an answer that nobody here asked for; the hash of the new cookie.
pub(super) fn unasked(jar: CookieJar) -> Result<(CookieJar, Hash), secret::NoRandomness> {
    let secret = Secret::new()?;
    let hash = secret.hash();
    Ok((jar.add(cookie(UNASKED, secret.into_text())), hash))
}

/// The hash of the cookie of the last answer that nobody here asked for.
pub(super) fn known_unasked(jar: &CookieJar) -> Option<Hash> {
    jar.get(UNASKED).map(|cookie| secret::hash(cookie.value()))
}

/// The hash of the session's cookie.
pub(super) fn session(jar: &CookieJar) -> Option<Hash> {
    jar.get(SESSION).map(|cookie| secret::hash(cookie.value()))
}

/// Hand a new session to the browser.
pub(super) fn begin_session(jar: CookieJar, secret: Secret) -> CookieJar {
    jar.add(cookie(SESSION, secret.into_text()))
}

/// Make the browser forget its session.
pub(super) fn end_session(jar: CookieJar) -> CookieJar {
    let mut gone = cookie(SESSION, String::new());
    gone.make_removal();
    jar.add(gone)
}

/// `Lax`: it comes along when the company IdP sends somebody back by a link or redirect, and never
/// with another site's POST.
fn cookie(name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Lax)
        .build()
}
