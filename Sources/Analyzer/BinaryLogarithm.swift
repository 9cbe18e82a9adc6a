/// log2 of a finite number above zero, to within a few units of the last place.
///
/// x = 2^e · m with m in 1 ..< 2, and ln m = 2 artanh z with z = (m - 1) / (m + 1) ≤ 1/3, whose
/// series z + z³/3 + z⁵/5 + … gains a decimal digit per term. The standard library has no
/// logarithm; this one is for filling tables.
func binaryLogarithm(_ x: Double) -> Double {
  precondition(x > 0 && x.isFinite)
  let z = (x.significand - 1) / (x.significand + 1)
  var power = z
  var series = 0.0
  var divisor = 1.0
  while power > 1e-18 {
    series += power / divisor
    power *= z * z
    divisor += 2
  }
  let logarithmOf2 = 0.693147180559945309
  return Double(x.exponent) + 2 * series / logarithmOf2
}
