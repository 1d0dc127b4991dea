// The values of the formats whose codes are looked up. No includes but integers: kernels compiled
// for an instruction set include it.
#pragma once

#include <cstdint>

namespace exo::tensor {

// IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Codes[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};
// Twice the values of MXFP4's e2m1.
inline constexpr int8_t kMxfp4Codes[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace exo::tensor
