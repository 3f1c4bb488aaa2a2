//! One way to show an error to a person: the message, its causes, and what to do about it.
//!
//! ```text
//! error: failed to commit 3 data files to table `lake.raw.events` after 5 attempts
//!   caused by: catalog rejected the commit: base snapshot 81 is no longer current (now 83)
//!   hint: another writer is active; stop it or raise `--commit-retries` (now 5)
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints `error`, its causes and `hint` to stderr. A closed stderr is ignored: there is nobody left to tell.
pub fn print_error(error: &dyn Error, hint: Option<&str>) {
    crate::status::clear();
    let _ = std::io::stderr().lock().write_all(format_error(error, hint).as_bytes());
}

/// Returns what [`print_error`] prints; every line ends with a newline.
pub fn format_error(error: &dyn Error, hint: Option<&str>) -> String {
    let mut text = String::new();
    push_line(&mut text, "error: ", &error.to_string());
    let mut cause = error.source();
    while let Some(current) = cause {
        push_line(&mut text, "  caused by: ", &current.to_string());
        cause = current.source();
    }
    if let Some(hint) = hint {
        push_line(&mut text, "  hint: ", hint);
    }
    text
}

/// Further lines of a message stand under its first.
fn push_line(text: &mut String, label: &str, message: &str) {
    let indent = format!("\n{:width$}", "", width = label.len());
    let _ = writeln!(text, "{label}{}", message.trim_end().replace('\n', &indent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layered {
        text: &'static str,
        #[source]
        source: Option<Box<Layered>>,
    }

    fn layered(text: &'static str, source: Option<Layered>) -> Layered {
        Layered { text, source: source.map(Box::new) }
    }

    #[test]
    fn an_error_is_printed_with_its_causes_and_the_hint() {
        let refused = layered("connection refused", None);
        let catalog = layered("failed to reach catalog `http://polaris:8181`", Some(refused));
        let commit = layered("failed to commit to table `raw.events`", Some(catalog));

        let text = format_error(&commit, Some("is Polaris running?"));

        assert_eq!(
            text,
            "error: failed to commit to table `raw.events`\n  \
             caused by: failed to reach catalog `http://polaris:8181`\n  \
             caused by: connection refused\n  \
             hint: is Polaris running?\n"
        );
    }

    #[test]
    fn without_cause_and_hint_it_is_one_line() {
        assert_eq!(format_error(&layered("no topic is named", None), None), "error: no topic is named\n");
    }

    #[test]
    fn further_lines_of_a_message_stand_under_its_first() {
        let error = layered("two problems\n- no broker\n- no catalog\n", None);

        assert_eq!(
            format_error(&error, None),
            "error: two problems\n       - no broker\n       - no catalog\n"
        );
    }
}
