// GGUF v2/v3 reader over bytes that are already in memory (a mapped file, a test's array). It
// parses everything, checks everything, and only then allocates: hostile files give an error, never
// a crash. Not here: opening files (store), choosing tensors (model/tensors.h).
//
// Split models: each part is parsed by itself; JoinSplits checks split.no / split.count /
// split.tensors.count and merges the tensor tables.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace exo::model {

// Limits on what a file may claim (reason: ten times the largest published model, bounded parse
// time).
inline constexpr uint64_t kMaxGgufTensors = 65536;
inline constexpr uint64_t kMaxGgufKeys = 65536;
inline constexpr uint64_t kMaxGgufString = 64u << 20;
inline constexpr uint64_t kMaxGgufArray = 16u << 20;

// An array value keeps its elements in place: `bytes` lies in the file.
struct GgufArray {
  uint32_t element_type = 0;  // GGUF value type id
  uint64_t count = 0;
  std::span<const std::byte> bytes;
};
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string, GgufArray>;

// A key as it stands in the file, for writing it again: type number, and the value's bytes in
// place.
struct GgufKey {
  std::string name;
  uint32_t type = 0;
  std::span<const std::byte> bytes;
};

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> dims;  // row length first (GGUF order), 1..4 entries
  uint32_t type = 0;           // GGUF number; may be a type this build cannot compute with
  uint32_t part = 0;           // which file of a split model holds it
  uint64_t offset = 0;         // of the data, from the start of that file
  uint64_t bytes = 0;          // 0 when the type is unknown
};

// The parsed head of one model (one or several files). Views into the files: they must outlive it.
class Gguf {
 public:
  // Errors: kCorrupt (what, where, the value), kUnsupported (version, big-endian).
  static Result<Gguf> Parse(std::span<const std::byte> file);
  // The same from the bytes in front of the tensors alone; `file_bytes` is the length of the whole
  // file.
  static Result<Gguf> ParseHead(std::span<const std::byte> head, uint64_t file_bytes);
  // Parts in order; parts[0] brings the metadata. Errors: kCorrupt when they do not belong
  // together.
  static Result<Gguf> JoinSplits(std::vector<Gguf> parts);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }  // of tensors' data
  uint32_t split_count() const;                      // 1 for an ordinary file
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* FindTensor(std::string_view name) const;
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const GgufValue* Find(std::string_view key) const;
  // In the file's order.
  const std::vector<GgufKey>& keys() const { return keys_; }

  // Typed look-ups. Errors: kNotFound / kInvalid naming the key and what was found.
  Result<uint64_t> GetUint(std::string_view key) const;
  Result<double> GetFloat(std::string_view key) const;
  Result<bool> GetBool(std::string_view key) const;
  Result<std::string> GetString(std::string_view key) const;
  Result<std::vector<std::string>> GetStrings(std::string_view key) const;
  Result<std::vector<float>> GetFloats(std::string_view key) const;
  Result<std::vector<int64_t>> GetInts(std::string_view key) const;

 private:
  uint32_t version_ = 0;
  uint64_t alignment_ = 0;
  std::vector<GgufKey> keys_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> by_name_;
};

// How many parameters a file has, and the type that holds most of them.
struct WeightCount {
  uint64_t parameters = 0;
  std::string type;
};
// Cost: a walk over the tensor table.
WeightCount CountWeights(const Gguf& gguf);

}  // namespace exo::model
