#include "engine/text_stream.h"

#include <algorithm>

namespace exo::engine {
namespace {
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
}  // namespace

void Utf8Stream::Begin(uint8_t byte, std::string& out) {
  lowest_ = 0x80;
  highest_ = 0xBF;
  if (byte < 0x80) {
    out.push_back(static_cast<char>(byte));
    return;
  }
  if (byte >= 0xC2 && byte <= 0xDF) {
    needed_ = 1;
  } else if (byte >= 0xE0 && byte <= 0xEF) {
    needed_ = 2;
    if (byte == 0xE0) lowest_ = 0xA0;   // shorter forms
    if (byte == 0xED) highest_ = 0x9F;  // surrogates
  } else if (byte >= 0xF0 && byte <= 0xF4) {
    needed_ = 3;
    if (byte == 0xF0) lowest_ = 0x90;
    if (byte == 0xF4) highest_ = 0x8F;  // beyond U+10FFFF
  } else {
    out.append(kReplacement);
    return;
  }
  partial_.assign(1, static_cast<char>(byte));
}

void Utf8Stream::Push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (needed_ == 0) {
      Begin(byte, out);
    } else if (byte < lowest_ || byte > highest_) {
      Finish(out);
      Begin(byte, out);
    } else {
      lowest_ = 0x80;
      highest_ = 0xBF;
      partial_.push_back(c);
      if (--needed_ == 0) out.append(partial_);
    }
  }
}

void Utf8Stream::Finish(std::string& out) {
  if (needed_ == 0) return;
  needed_ = 0;
  out.append(kReplacement);
}

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string TextStream::Push(std::string_view bytes) {
  if (stopped()) return {};
  decoder_.Push(bytes, pending_);
  return Advance();
}

std::string TextStream::Finish() {
  if (stopped()) return {};
  decoder_.Finish(pending_);
  std::string text = Advance();
  text += pending_;
  pending_.clear();
  searched_ = 0;
  return text;
}

// Looks for the first end of a stop string; what can be no part of one goes out.
std::string TextStream::Advance() {
  for (; searched_ < pending_.size(); ++searched_) {
    const std::string_view upto(pending_.data(), searched_ + 1);
    size_t longest = 0;
    for (const std::string& stop : stops_) {
      if (upto.ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest == 0) continue;
    stopped_by_ = std::string(upto.substr(upto.size() - longest));
    std::string text = pending_.substr(0, upto.size() - longest);
    pending_.clear();
    return text;
  }
  std::string text = pending_.substr(0, pending_.size() - HeldBack());
  pending_.erase(0, text.size());
  searched_ -= text.size();
  return text;
}

// Length of the longest end of pending_ that begins a stop string.
size_t TextStream::HeldBack() const {
  size_t longest = 0;
  const std::string_view pending = pending_;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(pending.size(), stop.size() - 1); n > longest; --n) {
      if (pending.ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace exo::engine
