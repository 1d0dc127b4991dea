// Names with defaults over models, which clients made (Ollama's create and copy): they are this
// device's, and kept as one setting of its state file.
//
// Thread: the loop thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/api.h"

namespace exo::node {

inline constexpr size_t kMaxPresets = 128;
inline constexpr size_t kMaxPresetBytes = 256 << 10;  // of all its texts: licenses come with it

class Presets {
 public:
  using List = std::vector<std::shared_ptr<const Preset>>;
  // Of what Text wrote. Errors: kCorrupt.
  static Result<Presets> Parse(std::string_view text);
  // Thread: any. Up to kMaxPresets * kMaxPresetBytes: not on the event loop.
  static std::string Text(const List& presets);

  // Null: none of this name.
  std::shared_ptr<const Preset> Find(const std::string& name) const;
  // In place of one of the same name.
  // Errors: kInvalid (too large, a name that is none as Ollama's models have); kOverloaded
  // (kMaxPresets).
  Result<void> Put(Preset preset);
  bool Remove(const std::string& name) { return all_.erase(name) > 0; }
  // By name.
  List All() const;

 private:
  std::map<std::string, std::shared_ptr<const Preset>> all_;
};

}  // namespace exo::node
