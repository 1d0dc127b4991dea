// Keys of the GGUF head that is made up, as the writer takes them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/gguf_writer.h"

namespace exo::checkpoint {

class Metadata {
 public:
  void Uint(std::string_view key, uint64_t value) {
    Add(key, model::ValueType::kU32, model::EncodeNumber(static_cast<uint32_t>(value)));
  }
  void Float(std::string_view key, double value) {
    Add(key, model::ValueType::kF32, model::EncodeNumber(static_cast<float>(value)));
  }
  void Bool(std::string_view key, bool value) {
    Add(key, model::ValueType::kBool, model::EncodeNumber(static_cast<uint8_t>(value)));
  }
  void Text(std::string_view key, std::string_view value) {
    Add(key, model::ValueType::kString, model::EncodeText(value));
  }
  void Texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = Array(model::ValueType::kString, values.size());
    for (const std::string& value : values) bytes += model::EncodeText(value);
    Add(key, model::ValueType::kArray, bytes);
  }
  template <class T>
  void Numbers(std::string_view key, model::ValueType type, const std::vector<T>& values) {
    std::string bytes = Array(type, values.size());
    for (const T& value : values) bytes += model::EncodeNumber(value);
    Add(key, model::ValueType::kArray, bytes);
  }

  void WriteTo(model::GgufWriter& writer) const {
    for (const Entry& entry : entries_) writer.Key(entry.key, entry.type, entry.bytes);
  }

 private:
  struct Entry {
    std::string key;
    model::ValueType type;
    std::string bytes;
  };
  void Add(std::string_view key, model::ValueType type, std::string bytes) {
    entries_.push_back({std::string(key), type, std::move(bytes)});
  }
  static std::string Array(model::ValueType type, size_t count) {
    return model::EncodeNumber(type) + model::EncodeNumber(uint64_t{count});
  }

  std::vector<Entry> entries_;
};

}  // namespace exo::checkpoint
