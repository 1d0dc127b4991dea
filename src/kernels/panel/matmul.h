// The blocking of a product: which panel meets which tile of tokens when.
#pragma once

#include "kernels/kernels.h"
#include "kernels/panel/ops.h"

namespace exo::kernels::panel {

// Bytes of a tile of `width` tokens, and of all tiles of `tokens`.
size_t TileBytes(ActivationKind kind, size_t width, size_t cols);
size_t TilesBytes(ActivationKind kind, size_t tokens, size_t cols);

void MatMul(const Ops& ops, const Weights& w, const Activations& x, size_t first, size_t count,
            float* out, size_t out_stride, bool add);

}  // namespace exo::kernels::panel
