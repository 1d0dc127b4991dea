// The grids of IQ1, IQ2 and IQ3: the points (of eight values, IQ3: of four) that a block chooses
// from by index. Signs, and the offset of IQ1, are the block's (grid_blocks.cc).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace exo::tensor {

using Point8 = std::array<int8_t, 8>;
using Point4 = std::array<int8_t, 4>;

struct Grids {
  std::vector<Point8> iq1;      // 2048 points of -1, 0, 1; IQ1_S and IQ1_M
  std::vector<Point8> iq2_xxs;  // 256 points of 8, 25, 43
  std::vector<Point8> iq2_xs;   // 512
  std::vector<Point8> iq2_s;    // 1024
  std::vector<Point4> iq3_xxs;  // 256 points of 2, 6, 10, 14, 18, 22, 26, 31: half of the format's
  std::vector<Point4> iq3_s;    // 512 points of 1, 3, 5, 7, 9, 11, 13, 15
};

// Made at the first call. Any thread.
const Grids& TheGrids();

}  // namespace exo::tensor
