//! Random frames: mutations of right ones, and noise, in every mode and both families. Whatever
//! comes, the program's answer is one of its own, and does what it says.
//!
//! The long run: `LB_FRAMES=10000000 cargo test -p lb-tests --test program random`.

mod answers;
mod corpus;
mod judge;
mod model;
mod mutate;
mod view;

use std::{collections::HashMap, env};

use fastrand::Rng;
use lb_common::Outcome;
use lb_userspace::datapath::now_ticks;

use crate::rig::{Side, Verdict, rig};

/// How many frames, where [`COUNT`] does not say.
const FRAMES: u64 = 300_000;
/// Names the number of frames.
const COUNT: &str = "LB_FRAMES";
/// Names a seed, to see a failure again.
const SEED: &str = "LB_SEED";
/// After so many frames the daemon's part is done: ports of what is gone are taken back.
const SWEEP: u64 = 50_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[test]
fn random_frames() {
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    let frames = number(COUNT).unwrap_or(FRAMES);
    println!("{SEED}={seed} {COUNT}={frames}");
    rig(corpus::setup(), |rig| {
        let mut rng = Rng::with_seed(seed);
        let mut model = corpus::model();
        let corpus = corpus::frames(rig, &mut model);
        rig.count();
        let mut verdicts: HashMap<(Side, Verdict), u64> = HashMap::new();
        for n in 0..frames {
            if n % SWEEP == 0 {
                rig.datapath.flows().sweep(now_ticks()).expect("a sweep");
            }
            let (side, sent) = if rng.u32(0..10) == 0 {
                (if rng.bool() { Side::Front } else { Side::Back }, mutate::noise(&mut rng))
            } else {
                let (side, frame) = &corpus[rng.usize(..corpus.len())];
                let other = if *side == Side::Front { Side::Back } else { Side::Front };
                let side = if rng.u32(0..8) == 0 { other } else { *side };
                (side, mutate::mutate(&mut rng, frame))
            };
            let out = rig.run(side, &sent);
            if let Err(wrong) = judge::judge(&mut model, &sent, &out) {
                panic!(
                    "{SEED}={seed}, frame {n} at {side:?}: {wrong}\nin  {sent:02x?}\nout {out:02x?}"
                );
            }
            *verdicts.entry((side, out.verdict)).or_default() += 1;
        }
        rig.count();
        println!("{verdicts:?}\n{:?}", rig.counted().outcomes);
        // A generator that reaches one side of the program only would test nothing.
        for side in [Side::Front, Side::Back] {
            for verdict in [Verdict::Pass, Verdict::Drop, Verdict::Tx, Verdict::Redirect] {
                let count = verdicts.get(&(side, verdict)).copied().unwrap_or(0);
                assert!(count > frames / 2000, "{verdict:?} at {side:?}: {count}");
            }
        }
        let counted = |outcome: Outcome| -> u64 {
            let all = rig.counted().outcomes.iter().filter(|its| its.1 == outcome);
            all.map(|its| its.2).sum()
        };
        for outcome in [
            Outcome::IcmpTranslated,
            Outcome::NotOurs,
            Outcome::Malformed,
            Outcome::Fragment,
            Outcome::BadFlags,
            Outcome::Land,
            Outcome::SpoofedSource,
            Outcome::Hairpin,
            Outcome::NoPort,
            Outcome::TtlExceeded,
        ] {
            assert!(counted(outcome) > 0, "no frame was {}", outcome.as_str());
        }
        assert_eq!(counted(Outcome::Inconsistent), 0, "a map contradicts another");
    });
}
