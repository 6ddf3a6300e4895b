//! Pages: what they say, and that anybody can use them. STYLE §8; WCAG 2.2.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use helsebro::http::pages::{STYLESHEET, STYLESHEET_PATH, all_samples};
use helsebro::protocol::lang::Lang;
use scraper::{ElementRef, Html, Selector};

/// Every sample of every page in both languages: language, `page-sample`, HTML.
fn everything() -> impl Iterator<Item = (Lang, String, String)> {
    Lang::ALL.into_iter().flat_map(|lang| all_samples(lang).into_iter().map(move |(page, sample, html)| (lang, format!("{page}-{sample}"), html)))
}

fn select<'a>(document: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    document.select(&Selector::parse(selector).expect("a selector written here")).collect()
}

fn attr<'a>(element: &ElementRef<'a>, name: &str) -> Option<&'a str> {
    element.value().attr(name)
}

fn text(element: &ElementRef) -> String {
    element.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Elements inside another one, in document order.
fn inside<'a>(element: &ElementRef<'a>, selector: &str) -> Vec<ElementRef<'a>> {
    element.select(&Selector::parse(selector).expect("a selector written here")).collect()
}

/// Pages whose forms go to somebody else's origin, or carry a request that has no session yet: no token of ours may be in them.
const WITHOUT_CSRF: &[&str] = &["form_post-", "continue-", "logged_out-upstream"];

#[test]
fn every_sample_looks_as_it_did() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots/pages");
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (lang, name, html) in everything() {
            // The stylesheet's name changes with every touch of it.
            let html = html.replace(STYLESHEET_PATH, "/assets/helsebro-HASH.css");
            insta::assert_snapshot!(format!("{name}.{}", lang.tag()), html);
        }
    });
}

#[test]
fn every_page_has_samples_in_both_languages_that_differ() {
    let of = |lang| all_samples(lang).into_iter().map(|(page, sample, html)| ((page, sample), html)).collect::<BTreeMap<_, _>>();
    let (nb, en) = (of(Lang::Nb), of(Lang::En));
    assert_eq!(nb.keys().collect::<Vec<_>>(), en.keys().collect::<Vec<_>>());
    assert_eq!(nb.len(), all_samples(Lang::Nb).len(), "no two samples share a name");
    for (key, html) in &nb {
        assert_ne!(html, &en[key], "{key:?}");
    }
}

#[test]
fn a_page_says_its_language_and_has_one_heading_and_a_title() {
    for (lang, name, html) in everything() {
        let document = Html::parse_document(&html);
        assert!(html.starts_with("<!doctype html>"), "{name}");
        assert_eq!(attr(&select(&document, "html")[0], "lang"), Some(lang.tag()), "{name}");
        assert_eq!(select(&document, "main").len(), 1, "{name}");
        let headings = select(&document, "h1");
        assert_eq!(headings.len(), 1, "{name}");
        let title = text(&select(&document, "title")[0]);
        assert_eq!(title, format!("{} – Helsebro", text(&headings[0])), "{name}");
        for link in select(&document, "a[hreflang]") {
            assert_eq!(attr(&link, "hreflang"), Some(lang.other().tag()), "{name}");
            assert_eq!(attr(&link, "lang"), Some(lang.other().tag()), "{name}: the link's own language");
        }
    }
}

#[test]
fn nothing_runs_and_nothing_is_styled_in_line() {
    for (_, name, html) in everything() {
        let document = Html::parse_document(&html);
        for forbidden in ["script", "style", "iframe", "object", "embed", "base", "img", "[style]", "[srcdoc]", "[autofocus]", "meta[http-equiv]"] {
            assert!(select(&document, forbidden).is_empty(), "{name}: {forbidden}");
        }
        for element in select(&document, "*") {
            for (attribute, value) in element.value().attrs() {
                assert!(!attribute.starts_with("on"), "{name}: {attribute}");
                assert!(!value.trim_start().to_ascii_lowercase().starts_with("javascript:"), "{name}: {attribute}={value}");
            }
        }
        let sheets: Vec<_> = select(&document, "link").iter().filter_map(|link| attr(link, "href")).collect();
        assert_eq!(sheets, [STYLESHEET_PATH], "{name}: one stylesheet, ours");
    }
}

