#include "app/word_wrap.h"

#include <utility>

#include "app/terminal.h"

namespace exo::app {

bool WordWrap::IsKept() const {
  return columns_ == 0 || in_code_ || line_.starts_with("|") || line_.starts_with("```");
}

void WordWrap::EndWord(std::string& out) {
  const size_t wide = Columns(word_);
  if (!IsKept() && used_ > 0 && used_ + spaces_.size() + wide > columns_) {
    out += "\n" + word_;
    used_ = wide;
  } else {
    out += spaces_ + word_;
    used_ += spaces_.size() + wide;
  }
  word_.clear();
  spaces_.clear();
}

void WordWrap::AddCharacter(char c, std::string& out) {
  if (c == '\n') {
    EndWord(out);
    out += c;
    used_ = 0;
    if (line_.starts_with("```")) in_code_ = !in_code_;
    line_.clear();
    return;
  }
  line_ += c;
  if (c != ' ') {
    word_ += c;
    return;
  }
  if (!word_.empty()) EndWord(out);
  spaces_ += c;
}

std::string WordWrap::Add(std::string_view text) {
  std::string out;
  for (const char c : text) AddCharacter(c, out);
  return out;
}

std::string WordWrap::End() {
  std::string out;
  EndWord(out);
  used_ = 0;
  line_.clear();
  in_code_ = false;
  return out;
}

}  // namespace exo::app
