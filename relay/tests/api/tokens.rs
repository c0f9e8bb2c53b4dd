//! The token that a component shows to the relay, and a second one while it is rotated.

use http::StatusCode;

use crate::support::{ServiceSetup, Setup, TestRelay};

async fn status_with(relay: &TestRelay, token: &str) -> StatusCode {
    let request = relay.http.get(format!("{}/v1/cache/k", relay.url)).bearer_auth(token);
    request.send().await.expect("the relay answers").status()
}

#[tokio::test]
async fn two_tokens_of_a_service_are_valid_while_one_is_rotated() {
    const SECONDARY: &str = "secondary-token-of-alpha";
    let alpha = ServiceSetup::new("alpha").toml(&format!("token_secondary = \"{SECONDARY}\""));
    let setup = Setup::new().service(alpha).service(ServiceSetup::new("beta"));
    let relay = setup.start().await;
    for token in [&setup.token("alpha"), SECONDARY, &setup.token("beta")] {
        assert_ne!(status_with(&relay, token).await, StatusCode::UNAUTHORIZED, "{token}");
    }
    for wrong in ["", "secondary-token-of", "secondary-token-of-alpha-and-more"] {
        assert_eq!(status_with(&relay, wrong).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    relay.stop().await;
    let mut config = setup.config("without");
    config.services.get_mut("alpha").expect("alpha").token_secondary = None;
    let relay = setup.start_with(config).await;
    assert_eq!(status_with(&relay, SECONDARY).await, StatusCode::UNAUTHORIZED, "the rotation is over");
    relay.stop().await;
}
