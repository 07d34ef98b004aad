//! Other programs that people sign in to: openid-client, which shares no code with Rollcall, as a
//! confidential client of a class and as kubectl's.

use anyhow::{Context, ensure};
use rollcall_kit::{
    openid_client::{OpenidClient, Refused, SignIn, Tokens},
    visitor::Visitor,
};
use serde_json::{Value, json};

use crate::{
    company::{Company, other},
    world::World,
};

const CLASS: &str = "programs";
const SECRET: &str = "hush: & more";
const BACK: &str = "https://argocd.example/auth/callback";
const LOOPBACK: &str = "http://127.0.0.1:51234/callback";
const SCOPE: &str = "openid profile email groups offline_access";

/// A class with the client argocd, whose Secret is there or not.
async fn offer(world: &World, secret: bool) -> anyhow::Result<()> {
    let name = "argocd-client";
    if secret {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "rollcall.dev/oidc-client",
            "metadata": {"name": name, "namespace": "rollcall"},
            "stringData": {"clientSecret": SECRET},
        });
        world.apply(&secret.to_string()).await?;
    } else {
        world.kubectl(&format!("delete secret {name} -n rollcall")).await?;
    }
    let clients = json!([{"id": "argocd", "redirectURIs": [BACK], "secretRef": {"name": name}}]);
    let class = json!({
        "apiVersion": "rollcall.dev/v1alpha1", "kind": "IdentityClass",
        "metadata": {"name": CLASS},
        "spec": {
            "provider": {"builtin": {"clients": clients}},
            "namespaceSelector": {}, "allowPrivateEndpoints": true,
            "domains": {"allowSpecialUse": true},
        },
    });
    world.apply(&class.to_string()).await?;
    world.nudge("default", "idclass/programs").await?;
    let reason = if secret { "Accepted" } else { "SecretNotFound" };
    let message = world.reason("default", "idclass/programs", "Accepted", reason).await?;
    ensure!(secret || message.contains("Nobody can sign in to argocd for now"), "{message}");
    Ok(())
}

/// A sign-in that a browser brought back to its client.
struct Back {
    begun: SignIn,
    callback: String,
}

struct People {
    company: Company<'static>,
    /// What they type to sign in.
    email: String,
    browser: Visitor,
}

impl People {
    fn client(&self, id: &str, secret: Option<&str>) -> anyhow::Result<OpenidClient> {
        let stage = &self.company.world.stage;
        OpenidClient::new(&stage.gateway, id, secret, &stage.ca_pem)
    }

    /// Where the client's request leads, for somebody who must sign in at their company.
    async fn sign_in(
        &self,
        client: &OpenidClient,
        to: &str,
        parameters: &Value,
    ) -> anyhow::Result<Back> {
        let begun = client.begin(to, parameters).await?;
        let page = self.browser.visit(&begun.url).await?;
        page.says("Work e-mail")?;
        let page = self.browser.submit(&page, &[("email", &self.email)]).await?;
        let back = |url: &url::Url| url.as_str().starts_with(to);
        let callback = self.browser.submit_until(&page, &[], back).await?.into();
        Ok(Back { begun, callback })
    }

    /// The same for somebody who has signed in.
    async fn return_at_once(
        &self,
        client: &OpenidClient,
        parameters: &Value,
    ) -> anyhow::Result<Back> {
        let begun = client.begin(BACK, parameters).await?;
        let back = |url: &url::Url| url.as_str().starts_with(BACK);
        let callback = self.browser.visit_until(&begun.url, back).await?.into();
        Ok(Back { begun, callback })
    }

    /// kubectl's request of somebody who has signed in: they say that it is theirs.
    async fn go_on(&self, kubectl: &OpenidClient) -> anyhow::Result<Back> {
        let begun = kubectl.begin(LOOPBACK, &json!({})).await?;
        let page = self.browser.visit(&begun.url).await?;
        page.says("Continue to kubectl?")?;
        let link = page.html.split("href=\"/sign-in/go-on?").nth(1).context("no link")?;
        let link = link.split('"').next().context("no link")?;
        let link = page.url.join(&format!("/sign-in/go-on?{link}"))?;
        let back = |url: &url::Url| url.as_str().starts_with(LOOPBACK);
        let callback = self.browser.visit_until(link.as_str(), back).await?.into();
        Ok(Back { begun, callback })
    }
}

