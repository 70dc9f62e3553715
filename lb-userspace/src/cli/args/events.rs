//! What can be typed after `lb show events`.

use clap::Args as ClapArgs;

use super::Output;

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  lb show events
  lb show events --json --after 120     what is new since the event with number 120")]
pub(in crate::cli) struct Events {
    #[command(flatten)]
    pub(in crate::cli) output: Output,
    /// Only those after the one with this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(in crate::cli) after: u64,
}
