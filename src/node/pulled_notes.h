// Which models were pulled, from where, and what was put on disk for them: kept as one setting of
// the state file.
//
// Thread: the loop thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fetch/pull.h"

namespace exo::node {

struct PulledNote {
  std::vector<std::string> references;  // fetch::Reference::Text of each name that it was asked by
  std::string name;                     // of the model here
  fetch::PulledFile file;
  int64_t used = 0;  // when it was pulled, loaded or unloaded last, in seconds since 1970
};

class PulledNotes {
 public:
  static constexpr size_t kMaxNotes = 4096;  // of models that anybody could keep

  // Of what Text wrote. Errors: kCorrupt.
  static Result<PulledNotes> Parse(std::string_view text);
  std::string Text() const;

  // Null: none.
  const PulledNote* FindByReference(const std::string& reference) const;
  const PulledNote* FindByName(const std::string& name) const;
  std::vector<std::string> Names() const;  // of the models
  const std::vector<PulledNote>& all() const { return notes_; }
  // What was pulled as `reference`, which means nothing else from now on. A model of that name owns
  // what it owned before, too. The oldest goes when there are too many.
  void Put(const std::string& reference, const std::string& name, fetch::PulledFile file,
           int64_t now);
  // False: no model of this name was pulled.
  bool NoteUse(const std::string& name, int64_t now);
  void Remove(const std::string& name);

 private:
  std::vector<PulledNote> notes_;  // the latest last
};

}  // namespace exo::node
