// Reading JSON documents of strangers: every look-up says which document and key it was about.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exo::checkpoint {

// The document called `name`. Errors: kCorrupt (not JSON, or no object at its top).
Result<nlohmann::json> ParseObject(std::string_view text, std::string_view name);

// An object of a document. A key whose value is null counts as absent. Views: the object outlives
// it. Errors of all: kCorrupt, with the document, the key and what stands there.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string document)
      : object_(object), document_(std::move(document)) {}

  const std::string& document() const { return document_; }
  // Null when there is no such key.
  const nlohmann::json* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  Result<uint64_t> Uint(std::string_view key, std::optional<uint64_t> absent = {}) const;
  // A finite number.
  Result<double> Float(std::string_view key, std::optional<double> absent = {}) const;
  Result<bool> Bool(std::string_view key, bool absent) const;
  Result<std::string> Text(std::string_view key, std::optional<std::string> absent = {}) const;
  // The object under `key`; nothing when it is absent.
  Result<std::optional<Fields>> Object(std::string_view key) const;

 private:
  template <class T, class Accepts>
  Result<T> Get(std::string_view key, const std::optional<T>& absent, std::string_view expected,
                const Accepts& accepts) const;

  const nlohmann::json& object_;
  std::string document_;
};

}  // namespace exo::checkpoint
