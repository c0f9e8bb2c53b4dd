//! Money: integer minor units with an ISO 4217 code, `{"amount": 1999, "currency": "EUR"}`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fields, Invalid, parse};

/// The largest amount of one price: totals of 100 lines of 10,000 pieces fit into an `i64`.
pub const MAX_PRICE: i64 = 1_000_000_000_000;

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// It isn't the code of a currency that can be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCurrency;

/// An amount in minor units: cents, pence, yen.
///
/// ```
/// use towpath_sdk::{Currency, Money, money::MoneyError};
///
/// let eur: Currency = "EUR".parse().unwrap();
/// let price = Money::new(1999, eur);
/// assert_eq!(price.times(2).and_then(|two| two.plus(Money::new(2, eur))), Ok(Money::new(4000, eur)));
/// assert_eq!(price.plus(Money::new(1, "USD".parse().unwrap())), Err(MoneyError::CurrencyMismatch));
/// assert_eq!(Money::sum([price, price]), price.times(2).map(Some));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// How many minor units.
    pub amount: i64,
    /// Of which currency.
    pub currency: Currency,
}

/// Why amounts can't be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyError {
    /// The result does not fit into an `i64`.
    Overflow,
    /// The currencies differ.
    CurrencyMismatch,
}

impl Currency {
    /// Its code, as in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimals its minor unit has by ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD. A payment provider may count in
    /// other units.
    #[must_use]
    pub fn exponent(self) -> u32 {
        iso_currency::Currency::from_code(self.as_str()).and_then(iso_currency::Currency::exponent).map_or(2, u32::from)
    }

    /// The currency that took its place, if ISO 4217 has withdrawn it: EUR for HRK. Nobody can pay in it any more, but
    /// what was written before still has to be read.
    #[must_use]
    pub fn withdrawn_for(self) -> Option<Self> {
        // List one of ISO 4217 has both VES and VED, whatever the crate's table says.
        if self.as_str() == "VES" {
            return None;
        }
        let successor = iso_currency::Currency::from_code(self.as_str())?.is_superseded()?.latest();
        successor.code().parse().ok()
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        let known = iso_currency::Currency::from_code(text).ok_or(UnknownCurrency)?;
        // Funds, metals and test codes can't be charged.
        if known.is_fund() || known.is_special() {
            return Err(UnknownCurrency);
        }
        text.as_bytes().try_into().map(Self).map_err(|_| UnknownCurrency)
    }
}

impl Money {
    /// This amount of this currency.
    #[must_use]
    pub fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// Where the currencies differ, or the sum is too large.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::Overflow)?;
        Ok(Self { amount, ..self })
    }

    /// This many times as much.
    ///
    /// # Errors
    /// Where it is too much.
    pub fn times(self, count: i64) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(count).ok_or(MoneyError::Overflow)?;
        Ok(Self { amount, ..self })
    }

    /// The sum of these, `None` of nothing.
    ///
    /// # Errors
    /// As [`Money::plus`].
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Result<Option<Self>, MoneyError> {
        let mut all = all.into_iter();
        let Some(first) = all.next() else { return Ok(None) };
        all.try_fold(first, Self::plus).map(Some)
    }

    /// Reads the fields of a price: `amount` from 1 to [`MAX_PRICE`], and `currency`. For [`Fields::object`].
    #[must_use]
    pub fn read_price(fields: &Fields<'_>) -> Option<Self> {
        let amount = fields.required("amount", |value| parse::integer(value, 1..=MAX_PRICE));
        let currency = fields.required("currency", currency);
        Some(Self { amount: amount?, currency: currency? })
    }
}

/// A currency that people pay in today.
///
/// # Errors
/// `wrong_type`, `unknown_currency`, `withdrawn_currency`.
pub fn currency(value: &Value) -> Result<Currency, Invalid> {
    let unknown = |_| Invalid::new("unknown_currency", "must be an ISO 4217 code such as EUR");
    let currency: Currency = parse::string(value)?.parse().map_err(unknown)?;
    match currency.withdrawn_for() {
        Some(successor) => {
            Err(Invalid::new("withdrawn_currency", format!("is withdrawn: {successor} took the place of {currency}")))
        }
        None => Ok(currency),
    }
}

impl fmt::Display for UnknownCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an ISO 4217 currency")
    }
}

impl std::error::Error for UnknownCurrency {}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overflow => "the amount is too large",
            Self::CurrencyMismatch => "the currencies differ",
        })
    }
}

impl std::error::Error for MoneyError {}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(text: String) -> Result<Self, UnknownCurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().into()
    }
}

