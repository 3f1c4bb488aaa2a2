use super::*;

fn example() -> String {
    BUILTIN[0].1.to_owned()
}

/// The message of an error and of all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}\n{error}");
        cause = error.source();
    }
    text
}

fn refusal(text: &str) -> String {
    chain(&Profile::parse(text, "mine.toml").unwrap_err())
}

#[test]
fn unknown_profile_names_the_built_in_ones() {
    let message = chain(&Profile::load("exmaple", &Overrides::default()).unwrap_err());

    assert!(
        message.starts_with("failed to read profile `exmaple` (built in: `example`, `engagement`)"),
        "{message}"
    );
}

#[test]
fn malformed_profile_names_the_line() {
    let message = refusal(&example().replace("alpha_seconds = 90.0", "alpha_second = 90.0"));

    assert!(message.contains("mine.toml") && message.contains("unknown field `alpha_second`"), "{message}");
    assert!(message.contains("line "), "{message}");
}

#[test]
fn target_that_is_no_state_names_both_states() {
    let message = refusal(&example().replace(r#""Upgrade" = 0.07"#, r#""Upgrad" = 0.07"#));

    assert!(
        message.contains("state `Upgrade as Logged In/free` leads to `Upgrad as Logged In/free`"),
        "{message}"
    );
}

#[test]
fn probabilities_above_one_name_the_state_and_the_sum() {
    let message = refusal(&example().replace(r#"{ "NextSong" = 0.925"#, r#"{ "NextSong" = 1.25"#));

    assert!(
        message.contains("probabilities of state `NextSong as Logged In/paid` sum to 1.303"),
        "{message}"
    );
}

#[test]
fn entry_page_that_is_no_state_is_refused() {
    let message =
        refusal(&example().replace(r#"entry = { "NextSong" = 1750"#, r#"entry = { "Radio" = 1750"#));

    assert!(message.contains("sessions of `Logged In/paid` start at `Radio as Logged In/paid`"), "{message}");
}

#[test]
fn negative_probability_names_the_state() {
    let message = refusal(&example().replace(r#""Submit Upgrade" = 0.3"#, r#""Submit Upgrade" = -0.3"#));

    assert!(message.contains("`Upgrade as Logged In/free`") && message.contains("-0.3"), "{message}");
}

#[test]
fn listeners_without_an_entry_page_are_refused() {
    let message = refusal(&example().replace("free = 10, paid = 2", "free = 10, paid = 2, gold = 1"));

    assert!(message.contains("`Logged In/gold` has no entry"), "{message}");
}

#[test]
fn damping_that_turns_time_back_is_refused() {
    let message = refusal(&example().replace("damping = 0.09375", "damping = 0.2"));

    assert_eq!(message, "profile `mine.toml`: `daily.damping` is 0.2 (expected 0 to below 0.159)");
}

#[test]
fn comments_and_doc_do_not_change_the_canonical_form() {
    let plain = Profile::parse(&example(), "a").unwrap();
    let commented =
        Profile::parse(&format!("# more\n{}", example().replace("music listeners", "x")), "b").unwrap();
    let faster = Profile::parse(&example().replace("= 90.0", "= 91.0"), "c").unwrap();

    assert_eq!(plain.canonical(), commented.canonical());
    assert_ne!(plain.canonical(), faster.canonical());
}
