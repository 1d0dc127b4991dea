// The values of the formats whose codes are looked up. No includes but integers: kernels compiled
// for an instruction set include it.
#pragma once

#include <cstdint>

namespace exo::tensor {

// Codes that packed weights name by 3 or 4 bits, and the power of two that a block's f16 scale is
// multiplied by (behind its conversion to binary32, so that no bit is lost).
struct CodeTable {
  int8_t codes[16];
  float factor;
};
inline constexpr CodeTable kIq4Table = {
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}, 1.0f};
inline constexpr CodeTable kIq1Table = {{-9, -7, -1, 1, 7, 9}, 0.125f};
inline constexpr CodeTable kIq2Table = {{-43, -25, -8, 8, 25, 43}, 0.125f};
inline constexpr CodeTable kIq3XxsTable = {
    {-31, -26, -22, -18, -14, -10, -6, -2, 2, 6, 10, 14, 18, 22, 26, 31}, 0.5f};
inline constexpr CodeTable kIq3STable = {
    {-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15}, 1.0f};

// IQ4_NL and IQ4_XS.
inline constexpr const int8_t (&kIq4Codes)[16] = kIq4Table.codes;
// Twice the values of MXFP4's e2m1.
inline constexpr int8_t kMxfp4Codes[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace exo::tensor