impl From<Currency> for Value {
    fn from(currency: Currency) -> Self {
        Self::String(currency.as_str().into())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn eur(amount: i64) -> Money {
        Money::new(amount, "EUR".parse().expect("a currency"))
    }

    #[test]
    fn money_has_the_shape_of_the_interface() {
        let json = json!({"amount": 1999, "currency": "EUR"});
        assert_eq!(serde_json::to_value(eur(1999)).expect("JSON"), json);
        assert_eq!(serde_json::from_value::<Money>(json).expect("money"), eur(1999));
    }

    #[test]
    fn only_currencies_that_people_pay_in_are_known() {
        for known in ["EUR", "USD", "JPY", "KWD"] {
            assert!(known.parse::<Currency>().is_ok(), "{known}");
        }
        for unknown in ["", "eur", "EURO", "ABC", "XXX", "XTS", "XAU"] {
            assert_eq!(unknown.parse::<Currency>(), Err(UnknownCurrency), "{unknown}");
        }
    }

    #[test]
    fn minor_units_are_those_of_iso_4217() {
        for (code, exponent) in [("EUR", 2), ("JPY", 0), ("ISK", 0), ("UGX", 0), ("MGA", 2), ("HUF", 2), ("KWD", 3)] {
            assert_eq!(code.parse::<Currency>().expect("a currency").exponent(), exponent, "{code}");
        }
    }

    #[test]
    fn a_withdrawn_currency_is_read_but_not_taken() {
        for (withdrawn, successor) in [("HRK", "EUR"), ("BGN", "EUR"), ("SLL", "SLE"), ("ZWL", "ZWG"), ("CUC", "CUP")] {
            let read: Currency = withdrawn.parse().expect("old rows and events name it");
            assert_eq!(read.withdrawn_for().map(|currency| currency.to_string()), Some(successor.into()));
            assert_eq!(currency(&json!(withdrawn)).expect_err("refused").code, "withdrawn_currency");
        }
        for current in ["EUR", "VES", "VED", "SLE", "XCG"] {
            assert!(currency(&json!(current)).is_ok(), "{current}");
        }
    }

    /// List one of ISO 4217 as of 1 January 2026, when BGN was withdrawn, without its funds, metals and test codes:
    /// <https://www.six-group.com/en/products-services/financial-information/data-standards.html>.
    #[rustfmt::skip]
    const LIST_ONE: &[&str] = &[
        "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD", "BIF", "BMD", "BND",
        "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP", "CRC", "CUP", "CVE",
        "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD",
        "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD", "IRR", "ISK", "JMD", "JOD", "JPY",
        "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "LYD", "MAD",
        "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO",
        "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF",
        "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB",
        "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VED", "VES", "VND",
        "VUV", "WST", "XAF", "XCD", "XCG", "XOF", "XPF", "YER", "ZAR", "ZMW", "ZWG",
    ];

    #[test]
    fn a_price_may_be_in_every_currency_of_list_one_and_in_no_other() {
        let letter = |n: u32| char::from(b'A' + u8::try_from(n % 26).expect("a letter"));
        let codes = (0..26_u32.pow(3)).map(|n| [letter(n / 676), letter(n / 26), letter(n)].iter().collect::<String>());
        let taken: Vec<_> = codes.filter(|code| currency(&json!(code)).is_ok()).collect();
        assert_eq!(taken, LIST_ONE);
        for withdrawn in ["ANG", "BYR", "CUC", "DEM", "EEK", "LTL", "LVL", "MRO", "SKK", "STD", "VEF", "ZMK", "ZWL"] {
            assert!(currency(&json!(withdrawn)).is_err(), "{withdrawn}");
        }
    }

    #[test]
    fn a_wrong_price_says_what_is_wrong() {
        let codes = |price: Value| {
            let problem = Fields::read(&json!({ "price": price }), |fields| fields.object("price", Money::read_price));
            let errors = problem.expect_err("refused").errors;
            errors.into_iter().map(|error| (error.field, error.code)).collect::<Vec<_>>()
        };
        assert_eq!(
            codes(json!({"amount": 0, "currency": "XXX"})),
            [("price.amount".into(), "too_small"), ("price.currency".into(), "unknown_currency")]
        );
        assert_eq!(codes(json!({"amount": 19.99, "currency": "EUR"})), [("price.amount".into(), "wrong_type")]);
        let too_much = MAX_PRICE + 1;
        assert_eq!(codes(json!({"amount": too_much, "currency": "EUR"})), [("price.amount".into(), "too_large")]);
    }

    #[test]
    fn two_currencies_dont_add_up() {
        let usd = Money::new(1, "USD".parse().expect("a currency"));
        assert_eq!(eur(1).plus(usd), Err(MoneyError::CurrencyMismatch));
    }

    #[test]
    fn the_largest_order_doesnt_overflow() {
        let line = eur(MAX_PRICE).times(10_000).expect("a line fits");
        assert!(Money::sum(std::iter::repeat_n(line, 100)).is_ok());
    }

    proptest! {
        #[test]
        fn sums_are_exact_or_refused(a: i64, b: i64, count: i64) {
            let exact = i64::try_from(i128::from(a) + i128::from(b)).ok();
            prop_assert_eq!(eur(a).plus(eur(b)).ok(), exact.map(eur));
            let exact = i64::try_from(i128::from(a) * i128::from(count)).ok();
            prop_assert_eq!(eur(a).times(count).ok(), exact.map(eur));
        }
    }
}
