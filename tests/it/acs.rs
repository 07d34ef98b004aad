//! Signing in by SAML over HTTP, as browsers bring it: the right response, and what attackers would
//! make of it, between browsers and between organizations.

use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use rollcall_kit::{
    saml::{Attribute, authn_request::Trusted, response::Response},
    saml_idp::new_certificate,
    scim::Scim,
    visitor::Visitor,
    wait::until,
};
use serde_json::json;
use url::Url;

use crate::{
    company::{Company, other},
    world::PATIENCE,
};

#[tokio::test]
async fn an_answer_counts_once_and_in_the_browser_that_began() -> anyhow::Result<()> {
    let company = Company::found("answers").await?;
    let ada = company.person("ada");
    let (own, other) = (company.visitor()?, company.visitor()?);

    // a flow of one browser, answered in another: neither is signed in
    let answer = company.answer(&own, &ada).await?;
    let page = other.post(&answer.acs, &answer.fields).await?;
    page.says("").err().context("it was taken")?;
    ensure!(page.html.contains("began in another browser"), "{}", page.html);
    ensure!(!company.is_signed_in(&own).await? && !company.is_signed_in(&other).await?);
    // the flow has its answer, and the assertion was seen
    let page = own.post(&answer.acs, &answer.fields).await?;
    company.refused(&page, "no sign-in that began here awaits this response")?;

    let answer = company.answer(&own, &ada).await?;
    own.post(&answer.acs, &answer.fields).await?.says(&company.welcome())?;
    for browser in [&own, &other, &company.visitor()?] {
        let page = browser.post(&answer.acs, &answer.fields).await?;
        company.refused(&page, "no sign-in that began here awaits this response")?;
    }
    ensure!(!company.is_signed_in(&other).await?);

    // answers to two requests of one browser, swapped
    let own = company.visitor()?;
    let (first, second) = (company.begin(&own).await?, company.begin(&own).await?);
    let (first, second) =
        (company.idp.respond(first.as_str(), &ada)?, company.idp.respond(second.as_str(), &ada)?);
    let swapped = [first.fields[0].clone(), second.fields[1].clone()];
    company.refused(&own.post(&first.acs, &swapped).await?, "WrongRequest")?;
    own.post(&second.acs, &second.fields).await?.says(&company.welcome())
}

#[tokio::test]
async fn a_response_that_nobody_asked_for_is_taken_where_allowed_and_by_who_wants_it()
-> anyhow::Result<()> {
    let closed = Company::found("asked-alone").await?;
    let browser = closed.visitor()?;
    let unsolicited = closed.idp.unsolicited(&closed.service_provider(), &closed.person("ada"))?;
    let page = browser.post(&unsolicited.acs, &unsolicited.fields).await?;
    closed.refused(&page, "the connection takes no others (signIn.idpInitiated)")?;

    let company = Company::found("unasked").await?;
    company.connect(", signIn: {idpInitiated: true}").await?;
    let (ada, to) = (company.person("ada"), company.service_provider());
    let begun = company.answer(&browser, &ada).await?;
    let unsolicited = company.idp.unsolicited(&to, &ada)?;
    let page = browser.post(&unsolicited.acs, &unsolicited.fields).await?;
    page.says(&format!("Sign in as {}", company.email("ada")))?;
    ensure!(!company.is_signed_in(&browser).await?, "nobody asked the person");

    // the same question is of no use in another browser, which a link may have led there
    let other = company.visitor()?;
    company.begin(&other).await?;
    let stolen = other.submit(&page, &[]).await?;
    company.refused(&stolen, "not the one that began")?;
    ensure!(!company.is_signed_in(&other).await?);
    // a sign-in that is under way there goes on
    browser.post(&begun.acs, &begun.fields).await?.says(&company.welcome())?;
    browser.submit(&page, &[]).await?.says(&company.welcome())?;
    // neither the answer nor the assertion serves again
    ensure!(browser.submit(&page, &[]).await?.status.is_client_error());
    let page = other.post(&unsolicited.acs, &unsolicited.fields).await?;
    company.refused(&page, "presented before")?;

    // the answer to a request isn't taken for one that nobody asked for
    let mut answer = company.answer(&other, &ada).await?;
    answer.fields.truncate(1);
    company.refused(&other.post(&answer.acs, &answer.fields).await?, "NoSuchRequest")?;
    // nor is one with somebody else's RelayState
    let unsolicited = company.idp.unsolicited(&to, &ada)?;
    let awaited = company.answer(&other, &ada).await?;
    let fields = [unsolicited.fields[0].clone(), awaited.fields[1].clone()];
    company.refused(&other.post(&unsolicited.acs, &fields).await?, "WrongRequest")
}

