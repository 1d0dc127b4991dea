// Packing of GGUF rows into the panels of layout.h, and reading them back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::kernels::panel {

// Bytes of one panel, a multiple of 64.
size_t PanelBytes(tensor::DType type, size_t cols);
// Packs `valid` (1 … 16) rows of GGUF bytes at `src` into one panel; missing rows become zeros.
void PackPanel(tensor::DType type, size_t valid, size_t cols, const uint8_t* src, uint8_t* panel);
// The dequantized row 0 … 15 of a panel (tensor/dequantize.h).
void UnpackPanelRow(tensor::DType type, size_t cols, const uint8_t* panel, size_t row, float* out);

}  // namespace exo::kernels::panel
