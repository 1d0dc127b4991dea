// Breaks a text between words while it comes, for a terminal of so many columns.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace exo::app {

// Code (between lines of ```), tables (lines that begin with |) and what has no spaces is left as
// it is. Control characters are the caller's business.
class WordWrap {
 public:
  // 0: nothing is broken.
  explicit WordWrap(size_t columns) : columns_(columns) {}

  // What can be shown now: all but the word that may go on.
  std::string Add(std::string_view text);
  // The rest. A new text may follow, on a new line.
  std::string End();

 private:
  void AddCharacter(char c, std::string& out);
  void EndWord(std::string& out);
  bool IsKept() const;  // this line is not broken

  const size_t columns_;
  std::string word_, spaces_;
  std::string line_;  // so far, as it came
  size_t used_ = 0;   // columns of the shown line
  bool in_code_ = false;
};

}  // namespace exo::app
