//! The task that has the messages sent, one after the other, each until it is.

use std::{io, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::{Course, way::Way};
use crate::config::SyslogTarget;

/// Between the first two tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Between two tries at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Sends until there are no more senders of messages.
pub(super) async fn run(
    target: SyslogTarget,
    mut messages: mpsc::Receiver<Vec<u8>>,
    course: Arc<Course>,
) {
    let mut way: Option<Way> = None;
    while let Some(message) = messages.recv().await {
        let mut refused = false;
        if let Some(open) = &mut way {
            match open.send(&message).await {
                Ok(()) => {
                    course.sent();
                    course.set_trouble(None);
                    continue;
                }
                // The receiver may have been started anew: only datagrams are lost by that.
                Err(error) if matches!(target, SyslogTarget::Udp(_)) => {
                    refused = true;
                    course.lost();
                    course.set_trouble(Some(format!("messages are not taken: {error}")));
                }
                Err(_) => {}
            }
        }
        way = until_sent(&target, &message, &course).await;
        if way.is_none() {
            course.lost();
            continue;
        }
        course.sent();
        // Of a datagram that was just sent nobody knows so far whether it is taken.
        if !refused {
            course.set_trouble(None);
        }
    }
}

/// The new connection by which a message was sent; none where it is one that cannot be.
async fn until_sent(target: &SyslogTarget, message: &[u8], course: &Course) -> Option<Way> {
    let mut pause = FIRST_PAUSE;
    loop {
        match send_anew(target, message).await {
            Ok(way) => return Some(way),
            // It is larger than a datagram there may be.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                course.set_trouble(Some(format!("messages are not taken: {error}")));
                return None;
            }
            Err(error) => {
                course.set_trouble(Some(format!("cannot be reached: {}", explain(&error))));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn send_anew(target: &SyslogTarget, message: &[u8]) -> io::Result<Way> {
    let mut way = Way::open(target).await?;
    way.send(message).await?;
    Ok(way)
}

fn explain(error: &io::Error) -> String {
    // As unix(7) says of a socket of another type.
    match error.raw_os_error() {
        Some(libc::EPROTOTYPE) => "its socket is not one for datagrams".to_owned(),
        _ => error.to_string(),
    }
}
