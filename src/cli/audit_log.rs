//! `rollcall log`: the audit log, the newest line first.

use super::printable;
use crate::ledger::AuditLine;

/// Tell of `lines`, which are in order.
pub fn tell(lines: &[AuditLine]) -> String {
    let text = |line: &AuditLine| {
        let mut text = format!("{} {} {} {}", line.at, line.actor, line.action, line.subject);
        if let Some(detail) = line.detail.as_deref().filter(|detail| !detail.is_empty()) {
            text += &format!(": {detail}");
        }
        if let Some(reference) = &line.reference {
            text += &format!(" (reference {reference})");
        }
        printable(&text) + "\n"
    };
    lines.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let line = AuditLine {
            at: Timestamp::UNIX_EPOCH,
            actor: "saml:okta".into(),
            action: "sign-in.refused".into(),
            subject: "ada@acme.example\u{1b}[2J".into(),
            detail: Some("first\n1970 forged".into()),
            reference: Some("K7QF-2M".into()),
        };
        let bare = AuditLine { detail: None, reference: None, ..line.clone() };
        assert_eq!(
            tell(&[line, bare]),
            "1970-01-01T00:00:00Z saml:okta sign-in.refused ada@acme.example\\u{1b}[2J: \
             first\\n1970 forged (reference K7QF-2M)\n\
             1970-01-01T00:00:00Z saml:okta sign-in.refused ada@acme.example\\u{1b}[2J\n"
        );
    }
}