#[tokio::test]
async fn what_one_organization_says_counts_nowhere_else() -> anyhow::Result<()> {
    let (ours, theirs) = (Company::found("ours").await?, Company::found("theirs").await?);
    let ada = ours.person("ada");
    let browser = ours.visitor()?;

    // a response of ours at their ACS: with our flow, with theirs, with none
    let answer = ours.answer(&browser, &ada).await?;
    let at_theirs = theirs.service_provider().acs;
    let page = browser.post(&at_theirs, &answer.fields).await?;
    theirs.refused(&page, "no sign-in that began here awaits this response")?;
    let awaited = theirs.begin(&browser).await?;
    let state = awaited.query_pairs().find(|(name, _)| name == "RelayState");
    let state = ("RelayState".to_owned(), state.context("no RelayState")?.1.into_owned());
    let page = browser.post(&at_theirs, &[answer.fields[0].clone(), state.clone()]).await?;
    theirs.refused(&page, "WrongIssuer")?;
    // one that our login made for them, even so
    let mut forged = ours.idp.respond(awaited.as_str(), &theirs.person("bob"))?;
    ensure!(forged.acs == at_theirs);
    forged.fields[1] = state;
    let page = browser.post(&forged.acs, &forged.fields).await?;
    theirs.refused(&page, "WrongIssuer")?;

    // somebody of theirs, in the words of our login
    for (person, domain) in [
        (theirs.person("bob"), "theirs.test.example"),
        (other("ada@elsewhere.example"), "elsewhere.example"),
    ] {
        let answer = ours.answer(&browser, &person).await?;
        let page = browser.post(&answer.acs, &answer.fields).await?;
        ours.refused(&page, &format!("DomainNotOurs: the domain {domain} is not a verified"))?;
        ensure!(theirs.log(&page)?.is_empty(), "theirs hears of it");
    }
    ensure!(!ours.is_signed_in(&browser).await? && !theirs.is_signed_in(&browser).await?);
    Ok(())
}

#[tokio::test]
async fn what_is_encrypted_for_one_organization_opens_for_no_other() -> anyhow::Result<()> {
    let (sealed, spied) = (Company::found("sealed").await?, Company::found("spied").await?);
    let gateway = &sealed.world.stage.gateway;
    let browser = sealed.visitor()?;
    let metadata = async |organization: &str| {
        let url = format!("{gateway}/sso/{organization}/company/saml/metadata");
        Trusted::from_metadata(&browser.visit(&url).await?.html)
    };
    let (ours, theirs) = (metadata("sealed").await?, metadata("spied").await?);
    ensure!(ours.signing == theirs.signing && ours.encryption != theirs.encryption);
    ensure!(metadata("sealed").await? == ours, "it changes by being read");
    // whoever isn't there has no key, and gets none by being asked for
    ensure!(metadata("nobody-at-all").await?.encryption.is_empty());

    sealed.idp.trust(ours.clone());
    sealed.idp.configure(|sign_on| sign_on.encrypt = true);
    sealed.sign_in(&sealed.person("ada")).await?;
    // in a response of their own login's, signed and all, it is still not theirs to open
    let mine = Trusted { encryption: ours.encryption, ..theirs };
    spied.idp.trust(mine);
    spied.idp.configure(|sign_on| sign_on.encrypt = true);
    let answer = spied.answer(&browser, &spied.person("bob")).await?;
    spied.refused(&browser.post(&answer.acs, &answer.fields).await?, "NotDecrypted")
}

