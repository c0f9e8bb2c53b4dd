//! Everything that is tried with tokens: what an issuer signs is taken, and nothing else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;
use towpath_component_testing::tokens::{Signer, unsigned};
use towpath_identity::{Issuers, Keys, LEEWAY_SECONDS, MAX_TOKEN_BYTES, Refusal, Token, Verified};
use towpath_sdk::principal::Scope;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.example";

fn issuers() -> Issuers {
    let other = json!({"issuer": "https://other.example", "audience": "towpath", "customer_prefix": "other:"});
    let config = json!({"issuers": [{"issuer": ISSUER, "audience": "towpath", "customer_prefix": "shop:"}, other]});
    Issuers::read(&config.to_string()).expect("right").expect("on")
}

fn signers() -> [(&'static str, Signer); 3] {
    [("rsa", Signer::rs256()), ("ec", Signer::es256(1)), ("ed", Signer::ed_dsa(1))]
}

fn keys() -> Keys {
    let keys: Vec<_> = signers().iter().map(|(name, signer)| signer.jwk(name)).collect();
    Keys::read(json!({ "keys": keys }).to_string().as_bytes()).expect("keys")
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "towpath", "sub": "alice", "iat": NOW, "exp": NOW + 300, "scope": "orders:read"})
}

fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn verify_at(token: &str, now: u64) -> Result<Verified, Refusal> {
    let (issuers, token) = (issuers(), Token::read(token)?);
    token.verify(issuers.of(&token)?, &keys(), now)
}

fn verify(token: &str) -> Result<Verified, Refusal> {
    verify_at(token, NOW)
}

fn ed() -> Signer {
    Signer::ed_dsa(1)
}

/// The reason why this is refused.
fn reason(token: &str) -> &'static str {
    match verify(token) {
        Err(Refusal::Invalid(reason)) => reason,
        other => panic!("{other:?}: {token}"),
    }
}

#[test]
fn what_the_issuer_signs_is_taken() {
    for (name, signer) in signers() {
        let verified = verify(&signer.token(name, &claims())).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        assert_eq!((verified.principal.subject.as_str(), verified.until), ("alice", NOW + 300 + LEEWAY_SECONDS));
        assert_eq!(verified.principal.customer.as_deref(), Some("shop:alice"));
        assert!(verified.principal.may(Scope::OrdersRead) && !verified.principal.may(Scope::OrdersWrite));
    }
}

/// `openssl.json` was made once, with OpenSSL 3: the libraries here and there agree.
#[test]
fn what_openssl_signs_is_taken() {
    let file: Value = serde_json::from_str(include_str!("openssl.json")).expect("JSON");
    let keys = Keys::read(json!({"keys": file["keys"]}).to_string().as_bytes()).expect("keys");
    let (issuers, tokens) = (issuers(), file["tokens"].as_array().expect("tokens"));
    assert_eq!(tokens.len(), 3);
    for token in tokens {
        let token = Token::read(token.as_str().expect("a text")).expect("a token");
        let verified = token.verify(issuers.of(&token).expect("known"), &keys, NOW).expect("taken");
        assert_eq!(verified.principal.subject, "openssl");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let head = unsigned(&json!({"alg": alg, "kid": "ed"}).to_string(), &claims().to_string());
        assert_eq!(reason(&format!("{head}.")), "The token is signed by none of RS256, ES256 and EdDSA.", "{alg}");
    }
    let head = unsigned(&json!({"alg": "EdDSA", "kid": "ed"}).to_string(), &claims().to_string());
    for signature in ["", "AA", &"A".repeat(86)] {
        assert_eq!(reason(&format!("{head}.{signature}")), "The signature of the token is wrong.");
    }
    assert_eq!(reason(&head), "The token is no signed JSON Web Token.");
}

/// The public key is known to everybody: who takes it for the secret of an HMAC takes everybody's tokens.
#[test]
fn an_hmac_with_the_public_key_is_refused() {
    for (name, signer) in signers() {
        let jwk = signer.jwk(name);
        for secret in [jwk["n"].as_str(), jwk["x"].as_str(), Some(&*jwk.to_string())].into_iter().flatten() {
            for secret in [secret.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(secret).unwrap_or_default()] {
                for alg in ["HS256", "RS256", "ES256", "EdDSA"] {
                    let signed = unsigned(&json!({"alg": alg, "kid": name}).to_string(), &claims().to_string());
                    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
                    mac.update(signed.as_bytes());
                    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
                    let _ = reason(&token);
                }
            }
        }
    }
}

#[test]
fn the_key_decides_the_algorithm_and_not_the_token() {
    for (name, signer) in signers() {
        for alg in ["RS256", "ES256", "EdDSA", "PS256", "RS512", "ES384", "HS256", "rs256", "RS256 "] {
            let token = signer.sign(&json!({"alg": alg, "kid": name}), &claims());
            assert_eq!(verify(&token).is_ok(), alg == signer.algorithm(), "{name} {alg}");
        }
    }
    for alg in [json!(null), json!(["EdDSA"]), json!({"alg": "EdDSA"}), json!(0)] {
        let _ = reason(&ed().sign(&json!({"alg": alg, "kid": "ed"}), &claims()));
    }
}

