//! Measures the bound of `upbeat_benches::serial` at every size and prints the violations.

use upbeat::Runtime;
use upbeat_benches::serial::{check, families, measure, slowness, Effort, Outcome};

use crate::arguments::Arguments;

/// Sizes that are run in a test.
const TESTED: u64 = 70;

/// Runs the families whose names contain one of the filters; how many violations there were.
pub(crate) fn run(runtime: &Runtime, arguments: &Arguments) -> usize {
    let mut violations = Vec::new();
    let effort = if arguments.quick { Effort::QUICK } else { Effort::MEASURE };
    for family in families(arguments.full).into_iter().filter(|family| arguments.takes_work(family.name)) {
        if arguments.test {
            for &size in family.sizes.iter().filter(|&&size| size <= TESTED) {
                family.case(runtime, size, &mut |case| check(family.name, case));
            }
            continue;
        }
        println!("\n{}", family.name);
        println!("{:>9} {:>9} {:>13} {:>13} {:>13}", "size", "joins", "serial ns", "two ns", "bound ns");
        let mut outcomes = Vec::new();
        for &size in &family.sizes {
            family.case(runtime, size, &mut |case| outcomes.push(measure(family.name, case, effort)));
            let outcome = outcomes.last().expect("a case was made");
            if arguments.all || outcome.is_violation() {
                println!("{}", line(outcome));
            }
        }
        let broken = outcomes.iter().filter(|outcome| outcome.is_violation()).count();
        println!("{broken} of {} sizes break the bound", outcomes.len());
        violations.extend(outcomes.into_iter().filter(Outcome::is_violation).map(|o| (family.name, o)));
    }
    if !arguments.test {
        summary(&violations);
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
        "{:>9} {:>9} {:>13.1} {:>13.1} {:>13.1} {verdict}",
        outcome.size, outcome.joins, outcome.sequential, outcome.parallel, outcome.bound
    )
}

fn summary(violations: &[(&str, Outcome)]) {
    println!("\n{} violations of the bound of never slower than serial", violations.len());
    let slowness = slowness();
    let scaled = violations.iter().filter(|violation| violation.1.is_violation_on(slowness)).count();
    println!(
        "{scaled} with the costs of entry and joins times {slowness:.2}, as much slower as this machine is than theirs"
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
