//! The loop that drives rollouts, wherever they are kept: look, decide, write, publish, confirm, act. `turnout local` and
//! the demo run it over a directory, the controller over a cluster; what differs between them is a [`Site`].
//!
//! It is level-triggered, so it may be killed between any two steps; whoever comes next goes on. What it remembers is only
//! what spares somebody a wait or a repetition.
//!
//! The order of the writes is the order of what others may rely on: a rollout's status first, since pipelines act on what
//! it calls safe to remove; then what gateways read; then the actions, each of which the machine decides only once
//! gateways report what was published before.
//!
//! - `site`: what a place must be able to do, and how it says that something did not get through;
//! - `round`: one round, and how long the next may wait; `decide`, `write`, `confirm` and `obstacles` are its steps;
//! - `gateway`: the gateways' reports; `evidence`: what they have counted; `outbound`, `post`, `exchange`: the requests to them, to models and to webhooks;
//! - `warm_up`, `webhooks`: what goes on beside the rounds.

mod confirm;
mod decide;
mod evidence;
mod exchange;
mod gateway;
mod obstacles;
pub mod outbound;
mod post;
mod round;
mod site;
mod warm_up;
mod webhooks;
mod write;

pub use gateway::{Gateway, Inquiry, has_taken_up};
pub use round::{Clock, Driver};
pub use site::{
    BackendView, Done, Elsewhere, Endpoint, Failure, Look, Prepared, Publication, Refused, Rendered, Round, Site,
    Subject, View,
};