#[tokio::test]
async fn an_old_sign_in_at_the_company_isnt_a_fresh_one_here() -> anyhow::Result<()> {
    let company = Company::found("stale").await?;
    let (ada, browser) = (company.person("ada"), company.visitor()?);
    let long_ago = |response: &mut Response| {
        response.assertion.issued -= SignedDuration::from_hours(10);
    };
    let request = company.begin(&browser).await?;
    let answer = company.idp.respond_with(request.as_str(), &ada, long_ago)?;
    browser.post(&answer.acs, &answer.fields).await?.says(&company.welcome())?;

    let authorize = |more: &str| {
        format!(
            "{}/oauth2/authorize?client_id=kubernetes&response_type=code&scope=openid\
             &redirect_uri=http://127.0.0.1:1/callback&code_challenge={}\
             &code_challenge_method=S256&{more}",
            company.world.stage.gateway,
            "a".repeat(43)
        )
    };
    let at_program = |url: &Url| url.port() == Some(1);
    for (max_age, error) in [(3_600, "login_required"), (40_000, "interaction_required")] {
        let url = authorize(&format!("prompt=none&max_age={max_age}"));
        let url = browser.visit_until(&url, at_program).await?;
        ensure!(url.as_str().contains(&format!("error={error}&")), "{max_age}: {url}");
    }
    // a company's login that doesn't ask anew though it is to, is told so, and asked no more
    let page = browser.visit(&authorize("max_age=3600")).await?;
    let there = |url: &Url| url.as_str().starts_with(&company.idp.sign_on_url());
    let request = browser.submit_until(&page, &[("email", &company.email("ada"))], there).await?;
    let answer = company.idp.respond_with(request.as_str(), &ada, long_ago)?;
    company.refused(&browser.post(&answer.acs, &answer.fields).await?, "NotFresh: the client asked")
}

#[tokio::test]
async fn who_is_renamed_to_somebody_else_stays_who_they_are() -> anyhow::Result<()> {
    let company = Company::found("renamed").await?;
    let world = company.world;
    world.make_one("DirectorySync", company.name, "people", "{source: {scim: {}}}").await?;
    let scim = world.connect(company.name, "people").await?;
    let ids = [
        scim.create_user(&company.email("ada"), "Ada").await?,
        scim.create_user(&company.email("mallory"), "Mallory").await?,
    ];
    for (group, member) in [("Engineering", &ids[0]), ("Guests", &ids[1])] {
        scim.create_group(group, &[member]).await?;
        let team = group.to_lowercase();
        let spec =
            format!("{{directorySyncRef: {{name: people}}, group: {{displayName: {group}}}}}");
        world.make_one("DirectoryTeam", company.name, &team, &spec).await?;
        world.reason(company.name, &format!("dteam/{team}"), "GroupFound", "Found").await?;
    }
    company.connect(", admit: DirectoryOnly, directory: {name: people}").await?;
    let mallory = company.person("mallory");
    let teams = async |browser: &Visitor| {
        let page = browser.visit(&world.stage.gateway).await?;
        page.says(&company.welcome())?;
        let shown = |team: &str| page.html.contains(&format!("<h3>{team}</h3>"));
        anyhow::Ok((shown("engineering"), shown("guests")))
    };
    let before = until("the directory to be looked at", PATIENCE, async || {
        let browser = company.sign_in(&mallory).await?;
        ensure!(teams(&browser).await? == (false, true), "not Mallory's teams");
        Ok(Some(browser))
    })
    .await?;

    // while Ada is away under another name, Mallory gets hers, and her address
    rename(&scim, &ids[0], &company.email("ada.lovelace")).await?;
    rename(&scim, &ids[1], &company.email("ada")).await?;
    ensure!(teams(&before).await? == (false, true), "Mallory has Ada's teams");
    ensure!(teams(&company.sign_in(&mallory).await?).await? == (false, true));
    // Ada herself isn't taken for Mallory, though the directory has her name there
    let page = {
        let browser = company.visitor()?;
        let answer = company.answer(&browser, &company.person("ada")).await?;
        browser.post(&answer.acs, &answer.fields).await?
    };
    company.refused(&page, "LinkedToAnother")?;
    // nor does Mallory come in under the address of somebody else, if the login lets her write it
    let mut as_ada = mallory.clone();
    as_ada.attributes = vec![Attribute::new("email", &[&company.email("ada.lovelace")])];
    let browser = company.visitor()?;
    let answer = company.answer(&browser, &as_ada).await?;
    company.refused(&browser.post(&answer.acs, &answer.fields).await?, "AddressOfAnother")
}

async fn rename(scim: &Scim, id: &str, to: &str) -> anyhow::Result<()> {
    let emails = json!([{"value": to, "primary": true}]);
    let patch = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "value": {"userName": to, "emails": emails}}],
    });
    let path = format!("Users/{id}");
    let (status, body) = scim.send(reqwest::Method::PATCH, &path, &patch).await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(())
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_the_company_says() -> anyhow::Result<()> {
    let company = Company::found("lengths").await?;
    let browser = company.visitor()?;
    let request = company.begin(&browser).await?;
    let until = Timestamp::from_second(Timestamp::now().as_second() + 300)?;
    let answer =
        company.idp.respond_with(request.as_str(), &company.person("ada"), |response| {
            response.assertion.session_not_on_or_after = Some(until);
        })?;
    let page = browser.post(&answer.acs, &answer.fields).await?;
    page.says(&company.welcome())?;
    page.says(&format!("<dt>Until</dt><dd><time datetime=\"{until}\">"))
}