#[test]
fn the_key_of_another_is_refused() {
    for (name, signer) in [("ec", Signer::es256(2)), ("ed", Signer::ed_dsa(2))] {
        assert_eq!(reason(&signer.token(name, &claims())), "The signature of the token is wrong.");
    }
    assert_eq!(reason(&Signer::es256(1).token("ed", &claims())), "The key of the token is for another algorithm.");
    // A token of another issuer, by the keys of this one.
    let issuers = issuers();
    let foreign = ed().token("ed", &but("iss", json!("https://other.example")));
    let foreign = Token::read(&foreign).expect("a token");
    let refused = foreign.verify(&issuers.each()[0], &keys(), NOW);
    assert_eq!(refused, Err(Refusal::Invalid("The token is of another issuer.")));
}

#[test]
fn a_token_brings_no_key_of_its_own() {
    let own = Signer::ed_dsa(7);
    for (name, value) in [
        ("jwk", own.jwk("ed")),
        ("jwk", json!(null)),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "ed"});
        header[name] = value;
        for signer in [&own, &ed()] {
            assert_eq!(
                reason(&signer.sign(&header, &claims())),
                "The header of the token has a key, or a condition, of its own."
            );
        }
    }
}

#[test]
fn the_name_of_a_key_is_looked_up_and_nothing_else() {
    for kid in
        ["other", "../../../dev/null", "ed'; DROP TABLE orders; --", "http://evil.example/", "ED", "ed ", "", "\0"]
    {
        let token = ed().sign(&json!({"alg": "EdDSA", "kid": kid}), &claims());
        assert_eq!(verify(&token), Err(Refusal::UnknownKey), "{kid}");
    }
    for kid in [json!(7), json!(null), json!(["ed"]), json!({"ed": 1}), json!("k".repeat(300))] {
        assert_eq!(reason(&ed().sign(&json!({"alg": "EdDSA", "kid": kid}), &claims())), "The token names no key.");
    }
    assert!(verify(&ed().sign(&json!({"alg": "EdDSA"}), &claims())).is_ok(), "there is one key of that kind");
}

#[test]
fn a_token_is_for_its_audience_and_of_its_issuer() {
    for aud in [json!("towpath"), json!(["towpath"]), json!(["other", "towpath"])] {
        assert!(verify(&ed().token("ed", &but("aud", aud.clone()))).is_ok(), "{aud}");
    }
    for aud in [
        json!("other"),
        json!("Towpath"),
        json!("towpath "),
        json!(""),
        json!([]),
        json!(["other"]),
        json!(null),
        json!(["towpath", 7]),
        json!({"aud": "towpath"}),
        json!([["towpath"]]),
        json!("other towpath"),
    ] {
        assert_eq!(reason(&ed().token("ed", &but("aud", aud))), "The token is for another audience.");
    }
    assert_eq!(reason(&ed().token("ed", &without("aud"))), "The token is for another audience.");
    for iss in [
        json!("https://id.example/"),
        json!("https://evil.example"),
        json!([ISSUER]),
        json!(null),
        json!("HTTPS://ID.EXAMPLE"),
    ] {
        assert_eq!(reason(&ed().token("ed", &but("iss", iss))), "The token is of no issuer whose tokens count here.");
    }
    assert_eq!(reason(&ed().token("ed", &without("iss"))), "The token is of no issuer whose tokens count here.");
}

#[test]
fn a_token_has_its_time_and_a_minute_of_leeway() {
    let at = |token: &str, now| verify_at(token, now).map(drop);
    let token = ed().token("ed", &but("nbf", json!(NOW)));
    let (expired, early) =
        (Err(Refusal::Invalid("The token has expired.")), Err(Refusal::Invalid("The token is not valid yet.")));
    assert_eq!(at(&token, NOW + 300 + LEEWAY_SECONDS - 1), Ok(()));
    assert_eq!(at(&token, NOW + 300 + LEEWAY_SECONDS), expired);
    assert_eq!(at(&token, u64::MAX), expired);
    assert_eq!(at(&token, NOW - LEEWAY_SECONDS), Ok(()));
    assert_eq!(at(&token, NOW - LEEWAY_SECONDS - 1), early);
    assert_eq!(at(&token, 0), early);
    assert_eq!(at(&ed().token("ed", &but("exp", json!(NOW as f64 + 0.5))), NOW), Ok(()), "a fraction");
    assert_eq!(reason(&ed().token("ed", &without("exp"))), "The token has no end.");
    for claim in ["exp", "nbf"] {
        for time in [json!("1800000300"), json!(null), json!(-1), json!(1e300), json!([NOW + 300]), json!(true)] {
            assert_eq!(reason(&ed().token("ed", &but(claim, time))), "A time in the token is no time.");
        }
    }
}

