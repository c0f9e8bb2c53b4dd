//! Amounts in the provider's units, which are not always those of ISO 4217, and what the provider takes at all.
//!
//! Source: [Supported currencies](https://docs.stripe.com/currencies) of Stripe, with its sections "Zero-decimal
//! currencies", "Special cases" and "Minimum and maximum charge amounts"; for three decimals the same page as of December
//! 2022, whose rule the interface still follows.
//!
//! | currency | ISO 4217 | Stripe |
//! |---|---|---|
//! | ISK, UGX | no decimals | two decimals that are always `00`, although the page also lists UGX as zero-decimal |
//! | MGA | two decimals | no decimals |
//! | BHD, JOD, KWD, OMR, TND | three decimals | three decimals, of which the last is 0 |
//! | HUF, TWD | two decimals | two decimals for charges and refunds; only payouts are in whole units |
//!
//! Nothing is rounded: an amount that the provider can't charge exactly is refused.

use std::fmt;

use towpath_sdk::Money;

/// The reason of an amount for which the provider has no unit.
pub const AMOUNT_NOT_CHARGEABLE: &str = "amount_not_chargeable";

/// The largest amount that Stripe takes for a card, in its own units: 12 digits. Some cards and currencies have lower
/// limits, which Stripe's answer names.
pub const MAX_UNITS: i64 = 999_999_999_999;

/// Stripe's zero-decimal currencies, without UGX: its special case goes before that list.
const ZERO_DECIMAL: &[&str] =
    &["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Stripe's three-decimal currencies: the last digit must be 0.
const THREE_DECIMAL: &[&str] = &["BHD", "JOD", "KWD", "OMR", "TND"];

/// Stripe's currencies with two decimals. Those whose minor units ISO 4217 gives up are among them (ISK, UGX).
#[rustfmt::skip]
const TWO_DECIMAL: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BMD", "BND", "BOB", "BRL", "BSD",
    "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC", "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ETB", "EUR",
    "FJD", "FKP", "GBP", "GEL", "GIP", "GMD", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "ISK", "JMD",
    "KES", "KGS", "KHR", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MKD", "MMK", "MNT", "MOP", "MUR",
    "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN",
    "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SZL", "THB", "TJS", "TOP",
    "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "WST", "XCD", "XCG", "YER", "ZAR", "ZMW",
];

/// The smallest charge of a currency in Stripe's units. Where Stripe pays out in another currency, that one's minimum
/// counts after the conversion, and Stripe's answer says so; a currency that isn't here has no minimum of its own.
#[rustfmt::skip]
const MINIMUMS: &[(&str, i64)] = &[
    ("USD", 50), ("AED", 200), ("ARS", 50), ("AUD", 50), ("BRL", 50), ("CAD", 50), ("CHF", 50), ("COP", 50),
    ("CZK", 1500), ("DKK", 250), ("EUR", 50), ("GBP", 30), ("HKD", 400), ("HUF", 17_500), ("IDR", 50), ("ILS", 50),
    ("INR", 50), ("JPY", 50), ("KRW", 50), ("MXN", 1000), ("MYR", 200), ("NOK", 300), ("NZD", 50), ("PHP", 50),
    ("PLN", 200), ("RON", 200), ("RUB", 50), ("SEK", 300), ("SGD", 50), ("THB", 1000), ("ZAR", 50),
];

/// An amount as the provider writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// How many of the provider's units.
    pub amount: i64,
    /// The currency in lower case.
    pub currency: String,
}

/// Why the provider can't charge an amount: the reason of a declined payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpayable {
    /// It doesn't take this currency.
    Currency,
    /// It can't charge this amount exactly, such as 5.124 KWD.
    Fraction,
    /// It is less than the provider charges.
    TooSmall,
    /// It is more than the provider charges.
    TooLarge,
}

impl Unpayable {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Currency, Self::Fraction, Self::TooSmall, Self::TooLarge];

    /// As the order says it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Currency => "currency_not_supported",
            Self::Fraction => AMOUNT_NOT_CHARGEABLE,
            Self::TooSmall => "amount_too_small",
            Self::TooLarge => "amount_too_large",
        }
    }
}

impl Units {
    /// Money in the provider's units.
    ///
    /// # Errors
    /// Where the provider can't charge it.
    pub fn of(money: Money) -> Result<Self, Unpayable> {
        let code = money.currency.as_str();
        let decimals = decimals(code).ok_or(Unpayable::Currency)?;
        let amount = scaled(money.amount, money.currency.exponent(), decimals)?;
        if decimals == 3 && amount % 10 != 0 {
            return Err(Unpayable::Fraction);
        }
        let minimum = MINIMUMS.iter().find(|(currency, _)| *currency == code).map_or(1, |(_, minimum)| *minimum);
        if amount < minimum {
            return Err(Unpayable::TooSmall);
        }
        if amount > MAX_UNITS {
            return Err(Unpayable::TooLarge);
        }
        Ok(Self { amount, currency: code.to_ascii_lowercase() })
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// How many decimals Stripe writes of a currency; `None` if it doesn't take it.
fn decimals(code: &str) -> Option<u32> {
    [(ZERO_DECIMAL, 0), (TWO_DECIMAL, 2), (THREE_DECIMAL, 3)]
        .into_iter()
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, decimals)| decimals)
}