#[tokio::test]
async fn a_session_goes_with_its_domain_or_connection_and_with_nothing_else() -> anyhow::Result<()>
{
    let company = Company::found("moves").await?;
    let (world, name) = (company.world, company.name);
    world.make_one("VerifiedDomain", name, "labs", "{domain: moves-labs.test.example}").await?;
    world.prove(name, "labs").await?;
    company.connect(", domains: [{name: mail}, {name: labs}]").await?;
    let (ada, linus) = (company.person("ada"), other("linus@moves-labs.test.example"));
    let mail = company.sign_in(&ada).await?;
    let labs = until("the second domain to lead there", PATIENCE, async || {
        company.sign_in(&linus).await.map(Some)
    })
    .await?;

    // a domain that the connection names is gone, and with it its people alone
    world.kubectl(&format!("delete vd/labs -n {name}")).await?;
    world.reason(name, "sso/company", "ResolvedRefs", "DomainNotFound").await?;
    ensure!(!company.is_signed_in(&labs).await?, "a domain without proof");
    ensure!(company.is_signed_in(&mail).await?, "a domain that is still there");
    company.sign_in(&ada).await?;
    let browser = company.visitor()?;
    let answer = company.answer(&browser, &linus).await?;
    company.refused(&browser.post(&answer.acs, &answer.fields).await?, "DomainNotOurs")?;

    // so is the whole login, and made anew it knows no session of before
    world.kubectl(&format!("delete sso/company -n {name}")).await?;
    ensure!(!company.is_signed_in(&mail).await?, "a session of a deleted connection");
    company.connect("").await?;
    ensure!(!company.is_signed_in(&mail).await?);
    company.sign_in(&ada).await.map(drop)
}

#[tokio::test]
async fn metadata_that_is_lost_or_spoilt_takes_access_from_nobody() -> anyhow::Result<()> {
    let company = Company::found("hiccups").await?;
    let (world, name) = (company.world, company.name);
    let put = async |metadata: &str| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "rollcall.dev/saml-metadata",
            "metadata": {"name": "idp", "namespace": name}, "stringData": {"metadata": metadata},
        });
        world.apply(&secret.to_string()).await
    };
    put(&company.idp.metadata()).await?;
    let spec = "{saml: {metadata: {secretRef: {name: idp}}}, admit: JustInTime}";
    world.kubectl(&format!("delete sso/company -n {name}")).await?;
    world.make_one("SsoConnection", name, "company", spec).await?;
    world.reason(name, "sso/company", "Ready", "Ready").await?;
    let ada = company.person("ada");
    let browser = company.sign_in(&ada).await?;

    let last_good = async || {
        world.nudge(name, "sso/company").await?;
        until("the failure to be told", PATIENCE, async || {
            let (reason, message) = world.condition(name, "sso/company", "Configured").await?;
            ensure!(reason == "Configured" && message.contains("last good"), "{reason}: {message}");
            Ok(Some(()))
        })
        .await?;
        ensure!(company.is_signed_in(&browser).await?, "who has signed in is out");
        company.sign_in(&ada).await.map(drop)
    };
    put("<xml").await?;
    last_good().await?;
    world.kubectl(&format!("delete secret/idp -n {name}")).await?;
    last_good().await?;
    world.reason(name, "sso/company", "ResolvedRefs", "SecretNotFound").await?;

    // and a rollover after that needs nothing but the new document
    company.idp.set_certificates(vec![new_certificate(SystemTime::now() + 400 * DAY)?]);
    put(&company.idp.metadata()).await?;
    world.nudge(name, "sso/company").await?;
    world.reason(name, "sso/company", "Ready", "Ready").await?;
    company.sign_in(&ada).await.map(drop)
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_to_the_administrator() -> anyhow::Result<()> {
    let company = Company::found("clocks").await?;
    let browser = company.visitor()?;
    for (minutes, says) in [(10, "TooEarly"), (-10, "TooLate")] {
        company.idp.configure(|sign_on| sign_on.clock = SignedDuration::from_mins(minutes));
        let answer = company.answer(&browser, &company.person("ada")).await?;
        let page = browser.post(&answer.acs, &answer.fields).await?;
        ensure!(page.html.contains("Tell your administrator the reference"), "{}", page.html);
        company.refused(&page, says)?;
    }
    Ok(())
}