impl Back {
    async fn finish(&self, client: &OpenidClient) -> anyhow::Result<Tokens> {
        client.finish(&self.begun, &self.callback).await
    }
}

fn token<'a>(tokens: &'a Tokens, name: &str) -> anyhow::Result<&'a str> {
    tokens.tokens.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"))
}

#[track_caller]
fn refused<T>(result: anyhow::Result<T>, error: &str) -> anyhow::Result<()> {
    let refused: Refused = result.err().context("it was not refused")?.downcast()?;
    ensure!(refused.error.as_deref() == Some(error), "{refused}");
    Ok(())
}

#[tokio::test]
async fn an_independent_client_signs_people_in_refreshes_and_gives_back() -> anyhow::Result<()> {
    let world = World::shared().await?;
    offer(world, true).await?;
    world.kubectl("create namespace programs").await?;
    world.kubectl(&format!("annotate namespace programs rollcall.dev/class={CLASS}")).await?;
    let company = Company::found("programs").await?;
    company.idp.sign_in_as(Some(company.person("ada")));
    let email = company.email("ada");
    let people = People { browser: company.visitor()?, email, company };
    let argocd = people.client("argocd", Some(SECRET))?;
    let scope = json!({ "scope": SCOPE });

    let back = people.sign_in(&argocd, BACK, &scope).await?;
    let got = back.finish(&argocd).await?;
    let claims = &got.claims;
    ensure!(claims["aud"] == "argocd" && claims["iss"] == world.stage.gateway, "{claims}");
    ensure!(claims["email"] == people.company.email("ada"), "{claims}");
    ensure!(claims["groups"] == json!([]) && claims["email_verified"] == true, "{claims}");
    let subject = claims["sub"].as_str().context("no sub")?;
    let userinfo = argocd.userinfo(token(&got, "access_token")?, subject).await?;
    ensure!(userinfo["email"] == claims["email"], "{userinfo}");
    refused(back.finish(&argocd).await, "invalid_grant").context("a code used twice")?;
    refused(argocd.refresh(token(&got, "refresh_token")?).await, "invalid_grant")
        .context("a refresh token of a session that a code's second use ended")?;

    // a refresh token is good once, and given back it is over
    let got = people.sign_in(&argocd, BACK, &scope).await?.finish(&argocd).await?;
    let next = argocd.refresh(token(&got, "refresh_token")?).await?;
    ensure!(next.claims["sub"] == subject, "{}", next.claims);
    argocd.revoke(token(&next, "refresh_token")?).await?;
    refused(argocd.refresh(token(&next, "refresh_token")?).await, "invalid_grant")?;

    // the session is still there; a refresh token used twice ends it
    let got = people.return_at_once(&argocd, &scope).await?.finish(&argocd).await?;
    let next = argocd.refresh(token(&got, "refresh_token")?).await?;
    refused(argocd.refresh(token(&got, "refresh_token")?).await, "invalid_grant")?;
    refused(argocd.refresh(token(&next, "refresh_token")?).await, "invalid_grant")?;
    ensure!(argocd.userinfo(token(&next, "access_token")?, subject).await.is_err());
    ensure!(!people.company.is_signed_in(&people.browser).await?);

    // who is asked to sign in anew has one session after it
    let before = people.sign_in(&argocd, BACK, &scope).await?.finish(&argocd).await?;
    let anew = json!({ "scope": SCOPE, "prompt": "login" });
    let after = people.sign_in(&argocd, BACK, &anew).await?.finish(&argocd).await?;
    refused(argocd.refresh(token(&before, "refresh_token")?).await, "invalid_grant")?;
    argocd.refresh(token(&after, "refresh_token")?).await?;

    impostors(&people, &argocd).await?;
    withheld(&people, &argocd).await
}

