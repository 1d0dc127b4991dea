// From token bytes to text that may be shown: whole UTF-8 characters only, and never a stop string.
// What comes out does not depend on how the bytes were cut into tokens.
//
// Bytes that are not UTF-8 become U+FFFD, one for each maximal ill-formed part (the WHATWG
// decoder). Of several stop strings the one that ends first counts; of those that end together, the
// longest. Thread: one caller at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace exo::engine {

// The streaming UTF-8 decoder alone.
class Utf8Stream {
 public:
  // Appends the characters that `bytes` completes to `out`.
  void Push(std::string_view bytes, std::string& out);
  // The end of the bytes: an unfinished character becomes U+FFFD.
  void Finish(std::string& out);

 private:
  void Begin(uint8_t byte, std::string& out);

  std::string partial_;    // bytes of the character that is being read
  int needed_ = 0;         // continuation bytes still to come
  uint8_t lowest_ = 0x80;  // range of the next one
  uint8_t highest_ = 0xBF;
};

class TextStream {
 public:
  // Empty stop strings are ignored; the others must be valid UTF-8.
  explicit TextStream(std::vector<std::string> stops = {});

  // The text that one more token makes certain; empty after a stop.
  std::string Push(std::string_view bytes);
  // The text that was held back, at the end of the answer; empty after a stop.
  std::string Finish();
  // A stop string was completed: the answer ends here.
  bool stopped() const { return !stopped_by_.empty(); }
  // That stop string; empty: none.
  const std::string& stopped_by() const { return stopped_by_; }

 private:
  std::string Advance();
  size_t HeldBack() const;

  std::vector<std::string> stops_;
  Utf8Stream decoder_;
  std::string pending_;  // decoded, not shown yet
  size_t searched_ = 0;  // bytes of pending_ at which no stop string ends
  std::string stopped_by_;
};

}  // namespace exo::engine
