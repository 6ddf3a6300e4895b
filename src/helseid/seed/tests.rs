use super::table::*;
use super::*;

fn check_digits(pid: &str) -> bool {
    let digits: Vec<u32> = pid.bytes().map(|b| u32::from(b - b'0')).collect();
    let digit = |weights: &[u32]| (11 - weights.iter().zip(&digits).map(|(w, d)| w * d).sum::<u32>() % 11) % 11;
    digits.len() == 11 && digit(&[3, 7, 6, 1, 8, 9, 4, 5, 2]) == digits[9] && digit(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) == digits[10]
}

fn org_checks(number: &str) -> bool {
    let digits: Vec<u32> = number.bytes().map(|b| u32::from(b - b'0')).collect();
    digits.len() == 9 && (11 - [3, 2, 7, 6, 5, 4, 3, 2].iter().zip(&digits).map(|(w, d)| w * d).sum::<u32>() % 11) % 11 == digits[8]
}

#[test]
fn every_number_has_its_check_digits_and_says_that_it_is_synthetic() {
    let seed = Seed::generate().unwrap();
    for user in &seed.users {
        assert!(check_digits(user.pid()), "{}", user.id);
        assert!(matches!(user.pid().as_bytes()[2], b'8' | b'9'), "{}: the month is not raised by 80", user.id);
        assert!(user.hpr().is_none_or(|number| number.starts_with("99000")), "{}", user.id);
        assert!(user.works_at.iter().all(|number| seed.organisation(number).is_some()), "{}", user.id);
        assert!(!user.works_at.is_empty(), "{}", user.id);
    }
    for organisation in &seed.organisations {
        assert!(org_checks(&organisation.number), "{}", organisation.name);
        let parent = organisation.parent.as_deref().map(|parent| seed.organisation(parent).unwrap());
        assert!(parent.is_none_or(|parent| parent.parent.is_none()), "{} has a parent that is a unit", organisation.name);
    }
    let ids: BTreeSet<&str> = seed.users.iter().map(|user| user.id.as_str()).collect();
    assert_eq!(ids.len(), seed.users.len());
}

#[test]
fn the_practitioners_of_the_data_set_log_in_here_too() {
    let seed = Seed::generate().unwrap();
    let doctor = seed.user("lege-fastlege").unwrap();
    assert_eq!((doctor.name.full().as_str(), doctor.hpr(), doctor.level), ("Rolig Stetoskop", Some("990001007"), 4));
    assert_eq!(doctor.approvals, [approval("LE", Coded::new("1", "Autorisasjon"), vec![Coded::new("1", "Allmennmedisin")])]);
    let [unit] = doctor.works_at.as_slice() else { panic!("one place of work") };
    let parent = seed.organisation(unit).unwrap().parent.clone().unwrap();
    assert!(seed.is_unit_of(unit, &parent) && seed.delegated(&parent, FJORD_EPJ));
    // Three levels in the data, two here: HelseID knows legal entity and unit.
    assert!(seed.is_unit_of("313414736", "308842843"));
    let without = seed.user("lege-uten-hpr").unwrap();
    assert!(without.hpr().is_none() && without.approvals.is_empty() && without.has_d_number());
    assert_eq!(seed.users.iter().filter(|user| user.id.contains("lege") || user.hpr().is_some_and(|n| n.starts_with("990001"))).count(), 9);
}

#[test]
fn the_people_of_the_list_are_as_told() {
    let seed = Seed::generate().unwrap();
    let user = |id: &str| seed.user(id).unwrap();
    assert_eq!(user("solveig").name, user("twin").name);
    assert_ne!(user("solveig").pid(), user("twin").pid());
    assert!(user("berit").hpr().is_some() && user("berit").approvals.is_empty());
    assert!(user("lars").hpr().is_none() && user("lars").approvals.is_empty());
    assert_eq!((user("jonas").level, user("dnr").has_d_number(), user("solveig").has_d_number()), (3, true, false));
    assert_ne!(user("dnr").approvals[0].authorization.value, "1");
    assert!(user("torgeir").works_at.len() == 2);
    assert_eq!(seed.user_by_pid("23918814000").unwrap().id, "amina");
    let printed = format!("{:?}", seed.users);
    assert!(!printed.contains("12837512040") && !printed.contains("990000101"), "numbers are printed");
}

#[test]
fn who_may_exchange_and_act_is_as_told() {
    let seed = Seed::generate().unwrap();
    let pairs = [(SMART_AS, SMART_AS, true), (SMART_AS, DEMO_ACTOR, true), (PORTAL, DEMO_ACTOR, false), (BATCH, DEMO_ACTOR, true), (BATCH, SMART_AS, false)];
    for (subject, actor, allowed) in pairs {
        assert_eq!(seed.may_exchange(subject, actor), allowed, "{subject} {actor}");
    }
    assert!(seed.delegated(NORDVIK, FJORD_EPJ) && !seed.delegated(UTENFOR, FJORD_EPJ) && !seed.delegated(REGISTER, FJORD_EPJ));
    assert!(seed.client(DISABLED).unwrap().disabled);
    for client in seed.clients.values() {
        for scope in &client.scopes {
            assert!(IDENTITY_SCOPES.contains(&scope.as_str()) || seed.api_of_scope(scope).is_some(), "{}: {scope}", client.name);
        }
        let key = client.private_key.as_ref().unwrap();
        assert_eq!(client.keys.keys[0].kid(), Some(key.kid()));
    }
    let owner = |id: &str| seed.client(id).unwrap().tenancy.owner().to_owned();
    assert_eq!(owner(SMART_AS), seed.api("fjord:epj-api").unwrap().owner);
    assert_eq!(owner(DEMO_ACTOR), seed.api("demo:kjerne").unwrap().owner);
}

#[test]
fn localhost_is_known_to_all_where_a_switch_says_so() {
    let seed = Seed::generate().unwrap();
    let client = seed.client(SMART_AS).unwrap();
    assert!(client.takes_redirect("https://smart-as.example.no/upstream/callback", false));
    assert!(client.takes_redirect("http://localhost:1234/x", true) && !client.takes_redirect("http://localhost:1234/x", false));
    for foreign in ["http://localhost.example.no/x", "http://127.0.0.1:1/x", "https://smart-as.example.no/upstream/callback/", "localhost:x"] {
        assert!(!client.takes_redirect(foreign, true), "{foreign}");
    }
}
