//! Who may do what, on a whole stack: the components, compiled, verify real tokens. The stack is this program's own.

mod issuer;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use towpath_client::{Answer, Client};
use towpath_component_testing::tokens::Signer;
use towpath_tests::{DEADLINE, OwnStack, assert_refused, eventually};
use uuid::Uuid;

use issuer::Issuer;

/// Tokens that name a key which doesn't exist.
const STRANGE_TOKENS: usize = 40;

struct World {
    issuer: Issuer,
    own: OwnStack,
}

impl World {
    async fn open() -> Self {
        let keys = vec![Signer::rs256().jwk("rsa"), Signer::es256(1).jwk("ec"), Signer::ed_dsa(1).jwk("ed")];
        let issuer = Issuer::start(keys).await;
        let identity = json!({"issuers": [{"issuer": issuer.url, "audience": "towpath", "roles": ["realm", "roles"]}]});
        let own = OwnStack::start(&[
            ("SPIN_VARIABLE_IDENTITY", &identity.to_string()),
            ("SPIN_VARIABLE_ISSUER_HOST", &issuer.url),
        ]);
        Self { issuer, own }
    }

    fn api(&self) -> Client {
        self.own.stack.api()
    }

    /// The claims of somebody in this role.
    fn claims(&self, role: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let id = Uuid::new_v4().to_string();
        json!({"iss": self.issuer.url, "aud": "towpath", "sub": "alice", "exp": now + 3600, "jti": id, "realm": {"roles": [role]}})
    }

    /// A token that nobody has seen yet.
    fn token(&self, role: &str) -> String {
        Signer::ed_dsa(1).token("ed", &self.claims(role))
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.api().get(path).header("authorization", &format!("Bearer {token}")).send().await.expect("an answer")
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let call = self.api().post(path).json(body).header("idempotency-key", &Uuid::new_v4().to_string());
        call.header("authorization", &format!("Bearer {token}")).send().await.expect("an answer")
    }

    async fn create(&self, token: &str) -> Answer {
        let sku = format!("ID-{}", Uuid::new_v4().simple());
        let product = json!({"sku": sku, "name": "Lantern", "price": {"amount": 100, "currency": "EUR"}});
        self.post("/v1/products", token, &product).await
    }

    /// A product that is in stock.
    async fn sku(&self) -> String {
        let clerk = self.token("clerk");
        let created = self.create(&clerk).await.json();
        let sku = created["sku"].as_str().expect("a SKU").to_owned();
        let adjusted = eventually("inventory knows the product", DEADLINE, || async {
            let body = json!({"delta": 10, "reason": "delivery"});
            let answer = self.post(&format!("/v1/inventory/{sku}/adjustments"), &clerk, &body).await;
            if answer.status() < 300 { Ok(answer) } else { Err(answer.text()) }
        });
        adjusted.await;
        sku
    }
}

#[tokio::test]
async fn nobody_gets_in_where_they_do_not_belong() {
    let world = World::open().await;
    who_belongs_there_gets_in(&world).await;
    what_no_issuer_signed_is_refused(&world).await;
    a_customer_sees_and_changes_what_is_theirs(&world).await;
    strange_names_of_keys_do_not_wear_the_issuer_out(&world).await;
    new_keys_are_found_and_those_of_an_issuer_that_is_away_go_on_counting(&world).await;
}

async fn who_belongs_there_gets_in(world: &World) {
    let open = world.api().get("/v1/products").send().await.expect("an answer");
    assert_eq!(open.status(), 200, "everybody reads the catalogue: {}", open.text());
    for (name, signer) in [("rsa", Signer::rs256()), ("ec", Signer::es256(1)), ("ed", Signer::ed_dsa(1))] {
        let token = signer.token(name, &world.claims("admin"));
        for _ in 0..3 {
            let created = world.create(&token).await;
            assert_eq!(created.status(), 201, "{name}: {}", created.text());
        }
    }
    assert_eq!(world.get("/v1/orders", &world.token("clerk")).await.status(), 200);
    let customer = world.token("customer");
    for (answer, scope) in [
        (world.create(&customer).await, "catalog:write"),
        (world.get("/v1/inventory/LAMP-BOW", &customer).await, "inventory:read"),
    ] {
        let _ = assert_refused(&answer, 403, "insufficient_scope");
        let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
    }
    let admin = world.token("admin");
    let _ = assert_refused(&world.get("/v1/nothing", &admin).await, 404, "not_found");
    let deleted =
        world.api().call("DELETE".parse().expect("a method"), "/v1/products").send().await.expect("an answer");
    let _ = assert_refused(&deleted, 405, "method_not_allowed");
}

