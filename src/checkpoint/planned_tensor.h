// A tensor of the GGUF file that a checkpoint stands for, and how its bytes come about when
// somebody reads them. Nothing is held in memory but what is made up here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/safetensors.h"
#include "tensor/dtype.h"

namespace exo::checkpoint {

// Fills `out` from `offset` of file `file` of a checkpoint. Errors: those of the disk.
using FileReader =
    std::function<Result<void>(uint32_t file, uint64_t offset, std::span<std::byte> out)>;

// MLX's affine quantization: value = scale * code + bias, with one scale and bias for each `group`
// neighbors of a row; codes lie in 32-bit words, the first in the lowest bits.
struct Affine {
  StoredTensor scales, biases;  // [.., rows, cols / group]
  uint32_t bits = 0;            // of a code: 4 or 8
  uint32_t group = 0;
};

// Matrices [rows, cols] that lie one behind the other in one tensor of a file.
struct RowSource {
  StoredTensor stored;           // floats, or the words of codes
  std::optional<Affine> affine;  // the codes' scales
  uint64_t rows = 0;
};

struct PlannedTensor {
  std::string name;
  std::vector<uint64_t> dims;  // in GGUF order, a row's length first
  tensor::DType type = tensor::DType::kF32;
  std::vector<RowSource> sources;  // their rows in order are the tensor's
  // The file has the rotated pairs of each of so many heads as halves, GGUF side by side. 0: as is.
  uint32_t heads = 0;
  float added = 0;            // to each value of a vector: norms that are stored without their 1
  std::vector<float> values;  // what is made up instead of sources

  uint64_t cols() const { return dims[0]; }
  uint64_t rows() const;
  uint64_t row_bytes() const;
  uint64_t bytes() const { return rows() * row_bytes(); }

  // Fills `out` with the bytes from `offset`. Errors: those of `reader`. Cost: whole rows are read.
  Result<void> Read(uint64_t offset, std::span<std::byte> out, const FileReader& reader) const;

 private:
  // Rows of GGUF's order as GGUF bytes.
  Result<void> ReadRows(uint64_t first, std::span<std::byte> out, const FileReader& reader) const;
  Result<void> ReadRun(const RowSource& source, uint64_t row, uint64_t count, std::byte* out,
                       const FileReader& reader) const;
  uint64_t StoredRow(uint64_t row) const;
  bool AsStored() const;
  void WriteVector(std::span<const std::byte> raw, std::byte* out) const;
};

// The float that an element of the file stands for. `element` is one of the floats.
float FloatAt(Element element, const std::byte* at);

// Whether the scales and biases are numbers that F16 holds exactly, so that 4-bit codes are Q4_1
// blocks. Cost: reads all of them. Errors: those of `reader`.
Result<bool> FitsQ4_1(const Affine& affine, const FileReader& reader);

}  // namespace exo::checkpoint
