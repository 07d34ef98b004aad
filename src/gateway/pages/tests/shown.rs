use maud::html;

use super::*;
use crate::gateway::{
    pages::{self, sign_in::departure_page},
    problem::Advice,
    sign_in::Departure,
};

/// How often `what` occurs.
fn count(page: &str, what: &str) -> usize {
    page.matches(what).count()
}

/// What a screen reader leans on.
#[track_caller]
fn assert_accessible(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page}");
    for once in ["<title>", "<h1>", "<main", "<header", "<footer>", "name=\"viewport\""] {
        assert_eq!(count(page, once), 1, "{once} in {page}");
    }
    for input in page.split("<input").skip(1) {
        let (input, _) = input.split_once('>').unwrap();
        let id = input.split("id=\"").nth(1).and_then(|id| id.split('"').next());
        let labelled = id.is_some_and(|id| page.contains(&format!("<label for=\"{id}\">")));
        assert!(labelled || input.contains("type=\"hidden\""), "no label: {input}");
    }
    for image in page.split("<img").skip(1) {
        assert!(image.split_once('>').unwrap().0.contains("alt="), "{image}");
    }
    assert!(!page.contains("<script") && !page.contains("style="), "{page}");
    assert_eq!(count(page, "src=\"http") + count(page, "rel=\"stylesheet\" href=\"http"), 0);
}

#[tokio::test]
async fn who_has_signed_in_sees_where_they_are_and_what_they_may_reach() {
    let server = Server::start().await;
    server.team("acme", "idle", "Developers").await;
    server.grant("acme", "developers", &[("api", "view"), ("web", "edit")]).await;
    server.grant("globex", "developers", &[("vault", "admin")]).await;
    let (session, cookie) = server.ada().await;
    server.kubectl(session).await;
    let answer = server.get("/", &cookie).await;
    assert_eq!(answer.status, 200);
    assert_accessible(&answer.body);
    for shown in [
        "<h1>You are signed in to acme</h1>",
        "Ada Lovelace",
        "ada@acme.com",
        "<h3>developers</h3><span class=\"badge\">Directory Group</span>",
        "<td>web</td><td>edit</td>",
        "<td>api</td><td>view</td>",
        "<h3>idle</h3><span class=\"badge\">Directory Group</span></div><p class=\"quiet\">Nobody gets access",
        "kubectl rollcall login --issuer https://rollcall.example --set-credentials\n",
        "kubectl config set-context --current --user=rollcall<",
        "kubectl get pods --namespace api",
        "Firefox on Linux",
        "<dt>Programs</dt><dd>kubectl</dd>",
        "This browser",
        "Rollcall at rollcall.example",
    ] {
        assert!(answer.body.contains(shown), "{shown} in {}", answer.body);
    }
    assert!(!answer.body.contains("vault"));
}

#[tokio::test]
async fn who_is_in_no_team_is_told_so() {
    let server = Server::start().await;
    let (_, cookie) = server.sign_in(&somebody("acme", "bob")).await;
    let answer = server.get("/", &cookie).await;
    assert!(answer.body.contains("You are in no team"), "{}", answer.body);
    assert!(!answer.body.contains("Directory Group<"));
}

#[tokio::test]
async fn who_has_not_signed_in_is_sent_to_do_so() {
    let server = Server::start().await;
    for cookie in ["", "__Host-rollcall-session=nonsense"] {
        let answer = server.get("/", cookie).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["location"]),
            (303, &"/sign-in".parse().unwrap())
        );
    }
    let answer = server.get("/sign-in", "").await;
    assert_eq!(answer.status, 200);
    assert_accessible(&answer.body);
    assert!(answer.body.contains("autocomplete=\"username\""));
    let (_, cookie) = server.ada().await;
    assert_eq!(server.get("/sign-in", &cookie).await.status, 303, "they have signed in already");
}

#[tokio::test]
async fn hostile_names_stay_text() {
    let server = Server::start().await;
    let bad = "\"'><script>alert(1)</script>";
    let asserted = Asserted { display_name: Some(bad.into()), ..somebody("acme", "ada") };
    server.grant("acme", "developers", &[(bad, bad)]).await;
    let (_, cookie) = server.sign_in(&asserted).await;
    let hint = "/sign-in?login_hint=%22%27%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let typed = "email=%22%27%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for answer in [
        server.get("/", &cookie).await,
        server.get(hint, "").await,
        server.post("/sign-in", "", typed).await,
    ] {
        assert!(answer.body.contains("&lt;script&gt;"), "{}", answer.body);
        assert_accessible(&answer.body);
    }
    let gateway = gateway(&server.ledger);
    let url = format!("https://idp.example/?a=1&b={bad}");
    let fields = vec![("SAMLRequest", bad.to_owned())];
    for departure in
        [Departure::Redirect(url.clone()), Departure::Post { action: url.clone(), fields }]
    {
        let page = departure_page(&gateway, bad, &departure);
        let body = to_bytes(page.into_body(), usize::MAX).await.unwrap();
        assert_accessible(std::str::from_utf8(&body).unwrap());
    }
    assert_accessible(&pages::confirm(&gateway, bad, bad, bad).into_string());
}

