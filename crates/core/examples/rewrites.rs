//! Prints `docs/rewrites.md`: what the planner does with a program, from the rules' catalogue.

use lazulite_core::plan::rules::CATALOGUE;

fn main() {
    println!("# What the planner does\n");
    println!(
        "Every evaluation goes through these rules, compiled or not. `lazulite::plan::explain` \
         shows which of\nthem made a step. Claims are those of the performance guide that \
         `lazulite guide` runs.\n"
    );
    println!("| rule | what is written | what runs | values | claims |");
    println!("| --- | --- | --- | --- | --- |");
    for rule in CATALOGUE {
        println!(
            "| {} | {} | {} | {} | {} |",
            rule.name, rule.written, rule.runs, rule.values, rule.claims
        );
    }
}
