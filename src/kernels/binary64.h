// Binary64 functions for the rotary tables, made of +, -, *, / only, so that every platform
// computes the same bits (libm differs between systems). Not for the token path: tables are made
// once per position.
#pragma once

namespace exo::kernels {

struct SinCos {
  double sin;
  double cos;
};
// |x| <= 2^21 (positions below 2^20 at frequency 1, with room); absolute error below 2^-51.
SinCos SinCosOf(double x);

// base^(-numerator / denominator), base > 0, denominator > 0; relative error below 2^-51 for
// results in [2^-60, 2^60].
double InversePower(double base, double numerator, double denominator);

}  // namespace exo::kernels
