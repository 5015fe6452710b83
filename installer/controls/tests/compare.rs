//! What changes from one profile to another.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use kubezt_controls::Library;
use kubezt_controls::compare::{Changes, Comparison, compare};
use kubezt_controls::report::comparison;
use serde_json::json;
use support::library;

fn between(library: &Library, from: &str, to: &str) -> Comparison {
    compare(library, from, to, &"1.36.3".parse().unwrap(), "cilium").unwrap()
}

#[test]
fn a_profile_does_not_differ_from_itself() {
    let library = library();
    for profile in library.profiles() {
        let same = between(&library, &profile.name, &profile.name);
        assert!(same.settings.is_empty() && same.requirements.is_empty(), "{same:?}");
        assert!(same.controls.values().all(Changes::is_empty), "{same:?}");
        assert!(comparison::write(&library, &same).ends_with("\nno difference\n"));
    }
}

#[test]
fn there_and_back_is_the_same_the_other_way_round() {
    let library = library();
    let names: Vec<&str> = library.profiles().map(|profile| profile.name.as_str()).collect();
    for from in &names {
        for to in &names {
            let (there, back) = (between(&library, from, to), between(&library, to, from));
            assert_eq!(there.requirements.won, back.requirements.lost);
            for (one, other) in there.settings.iter().zip(&back.settings) {
                assert_eq!((&one.path, &one.from, &one.to), (&other.path, &other.to, &other.from));
            }
            for (framework, changes) in &there.controls {
                assert_eq!(changes.won, back.controls[framework].lost, "{from} {to} {framework}");
            }
        }
    }
}

#[test]
fn settings_and_controls_are_won_and_lost() {
    let library = library();
    let difference = between(&library, "stig", "nsa");
    let setting = |path: &str| {
        let found = difference.settings.iter().find(|change| change.path == path).unwrap();
        (found.from.clone(), found.to.clone())
    };
    assert_eq!(setting("audit.policy"), (Some(json!("everything")), Some(json!("tiered"))));
    assert_eq!(setting("authentication.anonymousHealth"), (Some(json!(false)), Some(json!(true))));
    assert_eq!(setting("apiServer.arguments.anonymous-auth"), (Some(json!(false)), None));
    assert!(difference.controls["stig"].lost.contains(&"V-242390".to_owned()));
    assert!(difference.controls["stig"].lost.contains(&"V-242403".to_owned()));
    assert!(difference.controls["nsa"].won.contains(&"NSA-POD-02".to_owned()));
    // One answers it by refusing, the other by health paths only.
    let both = &difference.controls["nsa"];
    assert!(!both.won.contains(&"NSA-AUTH-01".to_owned()) && !both.lost.contains(&"NSA-AUTH-01".to_owned()));
    let text = comparison::write(&library, &difference);
    for wanted in [
        "stig → nsa\n",
        "  audit.policy: everything → tiered\n",
        "  - api-anonymous: The API server refuses anonymous requests\n      profile nsa: Load balancers",
        "      instead: api-anonymous-health\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let json = serde_json::to_value(&difference).unwrap();
    assert_eq!(json["from"], "stig");
    assert!(json["requirements"]["lost"].as_array().unwrap().contains(&json!("api-anonymous")));
}

#[test]
fn the_rule_that_is_excluded_is_lost_although_something_takes_its_place() {
    let library = library();
    let difference = between(&library, "stig", "stig-tiered");
    assert_eq!(difference.controls["stig"].lost, ["V-242403"]);
    assert_eq!(difference.controls["cis"].won, ["3.2.2"]);
    assert_eq!(difference.settings.len(), 1);
}
