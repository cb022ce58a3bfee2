//! Measures the bound of `upbeat_benches::serial` at every size and prints the violations.

use upbeat::Runtime;
use upbeat_benches::serial::{check, families, measure, Effort, Outcome, Turn};

use crate::arguments::Arguments;

/// Sizes that are run in a test.
const TESTED: u64 = 70;

/// Runs the families whose names contain one of the filters; how many violations there were.
pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> usize {
    let mut violations = Vec::new();
    let (mut measured, mut strictly) = (0, 0);
    let turn = Turn::of(runtime);
    let effort = if arguments.quick { Effort::QUICK } else { Effort::MEASURE };
    for family in families(arguments.full).into_iter().filter(|family| arguments.takes_work(family.name)) {
        if arguments.test {
            for &size in family.sizes.iter().filter(|&&size| size <= TESTED) {
                family.case(&turn, size, &mut |case| check(family.name, case));
            }
            continue;
        }
        println!("\n{}", family.name);
        println!(
            "{:>9} {:>9} {:>13} {:>13} {:>13} {:>9}",
            "size", "joins", "serial ns", "two ns", "bound ns", "slowness"
        );
        let mut outcomes = Vec::new();
        for &size in &family.sizes {
            family.case(&turn, size, &mut |case| outcomes.push(measure(family.name, case, effort)));
            let outcome = outcomes.last().expect("a case was made");
            if arguments.all || outcome.is_violation() {
                println!("{}", line(outcome));
            }
        }
        let broken = outcomes.iter().filter(|outcome| outcome.is_violation()).count();
        let strict = outcomes.iter().filter(|outcome| outcome.is_strict_violation()).count();
        println!("{broken} of {} sizes break the bound, {strict} the strict one", outcomes.len());
        measured += outcomes.len();
        strictly += strict;
        violations.extend(outcomes.into_iter().filter(Outcome::is_violation).map(|o| (family.name, o)));
    }
    if !arguments.test {
        summary(&violations, measured, strictly);
    }
    violations.len()
}

fn line(outcome: &Outcome) -> String {
    let verdict = if outcome.is_violation() {
        format!(
            "+{:.0} ns ({:.3} of the bound), best {:.0}",
            outcome.excess(),
            outcome.parallel / outcome.bound,
            outcome.best
        )
    } else {
        String::new()
    };
    format!(
        "{:>9} {:>9} {:>13.1} {:>13.1} {:>13.1} {:>9.2} {verdict}",
        outcome.size, outcome.joins, outcome.sequential, outcome.parallel, outcome.bound, outcome.slowness
    )
}

fn summary(violations: &[(&str, Outcome)], measured: usize, strictly: usize) {
    println!(
        "\n{} of {measured} sizes break the bound of never slower than serial, where entry and joins may cost as much more as this \
         machine is slower than the one that the costs were set on; {strictly} break it with the costs as they are",
        violations.len()
    );
    let worst = violations.iter().max_by(|a, b| {
        let share = |outcome: &Outcome| outcome.parallel / outcome.bound;
        share(&a.1).total_cmp(&share(&b.1))
    });
    if let Some((name, outcome)) = worst {
        println!(
            "the worst: {name} at {}, {:.2} of the bound",
            outcome.size,
            outcome.parallel / outcome.bound
        );
    }
}