/// An amount with so many decimals, with as many others.
fn scaled(amount: i64, from: u32, to: u32) -> Result<i64, Unpayable> {
    if to >= from {
        let factor = 10_i64.checked_pow(to - from).ok_or(Unpayable::TooLarge)?;
        return amount.checked_mul(factor).ok_or(Unpayable::TooLarge);
    }
    let factor = 10_i64.checked_pow(from - to).ok_or(Unpayable::Fraction)?;
    if amount % factor == 0 { Ok(amount / factor) } else { Err(Unpayable::Fraction) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(amount: i64, currency: &str) -> Result<(i64, String), Unpayable> {
        let money = Money::new(amount, currency.parse().expect("a currency"));
        Units::of(money).map(|units| (units.amount, units.currency))
    }

    fn taken() -> Vec<&'static str> {
        [ZERO_DECIMAL, TWO_DECIMAL, THREE_DECIMAL].concat()
    }

    #[test]
    fn two_decimals_stay_as_they_are() {
        assert_eq!(of(1999, "EUR"), Ok((1999, "eur".into())));
        assert_eq!(of(1999, "USD"), Ok((1999, "usd".into())));
    }

    #[test]
    fn zero_decimals_stay_as_they_are() {
        assert_eq!(of(500, "JPY"), Ok((500, "jpy".into())));
        for code in ["BIF", "CLP", "DJF", "GNF", "KMF", "KRW", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"] {
            assert_eq!(of(500, code), Ok((500, code.to_ascii_lowercase())));
        }
    }

    #[test]
    fn isk_has_no_decimals_here_and_two_zeros_there() {
        assert_eq!(of(5, "ISK"), Ok((500, "isk".into())), "Stripe: to charge 5 ISK, provide an amount of 500");
    }

    #[test]
    fn ugx_has_no_decimals_here_and_two_zeros_there() {
        assert_eq!(of(5, "UGX"), Ok((500, "ugx".into())), "Stripe: to charge 5 UGX, provide an amount of 500");
    }

    #[test]
    fn mga_has_two_decimals_here_and_none_there() {
        assert_eq!(of(500_000, "MGA"), Ok((5_000, "mga".into())));
        assert_eq!(of(500_020, "MGA"), Err(Unpayable::Fraction), "5,000 ariary and one iraimbilanja");
    }

    #[test]
    fn huf_is_charged_with_two_decimals() {
        assert_eq!(of(1_000_045, "HUF"), Ok((1_000_045, "huf".into())));
    }

    #[test]
    fn twd_is_charged_with_two_decimals() {
        assert_eq!(of(80_045, "TWD"), Ok((80_045, "twd".into())));
    }

    #[test]
    fn three_decimals_end_in_zero_or_are_refused() {
        for code in THREE_DECIMAL {
            assert_eq!(of(5_120, code), Ok((5_120, code.to_ascii_lowercase())));
            assert_eq!(of(5_124, code), Err(Unpayable::Fraction), "{code} is not rounded");
        }
    }

    #[test]
    fn every_minimum_is_taken_and_less_is_refused() {
        for &(code, minimum) in MINIMUMS {
            assert_eq!(of(minimum, code), Ok((minimum, code.to_ascii_lowercase())));
            assert_eq!(of(minimum - 1, code), Err(Unpayable::TooSmall), "{code}");
        }
        assert_eq!(of(1, "ALL"), Ok((1, "all".into())), "the conversion decides, at the provider");
    }

    #[test]
    fn more_than_twelve_digits_are_refused() {
        assert_eq!(of(MAX_UNITS, "EUR"), Ok((MAX_UNITS, "eur".into())));
        assert_eq!(of(MAX_UNITS + 1, "EUR"), Err(Unpayable::TooLarge));
        assert_eq!(of(MAX_UNITS, "ISK"), Err(Unpayable::TooLarge));
        assert_eq!(of(i64::MAX, "UGX"), Err(Unpayable::TooLarge), "no overflow");
    }

    #[test]
    fn a_currency_that_the_provider_does_not_take_is_refused() {
        for code in ["IRR", "KPW", "SYP", "CUP", "IQD", "LYD", "HRK", "BGN"] {
            assert_eq!(of(10_000, code), Err(Unpayable::Currency), "{code}");
        }
    }

    #[test]
    fn the_table_names_each_currency_once_and_only_those_that_people_pay_in() {
        let (all, distinct) = (taken(), taken().into_iter().collect::<BTreeSet<_>>());
        assert_eq!(all.len(), distinct.len());
        for code in all {
            let currency: towpath_sdk::Currency = code.parse().expect("in ISO 4217");
            assert_eq!(currency.withdrawn_for(), None, "{code}");
        }
        assert!(MINIMUMS.iter().all(|(code, _)| distinct.contains(code)));
    }

    proptest! {
        #[test]
        fn what_is_charged_is_exactly_what_was_asked(
            amount in 1..=i64::MAX,
            code in proptest::sample::select(taken()),
        ) {
            let money = Money::new(amount, code.parse().expect("a currency"));
            if let Ok(units) = Units::of(money) {
                let decimals = decimals(code).expect("taken");
                // The same sum, with as many decimals as both have.
                let ours = i128::from(amount) * 10_i128.pow(decimals);
                let theirs = i128::from(units.amount) * 10_i128.pow(money.currency.exponent());
                prop_assert_eq!(ours, theirs);
                prop_assert!(units.amount <= MAX_UNITS);
            }
        }
    }
}
