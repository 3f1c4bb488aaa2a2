//! The planner against a naive oracle: the whole history at once, everything compared with everything.

mod examples;
mod generate;
mod lake;
mod laws;
mod oracle;
