//! No byte from outside makes the readers panic, and what they accept keeps its bounds.

use proptest::prelude::*;
use wfengine_github::{
    RunnerScope, Secret, Settings,
    dates::{http_date_s, rfc3339, rfc3339_s},
    webhook::{Delivery, SignatureError, verify},
};

proptest! {
    #[test]
    fn any_text_is_a_moment_or_none(text in "\\PC{0,40}", near in "[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{3,5} [0-9:]{5,9} GMT") {
        for text in [text, near] {
            let _ = (http_date_s(&text), rfc3339_s(&text));
        }
    }

    #[test]
    fn a_moment_survives_being_written(seconds in 0..253_402_300_799_u64) {
        prop_assert_eq!(rfc3339_s(&rfc3339(seconds)), Some(seconds));
    }

    #[test]
    fn any_bytes_are_a_message_or_none(body in prop::collection::vec(any::<u8>(), 0..300), event in "\\PC{0,20}", id in "\\PC{0,20}") {
        let _ = Delivery::parse(Some(&event), Some(&id), &body);
        let _ = Delivery::parse(Some("push"), Some("1"), &body);
    }

    #[test]
    fn no_signature_is_guessed(body in prop::collection::vec(any::<u8>(), 0..100), guess in "sha256=[0-9a-f]{64}", odd in "\\PC{0,80}") {
        let secret = Secret::new("s3cret");
        prop_assert_eq!(verify(&secret, &body, Some(&guess)), Err(SignatureError::Wrong));
        prop_assert!(verify(&secret, &body, Some(&odd)).is_err());
    }

    #[test]
    fn any_text_is_a_scope_of_runners_or_none(text in "\\PC{0,40}", near in "[a-z.]{0,5}/?[a-z._-]{0,5}[/?#%]?") {
        for text in [text, near] {
            if let Ok(scope) = RunnerScope::parse(&text) {
                prop_assert_eq!(scope.to_string(), text.as_str());
                prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert!(text.split('/').count() <= 2 && !text.contains(['?', '#', '%', '\\', ' ']));
            }
        }
    }

    #[test]
    fn any_address_is_taken_or_refused(text in "\\PC{0,60}", near in "https?://[a-z@:.\\[\\]0-9/?#%-]{0,40}") {
        for text in [text, near] {
            if let Ok(settings) = Settings::new(&text) {
                // what links may name stays on the host
                prop_assert!(settings.api.path_under("https://elsewhere.test/x").is_none() || settings.api.host() == "elsewhere.test");
                let joined = settings.api.join("/user");
                let under = settings.api.path_under(&joined);
                prop_assert_eq!(under.as_deref(), Some("/user"), "{}", joined);
                prop_assert!(!settings.api.authority().contains('@'));
            }
        }
    }

    #[test]
    fn a_link_never_leaves_the_host(link in "(https?:)?(//)?[a-z@:.0-9/\\\\?#%-]{0,40}") {
        let settings = Settings::new("https://git.test/api/v3").expect("an address");
        if let Some(path) = settings.api.path_under(&link) {
            let address: hyper::Uri = settings.api.join(&path).parse().expect("an address");
            prop_assert_eq!(address.authority().map(|authority| authority.as_str()), Some("git.test"));
            prop_assert!(address.path().starts_with("/api/v3/"));
        }
    }
}
