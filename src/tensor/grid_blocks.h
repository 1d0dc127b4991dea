// Blocks of IQ1, IQ2 and IQ3: codes are points of a grid, with a sign for each value (IQ2, IQ3) or
// an offset (IQ1).
#pragma once

#include <cstddef>

#include "tensor/blocks.h"

namespace exo::tensor {

// type: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS or IQ3_S; any other is a bug.
Block256 ReadGridBlock(DType type, const std::byte* block);

}  // namespace exo::tensor
