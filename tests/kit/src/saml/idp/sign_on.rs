//! Signing people in: a request by redirect is answered by a page that posts the response to the
//! service provider (saml-bindings-2.0-os, section 3.5).

use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode, Uri, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::{
    super::{
        Person, ServiceProvider,
        authn_request::{AuthnRequest, Trusted},
        encryption::Encryption,
        keys::Signer,
        response::{Response as SamlResponse, Sealing},
        signature::Profile,
        xml,
    },
    Idp, Shared, entity_id, lock,
};
use crate::tls::Identity;

/// How it answers.
#[derive(Clone)]
pub struct SignOn {
    /// Who is signed in.
    pub person: Option<Person>,
    /// Whom it answers; anybody if empty.
    pub trusted: Vec<Trusted>,
    /// What it signs with, an RSA key; `None`: the last of its certificates.
    pub signing: Option<Arc<Identity>>,
    pub sign_response: bool,
    pub sign_assertion: bool,
    /// Whether assertions are encrypted, for the last certificate in the service provider's metadata.
    pub encrypt: bool,
    /// How much its clock is fast.
    pub clock: SignedDuration,
}

impl Default for SignOn {
    fn default() -> Self {
        Self {
            person: None,
            trusted: vec![],
            signing: None,
            sign_response: true,
            sign_assertion: true,
            encrypt: false,
            clock: SignedDuration::ZERO,
        }
    }
}

/// What the browser is to post, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The assertion consumer service.
    pub acs: String,
    /// `SAMLResponse`, and `RelayState` if the request brought one.
    pub fields: Vec<(String, String)>,
    /// The response's document.
    pub xml: String,
}

impl Answer {
    /// The page that posts it: by itself, or at the press of its button.
    pub fn page(&self) -> String {
        let inputs: String = self
            .fields
            .iter()
            .map(|(name, content)| {
                format!(r#"<input type="hidden" name="{name}" value="{}">"#, xml::value(content))
            })
            .collect();
        format!(
            r#"<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Signed in</title></head>
<body onload="document.forms[0].submit()"><form method="post" action="{}">{inputs}
<button type="submit">Continue</button></form></body></html>
"#,
            xml::value(&self.acs)
        )
    }
}

impl Idp {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now() + self.sign_on.clock
    }

    pub(super) fn answer(
        &self,
        url: &str,
        person: &Person,
        change: impl FnOnce(&mut SamlResponse),
    ) -> anyhow::Result<Answer> {
        let request = AuthnRequest::read(url)?;
        let trusted = &self.sign_on.trusted;
        let known = trusted.iter().find(|sp| sp.entity_id == request.issuer);
        if let Some(known) = known {
            known.check(url, &request)?;
        } else {
            ensure!(trusted.is_empty(), "{} isn't known here", request.issuer);
        }
        let acs = request.acs.or_else(|| known.and_then(|sp| sp.acs.first().cloned()));
        let acs = acs.context("the request doesn't say where to post the answer")?;
        let target = Url::parse(&acs).context("where to post the answer")?;
        let local = ["localhost", "127.0.0.1"].contains(&target.host_str().unwrap_or_default());
        ensure!(local || target.scheme() == "https", "{acs} isn't an https URL");

        let sp = ServiceProvider { entity_id: request.issuer, acs };
        let issuer = entity_id(&self.base_url);
        let mut response =
            SamlResponse::new(&issuer, &sp, person, self.now()).answering(&request.id);
        change(&mut response);
        self.sealed(&response, &sp.acs, request.relay_state, known)
    }

    pub(super) fn sealed(
        &self,
        response: &SamlResponse,
        acs: &str,
        relay_state: Option<String>,
        sp: Option<&Trusted>,
    ) -> anyhow::Result<Answer> {
        let sign_on = &self.sign_on;
        let identity = sign_on.signing.as_ref().or_else(|| self.certificates.last());
        let signer = Signer::rsa(Arc::clone(identity.context("there is no key to sign with")?))?;
        let profile = Profile::new(&Arc::new(signer));
        let recipient = sp.and_then(|sp| sp.encryption.last());
        let encryption = if sign_on.encrypt {
            let recipient = recipient.context("there is no certificate to encrypt for")?;
            Some(Encryption::new(recipient))
        } else {
            None
        };
        let sealing = Sealing {
            assertion: sign_on.sign_assertion.then(|| profile.clone()),
            response: sign_on.sign_response.then_some(profile),
            encryption,
            ..Sealing::default()
        };
        let xml = sealing.seal(response)?;
        let mut fields = vec![("SAMLResponse".to_owned(), BASE64_STANDARD.encode(&xml))];
        fields.extend(relay_state.map(|state| ("RelayState".to_owned(), state)));
        Ok(Answer { acs: acs.to_owned(), fields, xml })
    }
}

/// Answers `/sso`: the page that signs in, or 403 with why not.
pub(super) async fn page(State((idp, _)): State<Shared>, uri: Uri) -> Response<Body> {
    let answer = {
        let idp = lock(&idp);
        let url = format!("{}{uri}", idp.base_url);
        let person = idp.sign_on.person.clone().context("nobody is signed in here");
        person.and_then(|person| idp.answer(&url, &person, |_| {}))
    };
    let (status, content_type, body) = match answer {
        Ok(answer) => (StatusCode::OK, "text/html; charset=utf-8", answer.page()),
        Err(error) => (StatusCode::FORBIDDEN, "text/plain; charset=utf-8", format!("{error:#}\n")),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