#[test]
fn other_tokens_of_the_issuer_are_no_access_tokens() {
    let typed = |typ: Value| ed().sign(&json!({"alg": "EdDSA", "kid": "ed", "typ": typ}), &claims());
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert!(verify(&typed(json!(typ))).is_ok(), "{typ}");
    }
    for typ in
        [json!("dpop+jwt"), json!("logout+jwt"), json!("secevent+jwt"), json!("JOSE"), json!(""), json!(null), json!(7)]
    {
        assert_eq!(reason(&typed(typ)), "The token is no access token.");
    }
    for (claim, value) in
        [("nonce", "n"), ("at_hash", "h"), ("c_hash", "h"), ("typ", "ID"), ("typ", "Refresh"), ("typ", "Logout")]
    {
        assert_eq!(reason(&ed().token("ed", &but(claim, json!(value)))), "The token is no access token.");
    }
    assert!(verify(&ed().token("ed", &but("typ", json!("Bearer")))).is_ok(), "as Keycloak says it");
    let bound = reason(&ed().token("ed", &but("cnf", json!({"jkt": "thumb"}))));
    assert_eq!(bound, "The token is bound to a key of its holder, which this server does not ask for.");
}

#[test]
fn a_token_of_the_profile_has_what_the_profile_asks_for() {
    let profiled = |claims: &Value| ed().sign(&json!({"alg": "EdDSA", "kid": "ed", "typ": "at+JWT"}), claims);
    let mut whole = claims();
    whole["jti"] = "1".into();
    whole["client_id"] = "web".into();
    assert!(verify(&profiled(&whole)).is_ok());
    for claim in ["iat", "jti", "client_id"] {
        let mut part = whole.clone();
        part.as_object_mut().expect("an object").remove(claim);
        assert_eq!(reason(&profiled(&part)), "The token lacks a claim that its type has.");
    }
}

#[test]
fn what_is_no_token_is_refused_and_nothing_of_it_is_repeated() {
    let right = ed().token("ed", &claims());
    let long = ed().token("ed", &but("note", json!("n".repeat(MAX_TOKEN_BYTES))));
    assert_eq!(reason(&long), "The token is too long.");
    for wrong in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "alice",
        &format!("{right}."),
        &format!(".{right}"),
        &format!("{right}="),
        &format!(" {right}"),
    ] {
        let said = reason(wrong);
        assert!(!said.contains('"') && !said.contains('\\') && said.is_ascii(), "{said}");
    }
    for (header, claims) in [
        (r#"{"alg":"EdDSA","kid":"ed"}"#, "[]"),
        (r#"{"alg":"EdDSA","kid":"ed"}"#, "{"),
        ("[]", "{}"),
        (r#"{"alg":"EdDSA","kid":"ed"} {}"#, "{}"),
    ] {
        assert_eq!(
            reason(&ed().sign_text(header, claims)),
            "The token is no JSON Web Token: a part of it is no JSON object."
        );
    }
    let twice = format!(r#"{{"sub":"admin",{}"#, &claims().to_string()[1..]);
    assert_eq!(reason(&ed().sign_text(r#"{"alg":"EdDSA","kid":"ed"}"#, &twice)), "The token has a member twice.");
    let header = r#"{"alg":"EdDSA","alg":"none","kid":"ed"}"#;
    assert_eq!(reason(&ed().sign_text(header, &claims().to_string())), "The token has a member twice.");
}

proptest! {
    /// Whatever is changed of a token, it is refused: no byte of it is unsigned.
    #[test]
    fn a_changed_token_is_refused(which in 0..3_usize, at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        // Signing with RSA takes long without optimisation.
        static TOKENS: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| signers().iter().map(|(name, signer)| signer.token(name, &claims())).collect());
        let token = &TOKENS[which];
        let at = at.index(token.len());
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert_eq!(verify(&changed).is_ok(), &changed == token);
    }

    #[test]
    fn whatever_is_sent_nobody_panics(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        prop_assert!(verify(&text).is_err() && verify(&parts.join(".")).is_err());
    }

    /// Whatever claims an issuer signs, the audience, the issuer and the time are theirs, and the scopes are those that they name.
    #[test]
    fn no_claims_are_taken_beyond_what_they_say(
        aud in "(towpath|other)?", iss in "https://(id|other|evil)\\.example", exp in NOW - 200..NOW + 200, nbf in NOW - 200..NOW + 200,
        scope in "(orders:read|orders:write|ops:write| |admin){0,4}",
    ) {
        let claims = json!({"iss": iss, "aud": aud, "sub": "s", "exp": exp, "nbf": nbf, "scope": scope});
        let verified = verify(&ed().token("ed", &claims));
        let right = aud == "towpath" && iss != "https://evil.example" && exp + LEEWAY_SECONDS > NOW && nbf <= NOW + LEEWAY_SECONDS;
        prop_assert_eq!(verified.is_ok(), right);
        for scope_of in verified.iter().flat_map(|verified| &verified.principal.scopes) {
            prop_assert!(scope.split(' ').any(|word| word == scope_of.name()));
        }
    }
}
