//! Counters in Prometheus' text format.

/// The sum of a metric over all of its labels.
pub(super) fn sum(text: &str, metric: &str) -> f64 {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once("} ")?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{x=\"} 9\"} 2\na_total{x=\"b\"} 3\na_total_other 7\nb 4\n";
        assert_eq!((sum(text, "a_total"), sum(text, "b"), sum(text, "c")), (5.0, 4.0, 0.0));
    }
}
