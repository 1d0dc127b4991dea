#include "kernels/binary64.h"

#include <bit>
#include <cstdint>
#include <initializer_list>

namespace exo::kernels {
namespace {

// An unevaluated sum of two doubles (Dekker 1971), about 104 bits.
struct Pair {
  double high;
  double low;
};

Pair TwoSum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  const double a_part = sum - b_part;
  const double b_error = b - b_part;
  const double a_error = a - a_part;
  return {sum, a_error + b_error};
}

// Splits into two halves of 26 bits, whose products are exact.
Pair Split(double a) {
  const double scaled = a * 134217729.0;  // 2^27 + 1
  const double difference = scaled - a;
  const double high = scaled - difference;
  return {high, a - high};
}

Pair TwoProduct(double a, double b) {
  const double product = a * b;
  const Pair x = Split(a);
  const Pair y = Split(b);
  double error = x.high * y.high;
  error = error - product;
  const double cross = x.high * y.low;
  error = error + cross;
  const double other = x.low * y.high;
  error = error + other;
  const double last = x.low * y.low;
  return {product, error + last};
}

Pair Add(Pair a, Pair b) {
  const Pair sum = TwoSum(a.high, b.high);
  const double low = a.low + b.low;
  return TwoSum(sum.high, sum.low + low);
}

Pair Multiply(Pair a, Pair b) {
  const Pair product = TwoProduct(a.high, b.high);
  const double left = a.high * b.low;
  const double right = a.low * b.high;
  const double low = left + right;
  return TwoSum(product.high, product.low + low);
}

Pair Divide(Pair a, Pair b) {
  const double quotient = a.high / b.high;
  const Pair back = Multiply(b, {quotient, 0});
  const Pair rest = Add(a, {-back.high, -back.low});
  return TwoSum(quotient, rest.high / b.high);
}

constexpr Pair kLn2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

// log(x) = k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = m 2^k with m in [0.7, 1.42): s^2 <
// 0.0295, so that 22 terms reach 2^-110.
Pair Log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int k = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m = m / 2;
    k = k + 1;
  }
  const Pair s = Divide(TwoSum(m, -1), TwoSum(m, 1));
  const Pair square = Multiply(s, s);
  Pair sum = {0, 0};
  for (int term = 43; term >= 1; term -= 2) {
    sum = Multiply(sum, square);
    sum = Add(sum, Divide({1, 0}, {static_cast<double>(term), 0}));
  }
  const Pair twice = {2 * s.high, 2 * s.low};
  return Add(Multiply({static_cast<double>(k), 0}, kLn2), Multiply(twice, sum));
}

// exp of a pair, |x| < 40: n ln 2 removed in pairs, Taylor to r^17 for |r| <= 0.35.
double ExpOf(Pair x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const double scaled = x.high * 0x1.71547652b82fep0;
  const double shifted = scaled + kRound;
  const double n = shifted - kRound;
  const Pair r = Add(x, Multiply({-n, 0}, kLn2));
  double sum = 1;
  for (int term = 17; term >= 2; --term) {
    const double step = r.high / term;
    const double product = step * sum;
    sum = 1 + product;
  }
  const double first = r.high * sum;  // exp(r) - 1
  const double value = 1 + first;
  const double low = value * r.low;
  const double rounded = value + low;
  const int exponent = static_cast<int>(n) + 1023;
  return rounded * std::bit_cast<double>(static_cast<uint64_t>(exponent) << 52);
}

}  // namespace

// Cody and Waite: pi/2 in three parts of 33 bits, so that n times the first two is exact for n <
// 2^20. Taylor on |r| <= pi/4: the first dropped terms are r^19/19! < 2^-63 and r^20/20! < 2^-68.
SinCos SinCosOf(double x) {
  constexpr double kRound = 6755399441055744.0;
  const double scaled = x * 0x1.45f306dc9c883p-1;
  const double shifted = scaled + kRound;
  const double n = shifted - kRound;
  double r = x;
  for (const double part : {0x1.921fb544p0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69}) {
    const double product = n * part;
    r = r - product;
  }
  const double square = r * r;
  double sine = 1;
  for (int term = 17; term >= 3; term -= 2) {
    const double step = square / (term * (term - 1));
    const double product = step * sine;
    sine = 1 - product;
  }
  sine = r * sine;
  double cosine = 1;
  for (int term = 18; term >= 2; term -= 2) {
    const double step = square / (term * (term - 1));
    const double product = step * cosine;
    cosine = 1 - product;
  }
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

double InversePower(double base, double numerator, double denominator) {
  const Pair exponent = Divide({-numerator, 0}, {denominator, 0});
  return ExpOf(Multiply(exponent, Log(base)));
}

}  // namespace exo::kernels
