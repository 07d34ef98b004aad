use std::time::Instant;

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

#[test]
fn what_is_read_is_bounded_before_it_is_parsed() {
    let ok = |text: &str| assert!(document(text).is_ok(), "{text:.80}");
    let refused = |text: &str| assert_eq!(document(text).err(), Some(XmlError::TooComplex));
    let nested = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
    ok(&nested(MAX_DEPTH));
    refused(&nested(MAX_DEPTH + 1));
    ok(&format!("<r>{}</r>", "<a></a>".repeat(5000)));
    refused(&format!("<r>{}</r>", "<a/>".repeat(MAX_MARKUP)));

    let attributes = |n| (0..n).map(|i| format!(" a{i} = '>'")).collect::<String>();
    ok(&format!("<r{}/>", attributes(MAX_ATTRIBUTES)));
    refused(&format!("<r{}/>", attributes(MAX_ATTRIBUTES + 1)));

    let declared = |n| (0..n).map(|i| format!("\nxmlns:n{i}\n=\"u:{i}\"")).collect::<String>();
    ok(&format!("<r{}><a/></r>", declared(40)));
    refused(&format!("<r{0}><a{0}/></r>", declared(40)));
    ok(&format!("<r>{}</r>", format!("<a{}/>", declared(40)).repeat(40)));
    refused(&format!("<r>{}</r>", format!("<a{}/>", declared(40)).repeat(51)));
    refused(&format!("<r xmlns:a='{}'/>", "x".repeat(MAX_NAMESPACE)));
    refused(&format!("<r xmlns:{}='x'/>", "a".repeat(MAX_NAMESPACE)));

    // what only looks like tags doesn't count, and hides none
    let hidden = "<a>".repeat(MAX_DEPTH + 1);
    ok(&format!("<r><!--{hidden}--><![CDATA[{hidden}]]><?p {hidden}?>'\"</r>"));
    refused(&format!("<r><!----><![CDATA[]]><?p?>'\"<!-- ' -->{hidden}</r>"));
    assert_eq!(document("<!DOCTYPE r []><r/>").err(), Some(XmlError::HasDtd));
}

/// The worst of 2 MiB that was thought of. An unoptimised build is some 20 times slower than what
/// the module promises.
#[test]
fn hostile_documents_cost_little_time_and_no_stack() {
    let size = 2 << 20;
    let fill = |text: &str| text.repeat(size / text.len());
    let most_attributes = (0..MAX_ATTRIBUTES - 4)
        .map(|i| format!(" {}:a{i:02}=''", if i % 2 == 0 { "p" } else { "q" }))
        .collect::<String>();
    let uri = "u".repeat(MAX_NAMESPACE - 20);
    let two = format!("<r xmlns:p='{uri}p' xmlns:q='{uri}q'>");
    let in_scope = (0..MAX_NAMESPACES_IN_SCOPE - 1)
        .map(|i| format!(" xmlns:{}{i:02}=''", "n".repeat(MAX_NAMESPACE - 10)))
        .collect::<String>();
    let documents = [
        fill("<a>"),
        fill("<a xmlns:b='c'>"),
        fill("<a/>"),
        fill("<"),
        fill("="),
        fill("&#65;"),
        fill("<!---->"),
        "<r><!--".to_owned() + &fill("-"),
        "<r ".to_owned() + &fill("a='b' "),
        "<r>".to_owned() + &fill("x") + "</r>",
        "<r>".to_owned() + &"<![CDATA[x]]>".repeat(MAX_MARKUP - 2) + "</r>",
        format!(
            "{two}{}</r>",
            format!("<e{most_attributes}/>").repeat(MAX_EQUALS / MAX_ATTRIBUTES)
        ),
        format!("<r{in_scope}>{}</r>", "<e xmlns:x=''/>".repeat(MAX_NAMESPACES - 64)),
        format!("<r{in_scope}>{}</r>", "<e/>".repeat(MAX_MARKUP - 2)),
    ];
    let threads = std::thread::Builder::new().stack_size(256 << 10);
    let run = move || {
        for text in documents {
            let start = Instant::now();
            let read = document(&text).map(|_| ());
            let took = start.elapsed();
            println!("{took:>10.1?} {read:?} {text:.40}");
            assert!(took < Duration::from_secs(2), "{took:?} {text:.80}");
        }
    };
    threads.spawn(run).unwrap().join().unwrap();
}
