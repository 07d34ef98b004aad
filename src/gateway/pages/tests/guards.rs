use super::*;

#[tokio::test]
async fn every_page_tells_the_browser_what_it_may_do() {
    let server = Server::start().await;
    let (_, cookie) = server.ada().await;
    for answer in [
        server.get("/", &cookie).await,
        server.get("/sign-in", "").await,
        server.get("/sign-in?flow=x", "").await,
        server.get("/sign-out", "").await,
        server.get("/sso/continue", "").await,
        server.get("/nothing", "").await,
        server.post("/sign-in", "", "email=x").await,
    ] {
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("strict-transport-security"), "max-age=31536000");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert!(header("permissions-policy").contains("camera=()"));
    }
}

#[tokio::test]
async fn answers_to_programs_are_guarded_too() {
    let server = Server::start().await;
    for path in ["/scim/v2/acme/okta/Users", "/"] {
        let answer = server.get(path, "").await;
        assert_ne!(answer.status, 200);
        assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.headers.contains_key("content-security-policy"));
    }
}

#[tokio::test]
async fn the_stylesheet_may_be_kept_for_good() {
    let server = Server::start().await;
    let page = server.get("/sign-in", "").await.body;
    for (mark, media_type) in [
        ("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("<img src=\"", "image/svg+xml"),
    ] {
        let path = page.split(mark).nth(1).unwrap().split('"').next().unwrap();
        let answer = server.get(path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["content-type"], media_type);
        assert_eq!(answer.headers["cache-control"], "public, max-age=31536000, immutable");
        assert!(!answer.body.contains("http:") || media_type != "text/css; charset=utf-8");
    }
}

#[tokio::test]
async fn forms_of_other_sites_change_nothing() {
    let server = Server::start().await;
    let (session, cookie) = server.ada().await;
    let forged = [
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "cross-site"), ("origin", "https://rollcall.example")],
        vec![("origin", "https://evil.example")],
        vec![("origin", "http://rollcall.example")],
        vec![("origin", "null")],
        vec![],
    ];
    let own = [
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
        vec![("origin", "https://rollcall.example")],
    ];
    let send = async |path: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = post(path, &cookie, "email=x&answer=x");
        request.headers_mut().remove("sec-fetch-site");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        server.send(request).await
    };
    let end = format!("/sessions/{session}/end");
    for headers in &forged {
        for path in ["/sign-out", "/sign-in", "/sso/continue", &end] {
            let answer = send(path, headers).await;
            assert_eq!(answer.status, 400, "{path} {headers:?}");
            let reference = answer.body.split("\"reference\">").nth(1).unwrap();
            let reference = reference.split('<').next().unwrap();
            let lines = server.ledger.audit_of_nobody(reference).await.unwrap();
            let detail = lines[0].detail.as_deref().unwrap();
            assert!(detail.contains("not sent by a page of this gateway"), "{detail}");
        }
    }
    assert!(server.is_signed_in(&cookie).await);
    for headers in &own {
        assert_eq!(send("/sign-in", headers).await.status, 422, "{headers:?}");
    }
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_to_wait() {
    let server = Server::start().await;
    let ask = async |address: &str, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        server.send(from(address, request)).await
    };
    let mut served = 0;
    let refused = loop {
        let answer = ask("192.0.2.1", "/sign-in").await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 5000, "there is no limit");
    };
    assert!(served >= 200, "{served}");
    assert_eq!(refused.status, 429);
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    assert!(refused.body.contains("Too many attempts"));
    assert!(refused.headers.contains_key("content-security-policy"));
    let mut answers = Vec::new();
    for path in ["/oauth2/token", "/sso/acme/okta/saml/acs", "/sso/continue"] {
        answers.push((path, ask("192.0.2.1", path).await));
    }
    let limited: Vec<_> = answers.iter().filter(|(_, a)| a.status == 429).collect();
    assert!(limited.len() >= 2, "they count together");
    for (path, answer) in limited {
        let json = answer.headers["content-type"] == "application/json";
        assert_eq!(json, *path == "/oauth2/token", "{path}");
    }
    assert_eq!(ask("192.0.2.2", "/sign-in").await.status, 200);
    assert_eq!(ask("192.0.2.1", "/scim/v2/acme/okta/Users").await.status, 401, "not counted");
    assert_eq!(server.get("/sign-in", "").await.status, 200, "no address, no limit");
}

#[tokio::test]
async fn nobody_fills_the_audit_log_by_being_refused() {
    let server = Server::start().await;
    let ask = async |address: &str| {
        let request = Request::get("/sso/continue").body(Body::empty()).unwrap();
        server.send(from(address, request)).await
    };
    for _ in 0..60 {
        assert_eq!(ask("192.0.2.1").await.status, 400);
    }
    let lines = server.ledger.audit_for_tests().await.len();
    let refused = ask("192.0.2.1").await;
    assert_eq!(refused.status, 429);
    assert!(!refused.body.contains("Reference"), "{}", refused.body);
    assert_eq!(server.ledger.audit_for_tests().await.len(), lines);
    assert_eq!(ask("192.0.2.2").await.status, 400, "another address");
    let request = Request::get("/sign-in").body(Body::empty()).unwrap();
    assert_eq!(server.send(from("192.0.2.1", request)).await.status, 200, "what isn't refused");
}

#[tokio::test]
async fn nobody_fills_the_audit_log_with_answers_that_nobody_awaits() {
    let server = Server::start().await;
    // to a connection, and to none; whether the page has a reference
    let send = async |number: usize, connection: &str| {
        let path = format!("/sso/{connection}/saml/acs");
        let request = post(&path, "", "SAMLResponse=x&RelayState=y");
        let answer = server.send(from(&format!("192.0.2.{number}"), request)).await;
        assert!(answer.status.is_client_error() && answer.status != 429, "{}", answer.status);
        answer.body.contains("Reference")
    };
    for connection in ["acme/okta", "acme/nobody"] {
        let before = server.ledger.audit_for_tests().await.len();
        let mut kept = 0;
        while send(kept, connection).await {
            kept += 1;
            assert!(kept < 200, "{connection}: there is no end");
        }
        assert!(kept >= 10, "{connection}: {kept}");
        assert_eq!(server.ledger.audit_for_tests().await.len(), before + kept);
    }
    assert!(send(1, "globex/okta").await, "another organization's administrator sees theirs");
}

#[tokio::test]
async fn an_email_typed_too_often_is_told_to_wait_wherever_it_leads() {
    let server = Server::start().await;
    let typed = async |address: &str, email: &str| {
        let request = post("/sign-in", "", &format!("email={email}"));
        server.send(from(address, request)).await.status.as_u16()
    };
    for _ in 0..10 {
        assert_eq!(typed("192.0.2.1", "ada%40nowhere.example").await, 422);
    }
    assert_eq!(typed("192.0.2.1", "ADA%40nowhere.example").await, 429);
    assert_eq!(typed("192.0.2.1", "bob%40nowhere.example").await, 422);
    assert_eq!(typed("192.0.2.2", "ada%40nowhere.example").await, 422);
}
