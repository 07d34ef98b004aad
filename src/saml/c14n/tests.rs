use roxmltree::Document;

use super::*;

/// What libxml2 (`xmllint --exc-c14n`) makes of the same documents.
#[test]
fn canonical_forms_are_those_of_libxml2() {
    for (xml, canonical) in [
        ("<a  b = '1'   a=\"2\"/>", r#"<a a="2" b="1"></a>"#),
        ("<a><!-- c -->t<?p  q ?><![CDATA[<&>]]></a>", "<a>t<?p q ?>&lt;&amp;&gt;</a>"),
        (
            "<a b='&lt;&gt;&quot;&#39;&#9;&#10;&#13;x\ty\nz'>&#13;\r\n\"'</a>",
            "<a b=\"&lt;>&quot;'&#x9;&#xA;&#xD;x y z\">&#xD;\n\"'</a>",
        ),
        (
            r#"<n:a xmlns:n="n" xmlns:u="u" xmlns="d"><b xmlns:n="n"/><c xmlns=""/><n:d u:y="1" x="2"/></n:a>"#,
            r#"<n:a xmlns:n="n"><b xmlns="d"></b><c></c><n:d xmlns:u="u" x="2" u:y="1"></n:d></n:a>"#,
        ),
        (
            r#"<a xmlns="d"><b xmlns=""><c xmlns="d"/></b></a>"#,
            r#"<a xmlns="d"><b xmlns=""><c xmlns="d"></c></b></a>"#,
        ),
        (
            r#"<a xmlns:z="a" xmlns:y="b" z:k="1" y:k="2" xml:lang="en" k="3"/>"#,
            r#"<a xmlns:y="b" xmlns:z="a" k="3" z:k="1" y:k="2" xml:lang="en"></a>"#,
        ),
        (
            r#"<p:a xmlns:p="1"><p:b xmlns:p="2"><p:c xmlns:p="1"/></p:b></p:a>"#,
            r#"<p:a xmlns:p="1"><p:b xmlns:p="2"><p:c xmlns:p="1"></p:c></p:b></p:a>"#,
        ),
    ] {
        let document = Document::parse(xml).unwrap();
        let mut out = vec![];
        canonicalize(document.root_element(), None, &[], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), canonical, "{xml}");
    }
}

#[test]
fn a_part_is_canonical_without_what_is_around_it_and_without_what_is_left_out() {
    let xml = r#"<r xmlns="d" xmlns:a="a" xmlns:b="b" xml:lang="en"><a:x><a:y>1</a:y><sig>2<deep/></sig>3</a:x> tail</r>"#;
    let document = Document::parse(xml).unwrap();
    let apex = document.root_element().first_element_child().unwrap();
    let signature = apex.last_element_child();
    let canonical = |inclusive: &[&'static str]| {
        let mut out = b"kept ".to_vec();
        canonicalize(apex, signature, inclusive, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(canonical(&[]), r#"kept <a:x xmlns:a="a"><a:y>1</a:y>3</a:x>"#);
    assert_eq!(
        canonical(&["b", "#default", "nowhere", "xml"]),
        r#"kept <a:x xmlns="d" xmlns:a="a" xmlns:b="b"><a:y>1</a:y>3</a:x>"#
    );
}
