#include "checkpoint/planned_tensor.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "tensor/float16.h"

namespace exo::checkpoint {
namespace {

using tensor::DType;

constexpr uint64_t kPieceBytes = 1u << 20;  // of scales looked at, and of rows made at a time
constexpr uint64_t kQ4_1Values = 32;

uint16_t HalfAt(const std::byte* at) {
  uint16_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// Code `index` of a row; low bits first, so that bytes are in order on little-endian machines.
uint32_t CodeAt(const std::byte* row, uint32_t bits, uint64_t index) {
  const auto byte = static_cast<uint32_t>(row[index * bits / 8]);
  return bits == 8 ? byte : byte >> (index % 2 * 4) & 15;
}

// A row of codes as values: the product of a scale of at most 24 bits and a code is exact, the sum
// is rounded to binary64 and then to binary32.
void DequantizeAffine(const Affine& affine, const std::byte* codes, const std::byte* scales,
                      const std::byte* biases, uint64_t cols, std::byte* out) {
  const uint64_t bytes = ElementBytes(affine.scales.element);
  for (uint64_t col = 0; col < cols; ++col) {
    const uint64_t at = col / affine.group * bytes;
    const double scale = FloatAt(affine.scales.element, scales + at);
    const double bias = FloatAt(affine.biases.element, biases + at);
    const auto value = static_cast<float>(scale * CodeAt(codes, affine.bits, col) + bias);
    std::memcpy(out + col * sizeof(float), &value, sizeof(float));
  }
}

// The same as Q4_1 blocks: d, m and the codes, the first 16 of a block in the low halves of bytes.
void PackQ4_1(const Affine& affine, const std::byte* codes, const std::byte* scales,
              const std::byte* biases, uint64_t cols, std::byte* out) {
  const uint64_t bytes = ElementBytes(affine.scales.element);
  for (uint64_t first = 0; first < cols; first += kQ4_1Values) {
    const uint64_t at = first / affine.group * bytes;
    const uint16_t d = tensor::FloatToHalf(FloatAt(affine.scales.element, scales + at));
    const uint16_t m = tensor::FloatToHalf(FloatAt(affine.biases.element, biases + at));
    std::memcpy(out, &d, sizeof(d));
    std::memcpy(out + 2, &m, sizeof(m));
    for (uint64_t i = 0; i < kQ4_1Values / 2; ++i) {
      const uint32_t low = CodeAt(codes, 4, first + i);
      const uint32_t high = CodeAt(codes, 4, first + kQ4_1Values / 2 + i);
      out[4 + i] = static_cast<std::byte>(low | high << 4);
    }
    out += 4 + kQ4_1Values / 2;
  }
}

Result<bool> AllFitHalf(const StoredTensor& tensor, const FileReader& reader) {
  if (tensor.element == Element::kF16) return true;
  const uint64_t bytes = ElementBytes(tensor.element);
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < tensor.bytes; at += piece.size()) {
    piece.resize(std::min(kPieceBytes, tensor.bytes - at));
    TRY(reader(tensor.file, tensor.offset + at, piece));
    for (uint64_t i = 0; i < piece.size(); i += bytes) {
      const float value = FloatAt(tensor.element, piece.data() + i);
      if (tensor::HalfToFloat(tensor::FloatToHalf(value)) != value) return false;
    }
  }
  return true;
}

}  // namespace

float FloatAt(Element element, const std::byte* at) {
  if (element == Element::kF16) return tensor::HalfToFloat(HalfAt(at));
  if (element == Element::kBF16) return tensor::Bf16ToFloat(HalfAt(at));
  float value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

Result<bool> FitsQ4_1(const Affine& affine, const FileReader& reader) {
  return TRY(AllFitHalf(affine.scales, reader)) && TRY(AllFitHalf(affine.biases, reader));
}

uint64_t PlannedTensor::rows() const {
  uint64_t product = 1;
  for (size_t i = 1; i < dims.size(); ++i) product *= dims[i];
  return product;
}

uint64_t PlannedTensor::row_bytes() const {
  return tensor::RowBytes(type, cols()).value();
}

// The row of the sources that is row `row` of GGUF.
uint64_t PlannedTensor::StoredRow(uint64_t row) const {
  if (heads == 0 || dims.size() == 1) return row;
  const uint64_t size = rows() / heads, in_head = row % size;
  return row - in_head + in_head % 2 * (size / 2) + in_head / 2;
}

// Whether GGUF's bytes are those of the file.
bool PlannedTensor::AsStored() const {
  return heads == 0 && dims.size() > 1 && !sources[0].affine;
}

// A vector as floats.
void PlannedTensor::WriteVector(std::span<const std::byte> raw, std::byte* out) const {
  const Element element = sources[0].stored.element;
  const uint64_t bytes = ElementBytes(element);
  const uint64_t size = heads == 0 ? 0 : cols() / heads;
  for (uint64_t i = 0; i < cols(); ++i) {
    const uint64_t in_head = heads == 0 ? 0 : i % size;
    const uint64_t from = i - in_head + in_head % 2 * (size / 2) + in_head / 2;
    const float value = FloatAt(element, raw.data() + from * bytes) + added;
    std::memcpy(out + i * sizeof(float), &value, sizeof(float));
  }
}

// Neighboring rows of one source.
Result<void> PlannedTensor::ReadRun(const RowSource& source, uint64_t row, uint64_t count,
                                    std::byte* out, const FileReader& reader) const {
  const auto read = [&](const StoredTensor& tensor, uint64_t row_length,
                        std::vector<std::byte>& bytes) {
    bytes.resize(count * row_length);
    return reader(tensor.file, tensor.offset + row * row_length, bytes);
  };
  const uint64_t stored_row = source.stored.bytes / source.rows;
  std::vector<std::byte> raw;
  TRY(read(source.stored, stored_row, raw));
  if (dims.size() == 1) {
    WriteVector(raw, out);
    return {};
  }
  if (!source.affine) {
    std::ranges::copy(raw, out);
    return {};
  }
  const uint64_t scale_row = source.affine->scales.bytes / source.rows;
  const uint64_t bias_row = source.affine->biases.bytes / source.rows;
  std::vector<std::byte> scales, biases;
  TRY(read(source.affine->scales, scale_row, scales));
  TRY(read(source.affine->biases, bias_row, biases));
  for (uint64_t i = 0; i < count; ++i) {
    const auto write = type == DType::kQ4_1 ? PackQ4_1 : DequantizeAffine;
    write(*source.affine, &raw[i * stored_row], &scales[i * scale_row], &biases[i * bias_row],
          cols(), out + i * row_bytes());
  }
  return {};
}

Result<void> PlannedTensor::ReadRows(uint64_t first, std::span<std::byte> out,
                                     const FileReader& reader) const {
  const uint64_t count = out.size() / row_bytes();
  const uint64_t rows_each = sources[0].rows;
  for (uint64_t done = 0; done < count;) {
    const uint64_t row = StoredRow(first + done);
    const RowSource& source = sources[row / rows_each];
    // As many as lie one behind the other in the file, too.
    uint64_t run = 1;
    while (done + run < count && StoredRow(first + done + run) == row + run &&
           (row + run) / rows_each == row / rows_each) {
      ++run;
    }
    TRY(ReadRun(source, row % rows_each, run, &out[done * row_bytes()], reader));
    done += run;
  }
  return {};
}

Result<void> PlannedTensor::Read(uint64_t offset, std::span<std::byte> out,
                                 const FileReader& reader) const {
  CHECK_LE(offset + out.size(), bytes());
  if (!values.empty()) {
    std::ranges::copy(std::as_bytes(std::span(values)).subspan(offset, out.size()), out.begin());
    return {};
  }
  if (AsStored() && sources.size() == 1) {
    const StoredTensor& stored = sources[0].stored;
    return reader(stored.file, stored.offset + offset, out);
  }
  const uint64_t length = row_bytes();
  std::vector<std::byte> rows;
  while (!out.empty()) {
    const uint64_t first = offset / length, skip = offset % length;
    const uint64_t most = std::max<uint64_t>(1, kPieceBytes / length);
    const uint64_t count = std::min(most, (skip + out.size() + length - 1) / length);
    rows.resize(count * length);
    TRY(ReadRows(first, rows, reader));
    const uint64_t part = std::min<uint64_t>(out.size(), rows.size() - skip);
    std::ranges::copy(std::span(rows).subspan(skip, part), out.begin());
    out = out.subspan(part);
    offset += part;
  }
  return {};
}

}  // namespace exo::checkpoint
