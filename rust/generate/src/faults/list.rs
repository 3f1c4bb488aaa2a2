//! The catalogue as people read it: `streamify-generate faults`.

use std::fmt::Write as _;

use super::kinds::{ALL, Cause, Fate};

/// Returns the catalogue as text: number, name, default rate, and for each way what is done and what must become of it.
pub fn text() -> String {
    let mut text = String::from(
        "Faults for `run --fault`: D19=0.02 (part of the records), D15.cut=0.01 (one way), all, all=0.01; later ones win.\n\
         Altered, late: the event itself. Added: the sound event is delivered too, so no fault takes one away.\n\n",
    );
    for kind in &ALL {
        // Writing to a text cannot fail.
        let _ = match &kind.cause {
            Cause::Natural(why) => writeln!(text, "{:<4} {}: in every run; {why}", kind.id, kind.name),
            Cause::Elsewhere(why) => writeln!(text, "{:<4} {}: not injected; {why}", kind.id, kind.name),
            Cause::Injected { default_rate, .. } => {
                writeln!(text, "{:<4} {}, {default_rate} unless given", kind.id, kind.name)
            }
        };
        let Cause::Injected { variants, .. } = kind.cause else { continue };
        for variant in variants {
            let fate = match variant.fate {
                Fate::Row => "row".to_owned(),
                Fate::OtherRow => "row with another id".to_owned(),
                Fate::DeadLetter(reason) => format!("dead letter: {}", reason.as_str()),
            };
            let (name, effect, what) = (variant.name, variant.effect.name(), variant.what);
            let _ = writeln!(text, "       {name:<15}{effect:<9}{what} -> {fate}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_listed_with_its_ways() {
        let text = text();

        for number in 1..=23 {
            assert!(text.lines().any(|line| line.starts_with(&format!("D{number} "))), "D{number}");
        }
        assert!(text.contains("D18  offsets go back: not injected; only a broker"));
        assert!(text.contains("D19  delivered twice, 0.02 unless given"));
        assert!(
            text.contains("cut            added    the value ends in its middle -> dead letter: not_json")
        );
    }
}
