//! `lb top`: the live view in the terminal.
//!
//! The daemon is asked for a snapshot and for new events each interval, which costs it a read of
//! its counters and no look at the flow table. `model` makes rates and curves of that, `app` is
//! what is shown and what keys change, `view` draws it; none of the three does I/O.

mod app;
mod figures;
#[cfg(test)]
mod fixture;
mod history;
mod keys;
mod model;
mod orders;
mod rates;
mod rows;
mod screen;
mod view;

use std::{
    env,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use crossterm::event::{Event, EventStream};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::admin::{Client, ClientError, EventFilter};
use app::{App, Effect};
use model::{Model, Sample};
use screen::Screen;
use view::Theme;

/// How often a daemon that does not answer is asked at least.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the screen is drawn at least: ages on it grow.
const AGES: Duration = Duration::from_secs(1);

/// Shows what the daemon of `client` does, asking each `every`, until the operator leaves.
///
/// # Errors
/// Where stdout is no terminal, the daemon does not answer at the start, or the terminal fails.
/// A daemon that goes away later is waited for.
pub async fn run(client: Client, every: Duration) -> anyhow::Result<()> {
    screen::ensure_terminal()?;
    let mut asker = Asker { client: client.clone(), heard: None };
    let first = asker.sample().await?;
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let model = Model::new(first, every, Instant::now());
    let app = App::new(model, Instant::now(), SystemTime::now());
    let theme = Theme::new(env::var_os("NO_COLOR").as_deref());
    let mut screen = Screen::take()?;
    show(app, (asker, every), &client, theme, &mut screen, &mut signals).await
}

/// What happens outside.
enum Happening {
    /// The next sample, and who asks for the one after it.
    Sampled(Result<Box<Sample>, ClientError>, Asker),
    /// The answer to an order.
    Ordered(Result<String, ClientError>),
}

type Waiting = FuturesUnordered<Pin<Box<dyn Future<Output = Happening>>>>;

async fn show(
    mut app: App,
    (asker, every): (Asker, Duration),
    client: &Client,
    theme: Theme,
    Screen(terminal): &mut Screen,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut keys = EventStream::new();
    let mut ages = interval(AGES);
    ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waiting = Waiting::new();
    waiting.push(Box::pin(asker.ask_in(every)));
    tokio::pin!(waiting);
    loop {
        app.pass(Instant::now(), SystemTime::now());
        terminal.draw(|frame| view::draw(frame, &mut app, theme)).context("cannot draw")?;
        let event = tokio::select! {
            () = signals.stop() => return Ok(()),
            _ = ages.tick() => continue,
            event = keys.next() => event,
            Some(happening) = waiting.next() => {
                app.pass(Instant::now(), SystemTime::now());
                match happening {
                    Happening::Sampled(sample, asker) => {
                        let pause = if sample.is_ok() { every } else { every.min(AGAIN) };
                        app.sampled(sample.map(|sample| *sample).map_err(said));
                        waiting.push(Box::pin(asker.ask_in(pause)));
                    }
                    Happening::Ordered(answer) => app.ordered(answer.map_err(said)),
                }
                continue;
            }
        };
        let effect = match event.context("the terminal is gone")?.context("cannot read keys")? {
            Event::Key(key) => keys::command(key, app.mode()).and_then(|command| app.obey(command)),
            _ => None,
        };
        match effect {
            Some(Effect::Quit) => return Ok(()),
            Some(Effect::Redraw) => terminal.clear().context("cannot clear the screen")?,
            Some(Effect::Order(name, order)) => {
                let client = client.clone();
                waiting.push(Box::pin(async move {
                    Happening::Ordered(client.order(name, order).await)
                }));
            }
            None => {}
        }
    }
}

/// An error with its causes, in a line.
fn said(error: ClientError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// Asks for samples.
struct Asker {
    client: Client,
    /// The daemon's process, and the number of its last event that was heard.
    heard: Option<(u32, u64)>,
}

impl Asker {
    async fn ask_in(mut self, pause: Duration) -> Happening {
        sleep(pause).await;
        Happening::Sampled(self.sample().await.map(Box::new), self)
    }

    async fn sample(&mut self) -> Result<Sample, ClientError> {
        let client = &self.client;
        let snapshot: crate::report::Snapshot =
            client.understand(&client.show("snapshot").await?)?;
        let pid = snapshot.summary.pid;
        // Another process numbers its events anew.
        let after = self.heard.filter(|(of, _)| *of == pid).map_or(0, |(_, seq)| seq);
        let events: Vec<crate::events::EventRow> =
            client.understand(&client.events(EventFilter { after }).await?)?;
        self.heard = Some((pid, events.last().map_or(after, |event| event.seq)));
        Ok(Sample { snapshot, events })
    }
}

/// The signals that end this.
struct Signals([Signal; 3]);

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    /// Waits for one of them.
    async fn stop(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
