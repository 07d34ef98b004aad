use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn times_are_read_as_xml_schema_writes_them() {
    for (text, expected) in [
        ("2026-03-01T12:00:00Z", Some(at("2026-03-01T12:00:00Z"))),
        (" 2026-03-01T12:00:00.123Z\n", Some(at("2026-03-01T12:00:00.123Z"))),
        ("2026-03-01T12:00:00+02:00", Some(at("2026-03-01T10:00:00Z"))),
        ("2026-03-01T12:00:00-05:30", Some(at("2026-03-01T17:30:00Z"))),
        ("2026-03-01T12:00:00", Some(at("2026-03-01T12:00:00Z"))),
        ("9999-12-31T23:59:59Z", Some(Timestamp::MAX)),
        ("2026-03-01", None),
        ("2026-02-30T12:00:00Z", None),
        ("20260301T120000Z", None),
        ("-2026-03-01T12:00:00Z", None),
        ("2026-03-01 12:00:00Z", None),
        ("2026-03-01T12:00:00Z[UTC]", None),
        ("tomorrow", None),
        ("", None),
    ] {
        assert_eq!(timestamp(text), expected, "{text}");
    }
}

#[test]
fn durations_are_read_as_xml_schema_writes_them() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    for (text, expected) in [
        ("PT1H", hours(1)),
        ("PT3600S", hours(1)),
        ("PT60M0.0S", hours(1)),
        ("P1D", hours(24)),
        (" P1DT12H ", hours(36)),
        ("P1M", hours(28 * 24)), // of the February it begins in
        ("P1Y2M3DT4H5M6S", Some(Duration::from_secs((365 + 59 + 3) * 86400 + 14706))),
        ("PT0S", hours(0)),
        ("P9000Y", Some(Duration::MAX)),
        ("-P1D", None),
        ("P-1D", None),
        ("P1W", None),
        ("p1d", None),
        ("P", None),
        ("PT", None),
        ("1 day", None),
        ("PT99999999999999999999S", None),
        ("", None),
    ] {
        assert_eq!(duration(text, at("2026-02-01T00:00:00Z")), expected, "{text}");
    }
}
