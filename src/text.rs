//! Characters by which one name could pass for another.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};

/// Whether nothing is seen of `c`: a control or format character, or one that is left out where it
/// has no effect (Unicode, section 5.21).
pub fn unseen(c: char) -> bool {
    const FORMAT: GeneralCategory = GeneralCategory::Format;
    c.is_control()
        || CodePointMapData::<GeneralCategory>::new().get(c) == FORMAT
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_told_from_what_does() {
        for c in [
            '\0',
            '\n',
            '\u{ad}',
            '\u{34f}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2060}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert!(unseen(c), "{c:?}");
        }
        for c in ['a', ' ', '\u{e9}', '\u{301}', '\u{5d0}', '\u{4e2d}', '\u{1f511}', '\u{fffd}'] {
            assert!(!unseen(c), "{c:?}");
        }
    }
}
