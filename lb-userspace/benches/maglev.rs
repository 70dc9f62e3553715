//! How long a service's Maglev table takes to build.

use criterion::{Criterion, criterion_group, criterion_main};
use lb_userspace::maglev::{Member, TABLE_SIZE, build};

fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev");
    for backends in [2_u32, 100, 1000, 4096] {
        let names: Vec<String> =
            (0..backends).map(|i| format!("10.0.{}.{}:5060", i / 250, i % 250 + 1)).collect();
        for (weights, heaviest) in [("equal", 1), ("weighted", 100)] {
            let members: Vec<Member> = (0..backends)
                .zip(&names)
                .map(|(slot, name)| Member {
                    identity: name.as_bytes(),
                    weight: 1 + slot % heaviest,
                    slot,
                })
                .collect();
            group.bench_function(format!("{backends} backends, {weights}"), |b| {
                b.iter(|| build(&members, TABLE_SIZE));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
