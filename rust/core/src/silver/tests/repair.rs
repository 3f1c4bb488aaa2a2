use std::borrow::Cow;

use proptest::prelude::*;

use crate::silver::repair::repair;

/// Reads the text's UTF-8 as Latin-1.
fn as_latin1(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// Reads the text's UTF-8 as Windows-1252, as browsers decode it.
fn as_windows1252(text: &str) -> String {
    let high: Vec<char> = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ".chars().collect();
    let letter = |byte: u8| match byte {
        0x80..=0x9F => high[usize::from(byte - 0x80)],
        _ => char::from(byte),
    };
    text.bytes().map(letter).collect()
}

#[test]
fn text_read_with_the_wrong_table_comes_back() {
    let names = [
        "Beyoncé",
        "Sigur Rós",
        "Motörhead",
        "ù",
        "Jóhann Jóhannsson",
        "Ærø",
        "Señor – “Ñandú”",
        "Dvořák",
        "Σωκράτης",
        "Кино",
        "宇多田ヒカル",
        "방탄소년단",
        "فيروز",
        "שלמה",
        "🎵 Emoji",
        "Don’t",
        "naïve…",
        "50 €",
        "Łódź",
        "Ö",
        "café \"quoted\" \\ back",
        "tab\tand\0nul é",
    ];
    for name in names {
        assert_eq!(repair(&as_latin1(name)), name, "Latin-1");
        assert_eq!(repair(&as_windows1252(name)), name, "Windows-1252");
        assert_eq!(repair(&as_latin1(&as_latin1(name))), name, "twice");
        if name != "Ö" {
            assert_eq!(repair(&as_windows1252(&as_latin1(name))), name, "one, then the other");
        }
    }
}

#[test]
fn clean_text_stays() {
    let names = [
        "",
        "Nora Vale",
        "Beyoncé",
        "BEYONCÉ’S",
        "Strauß’ Walzer",
        "„Ärzte“",
        "«Été»",
        "»Übermut«",
        "Sigur Rós – Ágætis byrjun",
        "Señor",
        "El Niño “en vivo”",
        "MÖTLEY CRÜE’S",
        "Crüe…",
        "50 °C",
        "CAFÉ™",
        "À la carte",
        "Ñ",
        "É»",
        "ÖŠ",
        "Ã",
        "Ã©té – ß",
        "Dvořák",
        "Žižek",
        "Кино",
        "宇多田ヒカル",
        "🎵",
        "Ça va?",
        "tab\tnul\0",
        "\u{85}",
        "Pokémon™",
        "Ï’",
        "\"quoted\"",
        "back\\slash",
        "Å·Ö¼Ø",
        "½ ¾",
        "§ 5 ¶ 2",
    ];
    for name in names {
        assert!(matches!(repair(name), Cow::Borrowed(_)), "{name} became {}", repair(name));
    }
}

#[test]
fn the_documented_limits_hold() {
    assert_eq!(repair("Ã©"), "é");
    // Ö through both tables, alone: not enough evidence.
    assert_eq!(repair("ÃƒÂ–"), "ÃƒÂ–");
}

/// Letters of both tables whose bytes can follow a first byte of UTF-8.
const CONTINUING: &str = "ªºµƒŠŒŽšœžŸ";

proptest! {
    #[test]
    fn repairing_twice_changes_nothing_more(text in any::<String>()) {
        for text in [text.clone(), as_latin1(&text), as_windows1252(&text)] {
            let once = repair(&text);
            prop_assert_eq!(&repair(&once), &once);
        }
    }

    #[test]
    fn repairing_dense_mojibake_twice_changes_nothing_more(text in "[\u{80}-\u{ff}ÃÂâ€™“”…šž ab]{0,24}") {
        let once = repair(&text);
        prop_assert_eq!(&repair(&once), &once);
    }

    #[test]
    fn words_are_never_damaged(text in "[a-zA-Z0-9 À-ÖØ-öø-ÿĀ-ɏΑ-ωА-яぁ-ん一-龥!-/🎵]{0,30}") {
        prop_assume!(!text.contains(|letter| CONTINUING.contains(letter)));
        prop_assert_eq!(repair(&text), text.as_str());
    }

    #[test]
    fn typography_after_small_letters_is_never_damaged(text in "([a-zß-ÿ0-9]{1,6}[’“”…–—•™€]? ?){0,8}") {
        prop_assume!(!text.contains('ß'));
        prop_assert_eq!(repair(&text), text.as_str());
    }

    #[test]
    fn mojibake_of_any_names_comes_back(text in "[a-z ]{0,5}[à-öø-ÿŁ-żα-ωа-я一-龥]{3,12}[a-z]{0,5}") {
        let latin1 = as_latin1(&text);
        prop_assert_eq!(repair(&latin1), text.as_str());
        let windows = as_windows1252(&text);
        prop_assert_eq!(repair(&windows), text.as_str());
    }
}
