//! The landing page: where am I, what may I reach, how do I set up kubectl, where am I signed in.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::CookieJar;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    layout::{Width, page},
    sign_in::called,
};
use crate::{
    gateway::{Gateway, problem::Problem, sign_in},
    ledger::{Grant, Session, Standing},
};

pub(super) async fn show(State(gateway): State<Gateway>, jar: CookieJar) -> Response {
    match landing(&gateway, &jar).await {
        Ok(response) => response,
        Err(problem) => problem.respond(&gateway).await,
    }
}

/// A team, with what may be reached through it.
struct Team {
    name: String,
    grants: Vec<Grant>,
}

async fn landing(gateway: &Gateway, jar: &CookieJar) -> Result<Response, Problem> {
    let Some(standing) = sign_in::current(gateway, jar).await? else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    let mut teams = Vec::with_capacity(standing.teams.len());
    for group in &standing.teams {
        let name = group.split_once(':').map_or(group.as_str(), |(_, team)| team).to_owned();
        let grants = gateway.ledger.grants(&standing.organization, &name).await?;
        teams.push(Team { name, grants });
    }
    let sessions = gateway.ledger.sessions_beside(standing.session, Timestamp::now()).await?;
    let content = html! {
        h1 { "You are signed in to " (standing.namespace) }
        (you(&standing))
        (reach(&teams))
        (kubectl(gateway, &teams))
        (sessions_of(&standing, &sessions))
    };
    Ok(page(gateway, &standing.namespace, Width::Wide, Some(&standing), &content).into_response())
}

fn you(standing: &Standing) -> Markup {
    html! {
        section.card aria-labelledby="you" {
            h2 #you { "You" }
            dl {
                @if let Some(name) = &standing.display_name { dt { "Name" } dd { (name) } }
                dt { "E-mail" } dd { (standing.email) }
                dt { "Organization" } dd { (standing.namespace) }
                dt { "Signed in by" } dd { (standing.connection) }
            }
        }
    }
}

fn reach(teams: &[Team]) -> Markup {
    html! {
        section.card aria-labelledby="teams" {
            h2 #teams { "Your teams, and what you may reach" }
            @if teams.is_empty() {
                p { "You are in no team, so you can’t reach anything in the cluster yet. Ask your administrator to put you into a group of your company’s directory that is a team here." }
            } @else {
                ul.plain {
                    @for team in teams {
                        li {
                            div.title { h3 { (team.name) } span.badge { "Directory Group" } }
                            (grants_of(&team.grants))
                        }
                    }
                }
            }
        }
    }
}

fn grants_of(grants: &[Grant]) -> Markup {
    if grants.is_empty() {
        return html! { p.quiet { "Nobody gets access through this team yet." } };
    }
    html! {
        table {
            thead { tr { th scope="col" { "Namespace" } th scope="col" { "Role" } } }
            tbody {
                @for grant in grants {
                    tr {
                        td { (grant.namespace.as_deref().unwrap_or("the whole cluster")) }
                        td { (grant.cluster_role) }
                    }
                }
            }
        }
    }
}

fn kubectl(gateway: &Gateway, teams: &[Team]) -> Markup {
    let issuer = gateway.url("");
    let first = teams.iter().flat_map(|team| &team.grants).find_map(|g| g.namespace.as_ref());
    let stanza = format!(
        "users:
- name: rollcall
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: kubectl-rollcall
      args: [credential, --issuer={issuer}]
      interactiveMode: IfAvailable
"
    );
    html! {
        section.card aria-labelledby="kubectl" {
            h2 #kubectl { "Set up kubectl" }
            p { "With the " code { "kubectl-rollcall" } " plugin installed, once: sign in, which makes a user of your kubeconfig, and have your context use it." }
            pre tabindex="0" aria-label="Commands to sign in" {
                code {
                    "kubectl rollcall login --issuer " (issuer) " --set-credentials\n"
                    "kubectl config set-context --current --user=rollcall"
                }
            }
            p { "Then use kubectl as always. When a sign-in has run out, a browser opens by itself." }
            @if let Some(namespace) = first {
                pre tabindex="0" aria-label="Example command" {
                    code { "kubectl get pods --namespace " (namespace) }
                }
            }
            details {
                summary { "Or write the kubeconfig’s user by hand" }
                pre tabindex="0" aria-label="Kubeconfig user" { code { (stanza) } }
            }
        }
    }
}

fn sessions_of(standing: &Standing, sessions: &[Session]) -> Markup {
    html! {
        section.card aria-labelledby="sessions" {
            h2 #sessions { "Your sessions" }
            p.quiet { "Ending one also ends what kubectl and other programs got by it, within minutes." }
            ul.plain {
                @for session in sessions {
                    @let own = session.id == standing.session;
                    @let browser = browser_name(&session.browser);
                    li.split {
                        div {
                            div.title {
                                h3 title=(session.browser) { (browser) }
                                @if own { span.badge { "This browser" } }
                            }
                            dl.small {
                                dt { "Since" } dd { (time(session.began_at)) }
                                dt { "Until" } dd { (time(session.expires_at)) }
                                @if !session.clients.is_empty() {
                                    dt { "Programs" } dd { (programs(&session.clients)) }
                                }
                            }
                        }
                        form method="post" action={ "/sessions/" (session.id) "/end" } {
                            button.plain type="submit" aria-label=(end_label(session, own, &browser)) { "End" }
                        }
                    }
                }
            }
        }
    }
}

fn end_label(session: &Session, own: bool, browser: &str) -> String {
    match own {
        true => "End this browser’s session".into(),
        false => {
            format!("End the session of {browser} since {}", in_words(session.began_at))
        }
    }
}

fn programs(clients: &[String]) -> String {
    clients.iter().map(|client| called(client)).collect::<Vec<_>>().join(", ")
}

fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (in_words(at)) } }
}

/// Without JavaScript the reader's time zone isn't known.
fn in_words(at: Timestamp) -> String {
    at.strftime("%-d %B %Y, %H:%M UTC").to_string()
}

/// What people call the browser with this User-Agent header, as far as it can be told.
fn browser_name(user_agent: &str) -> String {
    // the order matters: most browsers also claim to be those that follow
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("CrOS", "ChromeOS"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(sign, _)| user_agent.contains(sign)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, _) => user_agent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::browser_name;

    #[test]
    fn browsers_are_called_what_people_call_them() {
        for (header, name) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.0", "curl/8.0"),
        ] {
            assert_eq!(browser_name(header), name);
        }
    }
}