#[tokio::test]
async fn the_way_to_the_company_needs_no_script() {
    let server = Server::start().await;
    let gateway = gateway(&server.ledger);
    let url = "https://idp.example/sso?a=1&b=2".to_owned();
    let link = departure_page(&gateway, "acme", &Departure::Redirect(url.clone()));
    assert_eq!(link.headers().get(header::CONTENT_SECURITY_POLICY), None, "the strict one");
    let body = to_bytes(link.into_body(), usize::MAX).await.unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(body.contains("content=\"0; url=https://idp.example/sso?a=1&amp;b=2\""), "{body}");
    assert!(body.contains("href=\"https://idp.example/sso?a=1&amp;b=2\">Continue</a>"), "{body}");
    let fields = vec![("SAMLRequest", "PHg+".to_owned()), ("RelayState", "x".to_owned())];
    let form = departure_page(&gateway, "acme", &Departure::Post { action: url, fields });
    let policy = form.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.contains("form-action https:;"), "{policy}");
    let body = to_bytes(form.into_body(), usize::MAX).await.unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    for part in [
        "<form method=\"post\" action=\"https://idp.example/sso?a=1&amp;b=2\">",
        "<input type=\"hidden\" name=\"SAMLRequest\" value=\"PHg+\">",
        "<input type=\"hidden\" name=\"RelayState\" value=\"x\">",
        "Continue</button>",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
}

#[tokio::test]
async fn a_problem_says_what_to_do_and_has_its_reference_in_the_audit_log() {
    let server = Server::start().await;
    let path = format!("/sign-in?flow={}", Uuid::new_v4());
    let answer = server.get(&path, "__Host-rollcall-browser=x").await;
    assert_eq!(answer.status, 400);
    assert_accessible(&answer.body);
    let reference = answer.body.split("<code class=\"reference\">").nth(1).unwrap();
    let reference = reference.split('<').next().unwrap();
    let lines = server.ledger.audit_of_nobody(reference).await.unwrap();
    assert_eq!(lines.len(), 1, "{reference}");
    let gateway = gateway(&server.ledger);
    for advice in [
        Advice::StartAgain,
        Advice::AskAdministrator,
        Advice::NotAdmitted,
        Advice::BadRequest,
        Advice::TooMany,
        Advice::TryLater,
    ] {
        let page = pages::problem(&gateway, advice, Some("acme"), Some("ABCD1234")).into_string();
        assert_accessible(&page);
        assert!(page.contains("What to do") && page.contains("ABCD1234") && page.contains("acme"));
    }
}

#[tokio::test]
async fn a_program_that_asks_is_named() {
    let server = Server::start().await;
    let browser = secret::hash("x");
    let later = Timestamp::now() + SignedDuration::from_mins(5);
    for (request, name) in [
        (r#"{"client":"kubernetes","fresh":false,"nonce":null}"#, "kubectl"),
        (r#"{"client":"<argocd>","fresh":true}"#, "&lt;argocd&gt;"),
    ] {
        let flow = server.ledger.begin_flow(browser, Some(request), later).await.unwrap();
        let path = format!("/sign-in?flow={flow}&login_hint=ada@acme.com");
        let answer = server.get(&path, "__Host-rollcall-browser=x").await;
        let shown = html! { "to continue to " strong { (maud::PreEscaped(name)) } }.into_string();
        assert!(answer.body.contains(&shown), "{}", answer.body);
        assert!(answer.body.contains(&format!("name=\"flow\" value=\"{flow}\"")));
        assert!(answer.body.contains("value=\"ada@acme.com\""));
    }
}

#[tokio::test]
async fn who_has_signed_in_is_asked_whether_the_program_on_their_machine_is_theirs() {
    let server = Server::start().await;
    let (_, cookie) = server.ada().await;
    let (uri, challenge) = ("http://127.0.0.1:8000/", "x".repeat(43));
    let query = format!("response_type=code&scope=openid&client_id=kubernetes&redirect_uri={uri}");
    let pkce = format!("code_challenge_method=S256&code_challenge={challenge}");
    let answer = server.get(&format!("/oauth2/authorize?{query}&{pkce}"), &cookie).await;
    assert_eq!(answer.status, 200);
    assert_accessible(&answer.body);
    for shown in ["<h1>Continue to kubectl?</h1>", "ada@acme.com", "Sign in as somebody else"] {
        assert!(answer.body.contains(shown), "{shown} in {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let server = Server::start().await;
    for path in ["/nothing", "/assets/nothing.css", "/sso/acme"] {
        let answer = server.get(path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_accessible(&answer.body);
    }
}
