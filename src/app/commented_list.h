// A list of texts in a settings file with comments among its values, as it is written again when
// the values change.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace exo::app {

struct WrittenItem {
  size_t begin = 0, end = 0;  // where its text stands, in bytes
  std::string value;
};

// `list`: its text with the brackets; `items`: what is in it, in order. The new text has a line for
// each of `values` (`as_toml`: as the file writes them): one that stays keeps the comment behind
// it, lines of comments stay in front of what followed them. Empty where `list` has no comments.
std::string KeepComments(const std::string& list, const std::vector<WrittenItem>& items,
                         const std::vector<std::string>& values,
                         const std::vector<std::string>& as_toml);

}  // namespace exo::app