#[test]
fn no_template_switches_escaping_off() {
    let mut seen = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html") {
                let template: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
                for forbidden in ["|safe", "|escape", "escape=", "style=", "<script", "javascript:", "onclick"] {
                    assert!(!template.contains(forbidden), "{}: {forbidden}", path.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "the templates were found");
}

#[test]
fn values_are_escaped() {
    let (.., html) = everything().find(|(_, name, _)| name == "patient-too-many").unwrap();
    assert!(html.contains("vårbekk &#60;æøå&#62;"), "a name typed into the search is text");
    let (.., html) = everything().find(|(_, name, _)| name == "form_post-plain").unwrap();
    let document = Html::parse_document(&html);
    assert_eq!(attr(&select(&document, "input[name=state]")[0], "value"), Some("a\"b<c>&d'e"), "the app gets its state back byte for byte");
}

#[test]
fn every_form_posts_and_carries_the_token() {
    for (_, name, html) in everything() {
        let document = Html::parse_document(&html);
        for form in select(&document, "form") {
            assert_eq!(attr(&form, "method"), Some("post"), "{name}");
            assert!(attr(&form, "action").is_some_and(|action| !action.is_empty()), "{name}");
            let tokens: Vec<_> = inside(&form, "input[type=hidden][name=csrf]").iter().filter_map(|input| attr(input, "value")).collect();
            let decisions = inside(&form, "input[type=hidden][name=decision]").len();
            if WITHOUT_CSRF.iter().any(|page| name.starts_with(page)) {
                assert!(tokens.is_empty() && decisions == 0, "{name}: only what was handed over leaves");
            } else {
                assert_eq!(tokens, ["c5Rf-3x4mpl3"], "{name}");
                assert_eq!(decisions, 1, "{name}: a form says what it means");
            }
            assert_eq!(inside(&form, "button").len(), 1, "{name}: one form, one button");
            for button in inside(&form, "button") {
                assert!(attr(&button, "type").is_none_or(|kind| kind == "submit") && attr(&button, "name").is_none(), "{name}");
            }
        }
        assert_eq!(select(&document, "button").len(), select(&document, "form").len(), "{name}: no button outside a form");
    }
}

/// What a person who presses Enter at once sends.
#[test]
fn the_first_button_moves_forward_with_what_is_prefilled() {
    let mut seen = BTreeSet::new();
    for (_, name, html) in everything() {
        let document = Html::parse_document(&html);
        let forms = select(&document, "form");
        let Some(first) = forms.first() else { continue };
        let decision = inside(first, "input[name=decision]").first().and_then(|input| attr(input, "value"));
        let expected = match name.as_str() {
            name if name.starts_with("consent-") => Some("allow"),
            name if name.starts_with("apps-several") => Some("withdraw"),
            name if WITHOUT_CSRF.iter().any(|page| name.starts_with(page)) => None,
            // Nothing to go forward with: all one can do is search, or leave.
            "patient-no-hits" | "patient-nobody" => Some("search"),
            "login-nobody" | "encounter-none" => Some("deny"),
            _ => Some("continue"),
        };
        assert_eq!(decision, expected, "{name}");
        seen.insert(decision.map(str::to_owned));
        let radios = inside(first, "input[type=radio]");
        if !radios.is_empty() {
            let checked: Vec<_> = radios.iter().map(|radio| attr(radio, "checked").is_some()).collect();
            assert!(checked[0] && !checked[1..].contains(&true), "{name}: the first is preselected, and no other");
        }
        for form in &forms[1..] {
            let decision = inside(form, "input[name=decision]").first().and_then(|input| attr(input, "value"));
            assert!(!matches!(decision, Some("allow")), "{name}: only the first form allows");
        }
        if let (Some(link), Some(button)) = (html.find("hreflang"), html.rfind("<button")) {
            assert!(button < link, "{name}: the language link comes after every button");
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn every_input_has_a_label_and_every_reference_a_target() {
    for (_, name, html) in everything() {
        let document = Html::parse_document(&html);
        let ids: Vec<_> = select(&document, "[id]").iter().filter_map(|element| attr(element, "id")).collect();
        let unique: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "{name}: an id stands once");
        let labels: Vec<_> = select(&document, "label[for]").iter().filter(|label| !text(label).is_empty()).filter_map(|label| attr(label, "for")).collect();
        for input in select(&document, "input:not([type=hidden])") {
            let id = attr(&input, "id").unwrap_or_else(|| panic!("{name}: an input without id"));
            assert_eq!(labels.iter().filter(|label| **label == id).count(), 1, "{name}: {id} has one label");
        }
        for attribute in ["aria-describedby", "aria-labelledby", "for"] {
            for element in select(&document, &format!("[{attribute}]")) {
                for id in attr(&element, attribute).unwrap().split_whitespace() {
                    assert!(unique.contains(id), "{name}: {attribute} names {id}");
                }
            }
        }
        for group in select(&document, "fieldset") {
            assert!(!text(&inside(&group, "legend")[0]).is_empty(), "{name}");
        }
        for picture in select(&document, "svg") {
            assert_eq!(attr(&picture, "aria-hidden"), Some("true"), "{name}: pictures say nothing words do not");
        }
    }
}

/// SAL-045, SAL §7.7.
#[test]
fn consent_says_what_for_whom_how_long_and_what_a_star_means() {
    let page = |wanted: &str| everything().find(|(lang, name, _)| *lang == Lang::En && name == wanted).unwrap().2;
    let document = Html::parse_document(&page("consent-sykmelding"));
    let main = text(&select(&document, "main")[0]);
    for expected in [
        "Sykmelding asks for access",
        "sykmelding.app.example",
        "Tapper Fjellrev born 14 March 1992",
        "Read and search diagnoses and problems for this patient",
        "for up to 12 hours",
        "patient/Condition.read",
    ] {
        assert!(main.contains(expected), "{expected}\n{main}");
    }
    assert!(!select(&document, "input[value=openid]").iter().any(|_| true), "what is required is no choice");
    assert!(select(&document, ".warning").is_empty());

    let document = Html::parse_document(&page("consent-wildcard"));
    let stars = select(&document, "input[value='patient/*.cruds'], input[value='user/*.rs']");
    let warnings: Vec<_> = select(&document, ".warning").iter().map(text).collect();
    assert_eq!(stars.len(), 2);
    assert_eq!(warnings, ["Covers every type of information, including types added later."; 2]);
}

#[test]
fn an_identity_number_is_never_whole_on_a_page() {
    for (_, name, html) in everything() {
        let digits = html.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        assert!(digits < 11 || name.starts_with("error") || name.starts_with("no_way_in"), "{name}: a run of {digits} digits");
        let document = Html::parse_document(&html);
        for input in select(&document, "input[name=identity_number]") {
            assert_eq!(attr(&input, "value"), Some(""), "{name}");
        }
    }
}

#[test]
fn the_stylesheet_is_ours_alone() {
    assert!(
        STYLESHEET_PATH.starts_with("/assets/helsebro-")
            && STYLESHEET_PATH.ends_with(".css")
            && STYLESHEET_PATH.len() == "/assets/helsebro-0123456789abcdef.css".len()
    );
    for forbidden in ["url(", "@import", "expression("] {
        assert!(!STYLESHEET.contains(forbidden), "{forbidden}: nothing is fetched");
    }
    for expected in ["prefers-color-scheme: dark", "prefers-reduced-motion", ":focus-visible", "@media print"] {
        assert!(STYLESHEET.contains(expected), "{expected}");
    }
    // Every class the pages use is one the stylesheet knows.
    for (_, name, html) in everything() {
        for element in select(&Html::parse_document(&html), "[class]") {
            for class in attr(&element, "class").unwrap().split_whitespace().filter(|class| *class != "mark") {
                assert!(STYLESHEET.contains(&format!(".{class}")), "{name}: .{class}");
            }
        }
    }
}

/// WCAG 2.2 AA as far as a machine can tell, in Chromium, at two widths and in both colour schemes.
#[test]
fn a_browser_finds_nothing_wrong() {
    let pages = everything().map(|(lang, name, html)| (format!("{}/{name}.html", lang.tag()), html));
    look_at([(STYLESHEET_PATH.to_owned(), STYLESHEET.to_owned())].into_iter().chain(pages));
}

/// Opens these files, by path, in the browser there is, if any; fails where it finds something wrong with a page.
#[expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "which browser there is comes from whoever runs the tests; a helper of tests is a test")]
pub fn look_at(files: impl IntoIterator<Item = (String, String)>) {
    let (Ok(node), Ok(chromium)) = (std::env::var("HELSEBRO_TEST_NODE"), std::env::var("HELSEBRO_TEST_CHROMIUM")) else {
        eprintln!("not run: HELSEBRO_TEST_NODE and HELSEBRO_TEST_CHROMIUM name no browser");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut check = Command::new(node);
    check.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/axe")).arg("check.mjs").arg(folder.path()).env("CHROMIUM", chromium);
    if let Ok(shots) = std::env::var("HELSEBRO_TEST_SHOTS") {
        check.arg(shots);
    }
    let done = check.output().expect("node starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn debug_shows_no_token_and_no_code() {
    use helsebro::http::pages::{ConsentPage, FormPostPage, Page};
    let (_, consent) = ConsentPage::samples(Lang::Nb).remove(0);
    assert!(!format!("{consent:?}").contains(&consent.form.csrf));
    let (_, post) = FormPostPage::samples(Lang::Nb).remove(0);
    assert!(post.fields.iter().all(|field| !format!("{post:?}").contains(&field.value)));
}
