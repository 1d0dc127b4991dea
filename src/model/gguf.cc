// Parsing of the head of a GGUF file: header, metadata, tensor table, and the checks on all of
// them.
#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/units.h"
#include "model/gguf_value.h"
#include "tensor/dtype.h"

namespace exo::model {
namespace {

constexpr uint64_t kMaxName = 65535;  // the format's limit for keys; also used for tensor names
constexpr uint64_t kMinKeyBytes = 8 + 4 + 1;  // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1u << 20;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxValues = uint64_t{1}
                                << 48;  // of one tensor: keeps every later product in 64 bits

struct Header {
  uint32_t version = 0;
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

Result<uint32_t> ReadVersion(Cursor& cursor) {
  const auto magic = TRY(cursor.Read<uint32_t>("the magic number"));
  if (magic != kGgufMagic) {
    return Fail(ErrorCode::kCorrupt, "not a GGUF file: it starts with {:#010x} instead of \"GGUF\"",
                magic);
  }
  const auto version = TRY(cursor.Read<uint32_t>("the version"));
  if (version == 2 || version == 3) return version;
  if ((version & 0xffff) == 0 && version != 0) {
    return Fail(ErrorCode::kUnsupported,
                "a big-endian GGUF file (version field {:#010x}): use a little-endian one",
                version);
  }
  return Fail(ErrorCode::kUnsupported, "GGUF version {} (this build reads 2 and 3)", version);
}

Result<Header> ReadHeader(Cursor& cursor) {
  Header header;
  header.version = TRY(ReadVersion(cursor));
  header.tensors = TRY(cursor.Read<uint64_t>("the tensor count"));
  header.keys = TRY(cursor.Read<uint64_t>("the key count"));
  if (header.tensors > std::min(kMaxGgufTensors, cursor.left() / kMinTensorBytes)) {
    return Fail(ErrorCode::kCorrupt, "the header claims {} tensors in {} bytes (limit {})",
                header.tensors, cursor.left(), kMaxGgufTensors);
  }
  if (header.keys > std::min(kMaxGgufKeys, cursor.left() / kMinKeyBytes)) {
    return Fail(ErrorCode::kCorrupt, "the header claims {} keys in {} bytes (limit {})",
                header.keys, cursor.left(), kMaxGgufKeys);
  }
  return header;
}

// Size of a tensor in the file, 0 when the type is unknown. Errors: a row that is no whole number
// of blocks.
Result<uint64_t> TensorBytes(const GgufTensor& tensor, uint64_t values) {
  const auto info = tensor::FindDType(tensor.type);
  if (!info) return uint64_t{0};
  if (tensor.dims[0] % info->block_values != 0) {
    return Fail(ErrorCode::kCorrupt,
                "tensor '{}': rows of {} values are no multiple of the {}-value blocks of {}",
                tensor.name, tensor.dims[0], info->block_values, info->name);
  }
  return values / info->block_values * info->block_bytes;
}

Result<uint64_t> ReadDims(Cursor& cursor, GgufTensor& tensor) {
  const auto count = TRY(cursor.Read<uint32_t>("a tensor's dimension count"));
  if (count < 1 || count > kMaxDims) {
    return Fail(ErrorCode::kCorrupt, "tensor '{}' has {} dimensions (1 to {} are possible)",
                tensor.name, count, kMaxDims);
  }
  uint64_t values = 1;
  for (uint32_t i = 0; i < count; ++i) {
    const auto dim = TRY(cursor.Read<uint64_t>("a tensor's dimension"));
    if (dim == 0 || dim > kMaxValues / values) {
      return Fail(ErrorCode::kCorrupt, "tensor '{}': dimension {} is {}, which is impossible",
                  tensor.name, i, dim);
    }
    values *= dim;
    tensor.dims.push_back(dim);
  }
  return values;
}

// A tensor as the table has it: `offset` still counts from the start of the data.
Result<GgufTensor> ReadTensor(Cursor& cursor) {
  GgufTensor tensor;
  tensor.name = std::string(TRY(cursor.ReadString("a tensor's name", kMaxName)));
  if (tensor.name.empty())
    return Fail(ErrorCode::kCorrupt, "a tensor has no name (before byte {})", cursor.at());
  const uint64_t values = TRY(ReadDims(cursor, tensor));
  tensor.type = TRY(cursor.Read<uint32_t>("a tensor's type"));
  tensor.offset = TRY(cursor.Read<uint64_t>("a tensor's offset"));
  tensor.bytes = TRY(TensorBytes(tensor, values));
  return tensor;
}

Result<void> PlaceTensor(GgufTensor& tensor, uint64_t data_start, uint64_t file_bytes,
                         uint64_t alignment) {
  if (tensor.offset % alignment != 0) {
    return Fail(ErrorCode::kCorrupt, "tensor '{}': offset {} is no multiple of the alignment {}",
                tensor.name, tensor.offset, alignment);
  }
  const uint64_t room = file_bytes > data_start ? file_bytes - data_start : 0;
  // A tensor of an unknown type claims no bytes; it must still begin inside the file.
  if (data_start > file_bytes || tensor.offset > room || tensor.bytes > room - tensor.offset) {
    return Fail(ErrorCode::kCorrupt,
                "tensor '{}': {} bytes at offset {} are beyond the {} bytes of data (truncated?)",
                tensor.name, tensor.bytes, tensor.offset, room);
  }
  tensor.offset += data_start;
  return {};
}

Result<void> CheckOverlap(const std::vector<GgufTensor>& tensors) {
  std::vector<const GgufTensor*> order;
  order.reserve(tensors.size());
  for (const GgufTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(
      order, {}, [](const GgufTensor* tensor) { return std::pair(tensor->offset, tensor->bytes); });
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufTensor& before = *order[i - 1];
    if (before.offset + before.bytes > order[i]->offset) {
      return Fail(ErrorCode::kCorrupt, "tensors '{}' and '{}' overlap in the file", before.name,
                  order[i]->name);
    }
  }
  return {};
}

Result<uint64_t> ReadAlignment(const Gguf& gguf) {
  if (gguf.Find("general.alignment") == nullptr) return kDefaultAlignment;
  const auto alignment = gguf.GetUint("general.alignment");
  if (!alignment) return Fail(ErrorCode::kCorrupt, "{}", alignment.error().message);
  if (*alignment < 8 || *alignment > kMaxAlignment || !std::has_single_bit(*alignment)) {
    return Fail(ErrorCode::kCorrupt,
                "general.alignment is {} (a power of two from 8 to {} is possible)", *alignment,
                kMaxAlignment);
  }
  return *alignment;
}

}  // namespace

Result<Gguf> Gguf::Parse(std::span<const std::byte> file) {
  return ParseHead(file, file.size());
}

Result<Gguf> Gguf::ParseHead(std::span<const std::byte> head, uint64_t file_bytes) {
  if (file_bytes < head.size() || file_bytes > std::numeric_limits<int64_t>::max()) {
    return Fail(ErrorCode::kCorrupt, "a head of {} bytes in a file of {} bytes", head.size(),
                file_bytes);
  }
  Cursor cursor(head);
  const Header header = TRY(ReadHeader(cursor));
  Gguf gguf;
  gguf.version_ = header.version;
  for (uint64_t i = 0; i < header.keys; ++i) {
    std::string key(TRY(cursor.ReadString("a key", kMaxName)));
    const auto type = TRY(cursor.Read<uint32_t>(key));
    const uint64_t start = cursor.at();
    GgufValue value = TRY(ReadValue(cursor, type, key));
    gguf.keys_.push_back({.name = key, .type = type, .bytes = cursor.Since(start)});
    const auto [place, fresh] = gguf.metadata_.emplace(std::move(key), std::move(value));
    if (!fresh) return Fail(ErrorCode::kCorrupt, "the key '{}' appears twice", place->first);
  }
  gguf.alignment_ = TRY(ReadAlignment(gguf));
  for (uint64_t i = 0; i < header.tensors; ++i) {
    GgufTensor tensor = TRY(ReadTensor(cursor));
    const auto [place, fresh] = gguf.by_name_.emplace(tensor.name, gguf.tensors_.size());
    if (!fresh) return Fail(ErrorCode::kCorrupt, "the tensor '{}' appears twice", place->first);
    gguf.tensors_.push_back(std::move(tensor));
  }
  const uint64_t data_start = RoundUp(cursor.at(), gguf.alignment_);
  for (GgufTensor& tensor : gguf.tensors_) {
    TRY(PlaceTensor(tensor, data_start, file_bytes, gguf.alignment_));
  }
  TRY(CheckOverlap(gguf.tensors_));
  return gguf;
}

}  // namespace exo::model
