//! Connections beside what goes on, and a daemon with streams and surroundings of a test's own.

use std::{
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::Duration,
};

use anyhow::{Result, ensure};
use lb_tests::{
    balanced::Balanced, daemon::lb_binary, netns::Netns, peer::ShortPlan, wait::wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a daemon may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// The balancer of a lab in the place of the kit's own, with its files; dropped, it is killed.
pub struct Own(Child);

impl Drop for Own {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Own {
    /// Ends the daemon of the lab, and starts one that writes its log there.
    pub fn start(
        balanced: &mut Balanced,
        stderr: impl Into<Stdio>,
        surroundings: &[(&str, &str)],
    ) -> Result<Self> {
        ensure!(balanced.daemon.stop()?.success());
        let mut command = balanced.lab.balancer.command(lb_binary()?)?;
        command.arg("run").arg("--config").arg(balanced.daemon.config());
        command.envs(surroundings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut own = Self(command.spawn()?);
        wait_until("it to answer", PATIENCE, || {
            own.0.try_wait().is_ok_and(|ended| ended.is_some())
                || balanced.daemon.show("summary").is_ok()
        })?;
        ensure!(own.0.try_wait()?.is_none(), "it has ended");
        for backend in &balanced.config.backends {
            balanced.wait_until_up(&backend.name)?;
        }
        Ok(own)
    }

    /// Ends it by SIGTERM.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM)?;
        wait_until("it to end", PATIENCE, || matches!(self.0.try_wait(), Ok(Some(_))))?;
        ensure!(self.0.wait()?.success());
        Ok(())
    }
}

/// New connections, while `work` is done; how many there were. Each has to succeed.
pub fn beside_new_ones(
    balanced: &mut Balanced,
    work: impl FnOnce(&mut Balanced) -> Result<()>,
) -> Result<usize> {
    let client = Netns::open(balanced.lab.client.name())?;
    let (target, over) = (balanced.target(), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut new = 0;
            while !over.load(Ordering::Relaxed) {
                let report = ShortPlan::new(target, 20, 20).run(&client)?;
                ensure!(report.ok == 20, "after {new}: {report}");
                new += report.ok;
                sleep(Duration::from_millis(50));
            }
            Ok(new)
        });
        let outcome = work(balanced);
        over.store(true, Ordering::Relaxed);
        let new = clients.join().expect("the clients do not panic");
        outcome.and(new)
    })
}
