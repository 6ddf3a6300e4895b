//! The language a person reads. <https://openid.net/specs/openid-connect-core-1_0.html#AuthRequest> (`ui_locales`), RFC 9110 §12.5.4.

use serde::{Deserialize, Serialize};

/// A language the pages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Norwegian bokmål; readers of nynorsk get it too.
    #[default]
    Nb,
    En,
}

impl Lang {
    pub const ALL: [Self; 2] = [Self::Nb, Self::En];

    /// The BCP 47 tag, as in `<html lang>` and `ui_locales`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Nb => "nb",
            Self::En => "en",
        }
    }

    /// The one to switch to.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Nb => Self::En,
            Self::En => Self::Nb,
        }
    }

    /// What a page is shown in: the app's wish, then the browser's, then ours. OIDC Core §3.1.2.1: what is not supported is no error.
    pub fn choose(ui_locales: Option<&str>, accept_language: Option<&str>, default: Self) -> Self {
        ui_locales.and_then(Self::from_ui_locales).or_else(|| accept_language.and_then(Self::from_accept_language)).unwrap_or(default)
    }

    /// The first language we have in a list of tags separated by spaces, most wanted first. OIDC Core §3.1.2.1.
    pub fn from_ui_locales(list: &str) -> Option<Self> {
        list.split_ascii_whitespace().find_map(Self::from_tag)
    }

    /// The most wanted language we have. Of equal weights the first named wins; weight 0 means "not this"; `*` and what does not parse say nothing. RFC 9110 §12.5.4.
    pub fn from_accept_language(header: &str) -> Option<Self> {
        let mut best: Option<(u16, Self)> = None;
        for item in header.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let Some(lang) = parts.next().and_then(Self::from_tag) else { continue };
            let weight = match parts.next() {
                None => Some(1000),
                Some(weight) => weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q=")).and_then(thousandths),
            };
            if let Some(weight) = weight.filter(|&weight| weight > 0)
                && best.is_none_or(|(known, _)| weight > known)
            {
                best = Some((weight, lang));
            }
        }
        best.map(|(_, lang)| lang)
    }

    /// By the primary subtag, whatever region or script follows. RFC 4647 §3.3.1: letter case does not count.
    fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next()?;
        ["nb", "nn", "no"]
            .iter()
            .any(|known| primary.eq_ignore_ascii_case(known))
            .then_some(Self::Nb)
            .or_else(|| primary.eq_ignore_ascii_case("en").then_some(Self::En))
    }
}

/// A weight of 0 to 1 with at most three decimals, in thousandths. RFC 9110 §12.4.2.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_asked_before_the_browser_and_the_browser_before_us() {
        let cases = [
            (Some("en"), Some("nb"), Lang::Nb, Lang::En),
            (Some("fr sv nn-NO en"), Some("en"), Lang::En, Lang::Nb),
            (Some("fr"), Some("en-GB"), Lang::Nb, Lang::En),
            (Some(""), Some("de, *"), Lang::En, Lang::En),
            (None, Some("no"), Lang::En, Lang::Nb),
            (None, None, Lang::En, Lang::En),
            (Some("NB_no"), None, Lang::En, Lang::Nb),
            (Some("north"), None, Lang::En, Lang::En),
        ];
        for (ui_locales, accept, default, expected) in cases {
            assert_eq!(Lang::choose(ui_locales, accept, default), expected, "{ui_locales:?} {accept:?}");
        }
    }

    #[test]
    fn weights_decide_not_order() {
        let cases = [
            ("en;q=0.8, nb", Some(Lang::Nb)),
            ("nb;q=0.5,en;q=0.501", Some(Lang::En)),
            ("en, nb", Some(Lang::En)),
            ("nb;q=0, en;q=0.1", Some(Lang::En)),
            ("nb;q=0", None),
            ("nb;q=1.000", Some(Lang::Nb)),
            ("nb;q=1.1, en;q=0.1", Some(Lang::En)),
            ("nb;q=0.1234, en;q=0.001", Some(Lang::En)),
            ("nb ; q=0.9 , en;Q=0.95", Some(Lang::En)),
            ("sv, da;q=0.9", None),
            (";;;,,q=1", None),
        ];
        for (header, expected) in cases {
            assert_eq!(Lang::from_accept_language(header), expected, "{header}");
        }
    }
}
