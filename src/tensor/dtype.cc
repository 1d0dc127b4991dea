#include "tensor/dtype.h"

#include <array>
#include <string>

#include "base/check.h"

namespace exo::tensor {
namespace {

constexpr std::array<DTypeInfo, 25> kTypes = {{
    {DType::kF32, "F32", 1, 4, false},
    {DType::kF16, "F16", 1, 2, false},
    {DType::kQ4_0, "Q4_0", 32, 18, true},
    {DType::kQ4_1, "Q4_1", 32, 20, true, true},
    {DType::kQ5_0, "Q5_0", 32, 22, true},
    {DType::kQ5_1, "Q5_1", 32, 24, true, true},
    {DType::kQ8_0, "Q8_0", 32, 34, true},
    {DType::kQ2_K, "Q2_K", 256, 84, true, true},
    {DType::kQ3_K, "Q3_K", 256, 110, true},
    {DType::kQ4_K, "Q4_K", 256, 144, true, true},
    {DType::kQ5_K, "Q5_K", 256, 176, true, true},
    {DType::kQ6_K, "Q6_K", 256, 210, true},
    {DType::kIQ2_XXS, "IQ2_XXS", 256, 66, true},
    {DType::kIQ2_XS, "IQ2_XS", 256, 74, true},
    {DType::kIQ3_XXS, "IQ3_XXS", 256, 98, true},
    {DType::kIQ1_S, "IQ1_S", 256, 50, true},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, true},
    {DType::kIQ3_S, "IQ3_S", 256, 110, true},
    {DType::kIQ2_S, "IQ2_S", 256, 82, true},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136, true},
    {DType::kIQ1_M, "IQ1_M", 256, 56, true},
    {DType::kBF16, "BF16", 1, 2, false},
    {DType::kTQ1_0, "TQ1_0", 256, 54, true},
    {DType::kTQ2_0, "TQ2_0", 256, 66, true},
    {DType::kMXFP4, "MXFP4", 32, 17, true},
}};

// GGUF's tensor types by number; gaps are types that were removed from the format.
constexpr std::array<std::string_view, 40> kGgufNames = {
    "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
    "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
    "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
    "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};

}  // namespace

std::optional<DTypeInfo> FindDType(uint32_t gguf_type) {
  for (const DTypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == gguf_type) return info;
  }
  return std::nullopt;
}

std::span<const DTypeInfo> AllTypes() {
  return kTypes;
}

const DTypeInfo& Info(DType type) {
  for (const DTypeInfo& info : kTypes) {
    if (info.type == type) return info;
  }
  internal::CheckFailed(__FILE__, __LINE__, "unknown DType");
}

std::string GgufTypeName(uint32_t gguf_type) {
  if (gguf_type < kGgufNames.size() && !kGgufNames[gguf_type].empty()) {
    return std::string(kGgufNames[gguf_type]);
  }
  return fmt::format("type {}", gguf_type);
}

Result<uint64_t> RowBytes(DType type, uint64_t cols) {
  const DTypeInfo& info = Info(type);
  if (cols % info.block_values != 0) {
    return Fail(ErrorCode::kInvalid, "a row of {} values is no multiple of the {} block of {}",
                cols, info.name, info.block_values);
  }
  return cols / info.block_values * info.block_bytes;
}

}  // namespace exo::tensor