#[tokio::test]
async fn who_is_below_a_proved_domain_is_in_until_somebody_else_proves_that_branch()
-> anyhow::Result<()> {
    let company = Company::found("branches").await?;
    let world = company.world;
    let email = "ada@berlin.branches.test.example".to_owned();
    company.idp.sign_in_as(Some(other(&email)));
    let people = People { browser: company.visitor()?, email, company };
    let kubectl = people.client("kubernetes", None)?;
    let enter =
        async || people.sign_in(&kubectl, LOOPBACK, &json!({})).await?.finish(&kubectl).await;
    enter().await.err().context("the domain doesn't cover what is below it")?;

    let covers = "{domain: branches.test.example, includeSubdomains: true}";
    world.make_one("VerifiedDomain", "branches", "mail", covers).await?;
    let verified = "{.status.conditions[?(@.type==\"Verified\")].message}";
    let said = "branches.test.example is verified, with all below it.";
    world.field("branches", "vd/mail", verified, said).await?;
    let got = enter().await?;
    ensure!(got.claims["email"] == people.email, "{}", got.claims);
    let got = kubectl.refresh(token(&got, "refresh_token")?).await?;
    ensure!(people.company.is_signed_in(&people.browser).await?);

    world.organization("berliners").await?;
    let branch = "{domain: berlin.branches.test.example}";
    world.make_one("VerifiedDomain", "berliners", "branch", branch).await?;
    world.prove("berliners", "branch").await?;
    ensure!(!people.company.is_signed_in(&people.browser).await?, "the session goes on");
    refused(kubectl.refresh(token(&got, "refresh_token")?).await, "invalid_grant")?;
    enter().await.err().context("the branch is somebody else's")?;
    // in the words of the company's own login, too
    let person = other(&people.email);
    let answer = people.company.answer(&people.browser, &person).await?;
    let page = people.browser.post(&answer.acs, &answer.fields).await?;
    people.company.refused(&page, "DomainNotOurs")?;

    // it falls back to who has the domain above, and nothing of before comes back with it
    world.kubectl("delete vd/branch -n berliners").await?;
    ensure!(!people.company.is_signed_in(&people.browser).await?, "the session is back");
    refused(kubectl.refresh(token(&got, "refresh_token")?).await, "invalid_grant")?;
    enter().await.map(drop)
}

/// What isn't this client's, or isn't as it must be, is worth nothing.
async fn impostors(people: &People, argocd: &OpenidClient) -> anyhow::Result<()> {
    let none = json!({});
    let guesser = people.client("argocd", Some("a guess"))?;
    let back = people.return_at_once(argocd, &none).await?;
    // told by a header, as who authenticates by a header is (RFC 6749, section 5.2)
    let challenged: Refused = back.finish(&guesser).await.err().context("a guess")?.downcast()?;
    ensure!(challenged.code == "OAUTH_WWW_AUTHENTICATE_CHALLENGE", "{challenged}");
    let public = people.client("argocd", None)?;
    refused(back.finish(&public).await, "invalid_client")?;
    back.finish(argocd).await.context("others who tried have spent the code")?;

    let kubectl = people.client("kubernetes", None)?;
    let back = people.go_on(&kubectl).await?;
    let got = back.finish(&kubectl).await?;
    ensure!(got.claims["aud"] == "kubernetes", "{}", got.claims);
    let refresh_token = token(&got, "refresh_token").context("kubectl always gets one")?;
    refused(argocd.refresh(refresh_token).await, "invalid_grant")?;
    kubectl.refresh(refresh_token).await.context("somebody else's try ended it")?;

    let plain = json!({ "code_challenge_method": "plain" });
    let back = people.return_at_once(argocd, &plain).await?;
    let answer: Refused = back.finish(argocd).await.err().context("PKCE downgraded")?.downcast()?;
    ensure!(answer.error.as_deref() == Some("invalid_request"), "{answer}");
    for near in ["https://argocd.example/auth/callback/", "https://argocd.example/auth/Callback"] {
        let begun = argocd.begin(near, &none).await?;
        let page = people.browser.visit(&begun.url).await?;
        people.company.refused(&page, "is not a redirect URI of the client")?;
    }
    Ok(())
}

/// Without its Secret a client serves nobody, and the others serve as before.
async fn withheld(people: &People, argocd: &OpenidClient) -> anyhow::Result<()> {
    let (world, none) = (people.company.world, json!({}));
    offer(world, false).await?;
    let begun = argocd.begin(BACK, &none).await?;
    let page = people.browser.visit(&begun.url).await?;
    people.company.refused(&page, "there is no client \"argocd\"")?;
    let kubectl = people.client("kubernetes", None)?;
    people.go_on(&kubectl).await?.finish(&kubectl).await?;
    offer(world, true).await?;
    people.return_at_once(argocd, &none).await?.finish(argocd).await.map(drop)
}
