// Texts up to the first time that one of several texts has come.
//
// Thread: pure.
#pragma once

#include <vector>

#include "base/result.h"
#include "grammar/char_dfa.h"

namespace exo::grammar {

// found[i] >= 0: in state i this trigger has just become complete; -1: none has yet.
struct Waiting {
  CharDfa dfa;
  std::vector<int> found;

  // Texts that end with the first time that `trigger` is complete; -1: those without any.
  CharDfa Until(int trigger) const;
};
// Triggers are characters; empty ones are never complete. Errors: kUnsupported (too long together).
Result<Waiting> WaitFor(const std::vector<std::vector<uint32_t>>& triggers);

}  // namespace exo::grammar
