//! What `--help` says is an interface: a change of it must be seen.

use clap::CommandFactory;
use streamify_batch::cli::Cli;

#[test]
fn help_is_as_reviewed() {
    // Values from the environment are shown behind the names; here they would be those of the tester.
    let mut command = Cli::command().term_width(110).mut_args(|argument| argument.hide_env_values(true));
    command.build();
    let mut text = command.render_long_help().to_string();
    for job in command.get_subcommands_mut().filter(|job| job.get_name() != "help") {
        let name = job.get_name().to_owned();
        text.push_str(&format!("\n=== {name} ===\n{}", job.render_long_help()));
    }

    insta::assert_snapshot!(text);
}
