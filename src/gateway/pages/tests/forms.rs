use super::*;

#[tokio::test]
async fn unknown_people_and_domains_get_one_answer_and_keep_what_they_typed() {
    let server = Server::start().await;
    for (typed, message) in [
        ("ada%40nowhere.example", "Nobody can sign in with this address here"),
        ("ada%40sub.acme.com", "Nobody can sign in with this address here"),
        ("ada", "Write your whole e-mail address"),
        ("%40acme.com", "Write your whole e-mail address"),
        ("ada+l%40acme.com+x", "Write your whole e-mail address"),
        ("", "Write your whole e-mail address"),
    ] {
        let answer = server.post("/sign-in", "", &format!("email={typed}")).await;
        assert_eq!(answer.status, 422, "{typed}");
        assert!(answer.body.contains(message), "{typed}: {}", answer.body);
        assert!(answer.body.contains("role=\"alert\""));
        assert!(answer.body.contains("aria-describedby=\"email-error\""));
        let kept = typed.replace('+', " ").replace("%40", "@");
        assert!(answer.body.contains(&format!("value=\"{kept}\"")), "{kept}");
    }
}

#[tokio::test]
async fn nothing_is_looked_up_of_who_types_a_known_domain() {
    let server = Server::start().await;
    let mut answers = Vec::new();
    for name in ["ada", "nobody"] {
        let answer = server.post("/sign-in", "", &format!("email={name}%40acme.com")).await;
        assert_ne!(answer.status, 422, "{}", answer.body);
        answers.push(answer.status);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_form_of_another_browsers_sign_in_leads_nowhere() {
    let server = Server::start().await;
    let later = Timestamp::now() + SignedDuration::from_mins(5);
    let flow = server.ledger.begin_flow(secret::hash("x"), None, later).await.unwrap();
    let form = format!("email=ada%40acme.com&flow={flow}");
    for cookie in ["", "__Host-rollcall-browser=y"] {
        let answer = server.post("/sign-in", cookie, &form).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("Please start again"));
    }
    let wrong = server.post("/sign-in", "", "email=ada%40acme.com&flow=nonsense").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(server.post("/sign-in", "", "flow=").await.status, 400, "no e-mail at all");
    let large = format!("email={}", "x".repeat(20_000));
    assert_eq!(server.post("/sign-in", "", &large).await.status, 400);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_says_so() {
    let server = Server::start().await;
    let (_, cookie) = server.ada().await;
    let (_, elsewhere) = server.ada().await;
    let question = server.get("/sign-out", &cookie).await;
    assert!(question.body.contains("action=\"/sign-out\""));
    assert!(server.is_signed_in(&cookie).await, "a link signs nobody out");
    let answer = server.post("/sign-out", &cookie, "").await;
    assert!(answer.status == 200 && answer.body.contains("You are signed out"));
    let gone = answer.headers["set-cookie"].to_str().unwrap();
    assert!(gone.starts_with("__Host-rollcall-session=;") && gone.contains("Max-Age=0"), "{gone}");
    assert!(!server.is_signed_in(&cookie).await);
    assert!(server.is_signed_in(&elsewhere).await);
    assert_eq!(server.post("/sign-out", "", "").await.status, 200, "again, or never signed in");
    let log = server.ledger.audit_log("acme", None, 100).await.unwrap();
    assert_eq!(log.iter().filter(|line| line.action == "session.end").count(), 1);
}

#[tokio::test]
async fn a_session_of_a_suspended_connection_ends_too() {
    let server = Server::start().await;
    let (session, cookie) = server.ada().await;
    server.ledger.withdraw_connection("id-acme", "okta").await.unwrap();
    assert!(!server.is_signed_in(&cookie).await);
    server.post("/sign-out", &cookie, "").await;
    let left = server.ledger.sessions_beside(session, Timestamp::now()).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn one_ends_ones_own_sessions_and_nobody_elses() {
    let server = Server::start().await;
    let (here, cookie) = server.ada().await;
    let (there, elsewhere) = server.ada().await;
    let (bobs, bob) = server.sign_in(&somebody("acme", "bob")).await;
    let (theirs, globex) = server.sign_in(&somebody("globex", "ada")).await;
    let end = async |session: &str, cookie: &str| {
        server.post(&format!("/sessions/{session}/end"), cookie, "").await.status.as_u16()
    };
    assert_eq!(end(&bobs.to_string(), &cookie).await, 404);
    assert_eq!(end(&theirs.to_string(), &cookie).await, 404);
    assert_eq!(end(&Uuid::now_v7().to_string(), &cookie).await, 404);
    assert_eq!(end("nonsense", &cookie).await, 404);
    assert_eq!(end(&there.to_string(), "").await, 303, "to the sign-in");
    for who in [&bob, &globex, &elsewhere, &cookie] {
        assert!(server.is_signed_in(who).await);
    }
    assert_eq!(end(&there.to_string(), &cookie).await, 303);
    assert!(!server.is_signed_in(&elsewhere).await);
    assert_eq!(end(&here.to_string(), &cookie).await, 200, "that is signing out");
    assert!(!server.is_signed_in(&cookie).await);
}
