#include "node/pulled_notes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace exo::node {

using nlohmann::json;

Result<PulledNotes> PulledNotes::Parse(std::string_view text) {
  PulledNotes notes;
  try {
    for (const json& one : json::parse(text)) {
      notes.notes_.push_back(
          {.references = one.at("references"),
           .name = one.at("name"),
           .file = {.links = one.at("links"),
                    .owned = one.at("owned"),
                    .content = Hash256::FromHex(one.value("content", "")).value_or(Hash256{})},
           .used = one.value("used", int64_t{0})});
    }
  } catch (const json::exception& error) {
    return Fail(ErrorCode::kCorrupt, "{}", error.what());
  }
  return notes;
}

std::string PulledNotes::Text() const {
  json list = json::array();
  for (const PulledNote& note : notes_) {
    list.push_back({{"references", note.references},
                    {"name", note.name},
                    {"links", note.file.links},
                    {"owned", note.file.owned},
                    {"content", note.file.content.Hex()},
                    {"used", note.used}});
  }
  return list.dump(-1, ' ', false, json::error_handler_t::replace);
}

const PulledNote* PulledNotes::FindByReference(const std::string& reference) const {
  const auto found = std::ranges::find_if(notes_, [&](const PulledNote& note) {
    return std::ranges::find(note.references, reference) != note.references.end();
  });
  return found == notes_.end() ? nullptr : &*found;
}

const PulledNote* PulledNotes::FindByName(const std::string& name) const {
  const auto found = std::ranges::find(notes_, name, &PulledNote::name);
  return found == notes_.end() ? nullptr : &*found;
}

std::vector<std::string> PulledNotes::Names() const {
  std::vector<std::string> names;
  for (const PulledNote& note : notes_) names.push_back(note.name);
  return names;
}

bool PulledNotes::NoteUse(const std::string& name, int64_t now) {
  const auto found = std::ranges::find(notes_, name, &PulledNote::name);
  if (found == notes_.end()) return false;
  found->used = now;
  return true;
}

void PulledNotes::Put(const std::string& reference, const std::string& name, fetch::PulledFile file,
                      int64_t now) {
  PulledNote note{.references = {reference}, .name = name, .file = std::move(file), .used = now};
  for (PulledNote& other : notes_) std::erase(other.references, reference);
  const auto before = std::ranges::find(notes_, name, &PulledNote::name);
  if (before != notes_.end()) {
    for (std::string& path : before->file.owned) {
      if (std::ranges::find(note.file.owned, path) == note.file.owned.end())
        note.file.owned.push_back(std::move(path));
    }
    note.references.insert(note.references.end(), before->references.begin(),
                           before->references.end());
    notes_.erase(before);
  }
  notes_.push_back(std::move(note));
  if (notes_.size() > kMaxNotes) notes_.erase(notes_.begin());
}

void PulledNotes::Remove(const std::string& name) {
  std::erase_if(notes_, [&](const PulledNote& note) { return note.name == name; });
}

}  // namespace exo::node
