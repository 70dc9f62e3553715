//! Which packets are asked for.

use lb_common::{
    Ip, NO_SERVICE,
    trace::{Noted, TraceSettings},
};

use crate::ends::Ends;

/// Whether packets that ended so are asked for.
#[inline(always)]
pub fn by_outcome(settings: &TraceSettings, noted: Noted) -> bool {
    let plain = settings.drops != 0 && noted.is_plain();
    !plain && (settings.service == NO_SERVICE || settings.service == noted.service())
}

/// Whether packets are asked for that came `from` these ends and are left with those.
#[inline(always)]
pub fn by_ends(settings: &TraceSettings, from: &Ends, to: &Ends) -> bool {
    let client = settings.client;
    client == Ip::UNSPECIFIED
        || [from.source, from.destination, to.source, to.destination].contains(&client)
}
