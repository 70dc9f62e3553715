//! Does what the command line asks for.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, ensure};
use clap::{CommandFactory, error::ErrorKind};
use clap_complete::Shell;
use serde::de::DeserializeOwned;
use tokio::runtime;

use super::{
    args::{Args, Command, Detach, Events, Flow, Flows, Output, Show, Top},
    complain, logging, man, tables, trace,
};
use crate::{
    admin::{Client, EventFilter, id_of},
    config::Config,
    control::Order,
    daemon, detach, top,
};

/// Carries out one command.
///
/// # Errors
/// Whatever keeps the command from being carried out, except a config file that `check` refuses:
/// that is printed.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(args.socket());
    let named = args.socket.is_some();
    match args.command {
        Command::Run(_) | Command::Check(_) if named => no_socket_here(),
        Command::Completions { shell } => completions(shell),
        Command::Man { directory } => man(directory.as_deref()),
        Command::Run(run) => balance(&run.file.config, run.force),
        Command::Detach(wanted) => detach(&wanted),
        Command::Check(file) => check(&file.config),
        Command::Show(what) => on_one_thread(show(&client, what)),
        Command::Drain { target, deadline } => {
            on_one_thread(say(client.order(target.name, Order::Drain { deadline })))
        }
        Command::Suspend(target) => on_one_thread(say(client.order(target.name, Order::Suspend))),
        Command::Activate(target) => on_one_thread(say(client.order(target.name, Order::Activate))),
        Command::Weight { target, weight } => {
            on_one_thread(say(client.order(target.name, Order::Weight(weight))))
        }
        Command::Plan { output, file } => on_one_thread(plan(&client, &output, &file)),
        Command::Trace(wanted) => on_one_thread(trace::run(&client, &wanted)),
        Command::Reload => on_one_thread(say(client.reload())),
        Command::Top(Top { interval }) => on_one_thread(top::run(client, interval)),
    }
}

fn no_socket_here() -> ! {
    let text = "--socket is for commands to a running daemon; \
                the daemon's own socket is `admin_socket` in its config file";
    Args::command().error(ErrorKind::ArgumentConflict, text).exit()
}

fn detach(wanted: &Detach) -> anyhow::Result<ExitCode> {
    logging::start();
    let directory = match &wanted.config {
        None => wanted.pin_directory.clone(),
        Some(file) => Config::load(file)?.persist.with_context(|| {
            format!("{} says persist = false: nothing is pinned for it", file.display())
        })?,
    };
    on_one_thread(async {
        let done = detach::detach(&directory).await?;
        print(format!("{done}\n").as_bytes())?;
        Ok(())
    })
}

fn balance(config: &Path, force: bool) -> anyhow::Result<ExitCode> {
    logging::start();
    daemon::run(config, force)?;
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path) -> anyhow::Result<ExitCode> {
    match Config::load(path) {
        Ok(config) => {
            // It would keep the daemon from starting.
            if let Some(group) = &config.admin_group {
                id_of(group).with_context(|| format!("{}: admin_group", path.display()))?;
            }
            print(format!("{} is right\n", path.display()).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            complain(problems);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn man(directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    match directory {
        Some(directory) => {
            let pages = man::write_all(directory)?;
            print(format!("{pages} manual pages in {}\n", directory.display()).as_bytes())?;
        }
        None => print(&man::first()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, what: Show) -> anyhow::Result<()> {
    match what {
        Show::Summary(output) => part(client, "summary", &output, tables::summary).await,
        Show::Services(output) => {
            part(client, "services", &output, |rows: &Vec<_>| tables::services(rows)).await
        }
        Show::Backends(output) => {
            part(client, "backends", &output, |rows: &Vec<_>| tables::backends(rows)).await
        }
        Show::Keepalives(output) => {
            part(client, "keepalives", &output, |rows: &Vec<_>| tables::keepalives(rows)).await
        }
        Show::Drops(output) => {
            part(client, "drops", &output, |rows: &Vec<_>| tables::drops(rows)).await
        }
        Show::Flows(wanted) => flows(client, &wanted).await,
        Show::Flow(wanted) => flow(client, &wanted).await,
        Show::Events(wanted) => events(client, &wanted).await,
    }
}

async fn part<T: DeserializeOwned>(
    client: &Client,
    what: &str,
    output: &Output,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let answer = client.show(what).await?;
    if output.json {
        // As the daemon said it: what it says beyond what this program knows is kept.
        return print(&answer);
    }
    print(table(&client.understand(&answer)?).as_bytes())
}

async fn flows(client: &Client, wanted: &Flows) -> anyhow::Result<()> {
    let (answer, matched) = client.flows(&wanted.query()).await?;
    if wanted.output.json {
        return print(&answer);
    }
    let rows: Vec<_> = client.understand(&answer)?;
    print(tables::flows(&rows, wanted.offset, matched).as_bytes())
}

async fn flow(client: &Client, wanted: &Flow) -> anyhow::Result<()> {
    let answer = client.flow(&wanted.name()).await?;
    let report = client.understand(&answer)?;
    if wanted.output.json {
        print(&answer)?;
    } else {
        print(tables::flow(&report).as_bytes())?;
    }
    ensure!(!report.flows.is_empty(), "there is no connection of {}", wanted.client);
    Ok(())
}

async fn events(client: &Client, wanted: &Events) -> anyhow::Result<()> {
    let answer = client.events(EventFilter { after: wanted.after }).await?;
    if wanted.output.json {
        return print(&answer);
    }
    let rows: Vec<_> = client.understand(&answer)?;
    print(tables::events(&rows).as_bytes())
}

async fn plan(client: &Client, output: &Output, file: &Path) -> anyhow::Result<()> {
    let file = std::path::absolute(file).with_context(|| format!("no path: {}", file.display()))?;
    // What the file says, the daemon learns from who may read it: it reads no file for others.
    let answer = client.plan(&file, Config::text(&file)?).await?;
    if output.json {
        return print(&answer);
    }
    print(tables::plan(&client.understand(&answer)?).as_bytes())
}

async fn say<E: Into<anyhow::Error>>(
    done: impl Future<Output = Result<String, E>>,
) -> anyhow::Result<()> {
    let done = done.await.map_err(Into::into)?;
    print(format!("{done}\n").as_bytes())
}

fn on_one_thread(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(task)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
