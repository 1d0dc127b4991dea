// Which kernel set this machine uses.
#include <string>

#include "kernels/kernels.h"
#include "kernels/panel/panel_kernels.h"

namespace exo::kernels {

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avx-vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
    case Isa::kNeonDotprod:
      return "neon-dotprod";
    case Isa::kNeonI8mm:
      return "neon-i8mm";
  }
  return "?";
}

std::string_view KvTypeName(KvType type) {
  switch (type) {
    case KvType::kF16:
      return "f16";
    case KvType::kF32:
      return "f32";
    case KvType::kQ8_0:
      return "q8_0";
  }
  return "?";
}

Result<KvType> KvTypeNamed(std::string_view name) {
  for (const KvType type : {KvType::kF16, KvType::kF32, KvType::kQ8_0}) {
    if (KvTypeName(type) == name) return type;
  }
  return Fail(ErrorCode::kInvalid, "{} is no type of a KV cache: use f16, f32 or q8_0", name);
}

KvType KvTypeFor(KvType wanted, size_t head_dim) {
  return wanted == KvType::kQ8_0 && head_dim % kKvBlock != 0 ? KvType::kF16 : wanted;
}

size_t KvTileBytes(KvType type, size_t head_dim) {
  switch (type) {
    case KvType::kF16:
      return kKvTile * 2 * head_dim;
    case KvType::kF32:
      return kKvTile * 4 * head_dim;
    case KvType::kQ8_0:
      return kKvTile * (head_dim + 2 * (head_dim / kKvBlock));
  }
  return 0;
}

ActivationKind KindFor(tensor::DType weights) {
  const tensor::DTypeInfo& info = tensor::Info(weights);
  if (!info.quantized) return ActivationKind::kFloat;
  return info.block_values == 32 ? ActivationKind::kQ8x32 : ActivationKind::kQ8x128;
}

Result<const Kernels*> KernelsFor(Isa isa) {
  const Kernels* set = isa == Isa::kReference ? &Reference() : panel::FindKernels(isa);
  if (set == nullptr) {
    return Fail(ErrorCode::kUnsupported, "this machine or build has no {} kernels", IsaName(isa));
  }
  return set;
}

Result<const Kernels*> ChooseKernels(std::string_view forced) {
  std::string names;
  for (const Isa isa : kIsas) {
    if (forced == IsaName(isa)) return KernelsFor(isa);
    names += (names.empty() ? "" : ", ") + std::string(IsaName(isa));
    if (!forced.empty()) continue;
    if (const auto set = KernelsFor(isa)) return set;
  }
  return Fail(ErrorCode::kInvalid, "no kernel set is called '{}': use one of {}", forced, names);
}

}  // namespace exo::kernels