async fn what_no_issuer_signed_is_refused(world: &World) {
    let none = world.api().get("/v1/orders").send().await.expect("an answer");
    let _ = assert_refused(&none, 401, "unauthorized");
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    // The name of the header that the gateway hands the principal on in.
    let principal = "eyJpc3N1ZXIiOiJpIiwic3ViamVjdCI6InMiLCJjdXN0b21lciI6bnVsbCwic2NvcGVzIjpbIm9yZGVyczptYW5hZ2UiXX0";
    for name in ["towpath-principal", "Towpath_Principal"] {
        let forged = world.api().get("/v1/orders").header(name, principal).send().await.expect("an answer");
        let _ = assert_refused(&forged, 401, "unauthorized");
    }
    let in_the_url = world.api().get(&format!("/v1/orders?access_token={}", world.token("admin"))).send().await;
    let _ = assert_refused(&in_the_url.expect("an answer"), 401, "unauthorized");
    let but = |name: &str, value: Value| {
        let mut claims = world.claims("admin");
        claims[name] = value;
        Signer::ed_dsa(1).token("ed", &claims)
    };
    let unsigned = towpath_component_testing::tokens::unsigned(r#"{"alg":"none"}"#, &world.claims("admin").to_string());
    for token in [
        but("exp", json!(1)),
        but("aud", json!("other")),
        but("iss", json!("https://evil.example")),
        Signer::ed_dsa(2).token("ed", &world.claims("admin")),
        Signer::ed_dsa(1).token("rsa", &world.claims("admin")),
        format!("{unsigned}."),
        "nonsense".into(),
    ] {
        let refused = world.get("/v1/orders", &token).await;
        let _ = assert_refused(&refused, 401, "invalid_token");
        let challenge = refused.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with(r#"Bearer error="invalid_token", error_description=""#), "{challenge}");
    }
}

/// Every route of orders and payments x the owner, another customer, and who manages all.
async fn a_customer_sees_and_changes_what_is_theirs(world: &World) {
    let sku = world.sku().await;
    let of = |customer: &str, role: &str| {
        let mut claims = world.claims(role);
        claims["sub"] = customer.into();
        Signer::ed_dsa(1).token("ed", &claims)
    };
    let (own, other, clerk) = (of("alice", "customer"), of("bob", "customer"), of("clara", "clerk"));
    let order = |customer: &str| json!({"customer_id": customer, "lines": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"});
    let foreign = world.post("/v1/orders", &other, &order("alice")).await;
    let _ = assert_refused(&foreign, 403, "foreign_customer");
    let placed = world.post("/v1/orders", &own, &order("alice")).await;
    assert_eq!(placed.status(), 202, "{}", placed.text());
    let id = placed.json()["id"].as_str().expect("an id").to_owned();
    let payments = format!("/v1/payments?order_id={id}");
    let payment = eventually("the order has a payment", DEADLINE, || async {
        let answer = world.get(&payments, &own).await;
        answer.json()["data"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| answer.text())
    })
    .await;
    let cancel = format!("/v1/orders/{id}/cancel");
    for (path, code) in [
        (format!("/v1/orders/{id}"), "unknown_order"),
        (format!("/v1/orders/{id}/history"), "unknown_order"),
        (format!("/v1/payments/{payment}"), "unknown_payment"),
    ] {
        for may in [&own, &clerk] {
            assert_eq!(world.get(&path, may).await.status(), 200, "{path}");
        }
        let _ = assert_refused(&world.get(&path, &other).await, 404, code);
    }
    for path in [&cancel, &format!("/v1/orders/{id}/payment")] {
        let _ = assert_refused(&world.post(path, &other, &json!({})).await, 404, "unknown_order");
    }
    let seen = |answer: &Answer| {
        let orders = answer.json()["data"].as_array().cloned().unwrap_or_default();
        orders.iter().filter(|order| order["id"] == *id).count()
    };
    let (of_own, of_other, of_all) = (
        world.get("/v1/orders", &own).await,
        world.get("/v1/orders", &other).await,
        world.get("/v1/orders", &clerk).await,
    );
    assert_eq!((seen(&of_own), seen(&of_other), seen(&of_all)), (1, 0, 1));
    assert_eq!(world.get(&payments, &other).await.json()["data"], json!([]));
    let _ = assert_refused(&world.get("/v1/orders?customer_id=alice", &other).await, 403, "foreign_customer");
    assert_eq!(world.post(&cancel, &own, &json!({})).await.status(), 202);
}

async fn strange_names_of_keys_do_not_wear_the_issuer_out(world: &World) {
    let before = world.issuer.asked();
    for i in 0..STRANGE_TOKENS {
        let token = Signer::ed_dsa(3).token(&format!("../../{i}'; --"), &world.claims("admin"));
        let _ = assert_refused(&world.get("/v1/orders", &token).await, 401, "invalid_token");
    }
    let asked = world.issuer.asked() - before;
    assert!(asked < STRANGE_TOKENS / 2, "the issuer was asked {asked} times");
}

async fn new_keys_are_found_and_those_of_an_issuer_that_is_away_go_on_counting(world: &World) {
    let new = Signer::ed_dsa(9);
    world.issuer.publish(vec![new.jwk("new"), Signer::ed_dsa(1).jwk("ed")]);
    eventually("a token by the new key is taken", DEADLINE, || async {
        let answer = world.get("/v1/orders", &new.token("new", &world.claims("clerk"))).await;
        if answer.status() == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    world.issuer.go_away();
    for signer in [("new", &new), ("ed", &Signer::ed_dsa(1))] {
        for _ in 0..5 {
            let answer = world.get("/v1/orders", &signer.1.token(signer.0, &world.claims("clerk"))).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    }
}
