#include "model/jinja/strings.h"

#include <algorithm>
#include <cstring>

#include "model/utf8.h"

namespace exo::model::jinja {
namespace {

size_t CharLength(std::string_view bytes, size_t at) {
  return std::max<size_t>(1, Utf8Length(bytes, at));
}

size_t PreviousChar(std::string_view bytes, size_t end) {
  for (size_t length = 1; length <= 4 && length <= end; ++length) {
    if (Utf8Length(bytes.substr(0, end), end - length) == length) return end - length;
  }
  return end - 1;
}

}  // namespace

std::vector<size_t> CharStarts(const std::string& bytes) {
  std::vector<size_t> starts;
  for (size_t at = 0; at < bytes.size(); at += CharLength(bytes, at)) starts.push_back(at);
  starts.push_back(bytes.size());
  return starts;
}

size_t CharCount(const std::string& bytes) {
  size_t count = 0;
  for (size_t at = 0; at < bytes.size(); at += CharLength(bytes, at)) ++count;
  return count;
}

size_t SpaceLength(std::string_view bytes, size_t at) {
  const size_t length = Utf8Length(bytes, at);
  if (length == 0) return 0;
  const char32_t c = Utf8Decode(bytes, at, length);
  const bool space = (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
                     c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
                     c == 0x202f || c == 0x205f || c == 0x3000;
  return space ? length : 0;
}

Text Strip(const Text& text, Side side, const std::string* chars) {
  const std::string& bytes = text.bytes;
  const auto drops = [&](size_t at, size_t length) {
    if (chars == nullptr) return SpaceLength(bytes, at) == length;
    return chars->find(bytes.substr(at, length)) != std::string::npos;
  };
  size_t begin = 0;
  size_t end = bytes.size();
  while (side != Side::kRight && begin < end) {
    const size_t length = CharLength(bytes, begin);
    if (!drops(begin, length)) break;
    begin += length;
  }
  while (side != Side::kLeft && end > begin) {
    const size_t start = PreviousChar(bytes, end);
    if (start < begin || !drops(start, end - start)) break;
    end = start;
  }
  return text.Sub(begin, end);
}

namespace {

struct Range {
  size_t begin;
  size_t end;
};

// Separators in order of the text.
std::vector<Range> FindSeparators(const std::string& bytes, std::string_view separator) {
  std::vector<Range> found;
  if (!separator.empty()) {
    for (size_t at = FindText(bytes, separator); at != std::string::npos;
         at = FindText(bytes, separator, at + separator.size())) {
      found.push_back({at, at + separator.size()});
    }
    return found;
  }
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    for (size_t length; end < bytes.size() && (length = SpaceLength(bytes, end)) != 0;)
      end += length;
    if (end > at) found.push_back({at, end});
    at = std::max(end, at + 1);
  }
  return found;
}

}  // namespace

std::vector<Value> SplitText(const Text& text, std::string_view separator, int64_t most,
                             bool from_right) {
  const bool by_space = separator.empty();
  Text source = by_space ? Strip(text, Side::kBoth, nullptr) : text;
  if (by_space && source.size() == 0) return {};
  std::vector<Range> cuts = FindSeparators(source.bytes, separator);
  if (by_space && most >= 0 && cuts.size() >= static_cast<size_t>(most)) {
    // The rest behind the last cut keeps the white space at its far end.
    source = Strip(text, from_right ? Side::kRight : Side::kLeft, nullptr);
    cuts = FindSeparators(source.bytes, separator);
  }
  if (most >= 0 && cuts.size() > static_cast<size_t>(most)) {
    if (from_right) {
      cuts.erase(cuts.begin(), cuts.end() - static_cast<std::ptrdiff_t>(most));
    } else {
      cuts.resize(static_cast<size_t>(most));
    }
  }
  std::vector<Value> parts;
  size_t begin = 0;
  for (const Range& cut : cuts) {
    parts.emplace_back(source.Sub(begin, cut.begin));
    begin = cut.end;
  }
  parts.emplace_back(source.Sub(begin, source.size()));
  return parts;
}

std::vector<Value> SplitLines(const Text& text, bool keep_ends) {
  std::vector<Value> lines;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.bytes.find_first_of("\n\r", begin);
    size_t next = text.size();
    if (end == std::string::npos) {
      end = text.size();
    } else {
      next = end + (text.bytes.compare(end, 2, "\r\n") == 0 ? 2 : 1);
    }
    lines.emplace_back(text.Sub(begin, keep_ends ? next : end));
    begin = next;
  }
  return lines;
}

size_t FindText(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string::npos;
  if (part.size() == 1) return text.find(part[0], from);
  // memmem is linear in the worst case; std::string::find is not.
  const void* found = ::memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

uint64_t CountOccurrences(std::string_view text, std::string_view part, uint64_t most) {
  if (part.empty()) return std::min<uint64_t>(most, text.size() + 1);
  uint64_t count = 0;
  for (size_t at = 0; count < most && (at = FindText(text, part, at)) != std::string::npos;
       at += part.size())
    ++count;
  return count;
}

Text Replace(const Text& text, std::string_view from, const Text& to, int64_t most) {
  Text out;
  size_t begin = 0;
  uint64_t left = most < 0 ? ~uint64_t{0} : static_cast<uint64_t>(most);
  if (from.empty()) {
    for (size_t at = 0; at <= text.size();
         at += at < text.size() ? CharLength(text.bytes, at) : 1) {
      if (at > begin) out.Add(text.Sub(begin, at));
      begin = at;
      if (left-- == 0) break;
      out.Add(to);
    }
  } else {
    for (size_t at; left > 0 && (at = FindText(text.bytes, from, begin)) != std::string::npos;
         --left) {
      out.Add(text.Sub(begin, at)).Add(to);
      begin = at + from.size();
    }
  }
  return out.Add(text.Sub(begin, text.size()));
}

char32_t UpperOf(char32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) ||
      (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) || (c >= 0x430 && c <= 0x44f)) {
    return c - 32;
  }
  if (c == 0xff) return 0x178;
  if (c >= 0x450 && c <= 0x45f) return c - 80;
  const bool odd_upper = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
  if ((c >= 0x100 && c <= 0x17e && c != 0x131 && c != 0x138 && c != 0x149) ||
      (c >= 0x460 && c <= 0x4ff)) {
    return (c & 1) != (odd_upper ? 1u : 0u) ? c - 1 : c;
  }
  return c;
}

char32_t LowerOf(char32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
      (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f)) {
    return c + 32;
  }
  if (c == 0x178) return 0xff;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  const bool odd_upper = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
  if ((c >= 0x100 && c <= 0x17e && c != 0x130 && c != 0x138 && c != 0x149) ||
      (c >= 0x460 && c <= 0x4ff)) {
    return (c & 1) == (odd_upper ? 1u : 0u) ? c + 1 : c;
  }
  return c;
}

Text ChangeCase(const Text& text, Case to) {
  Text out;
  bool word_start = true;
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text.bytes, at);
    const char mark = text.marks[at];
    if (length == 0) {
      out.AddByte(text.bytes[at++], mark);
      continue;
    }
    const char32_t code = Utf8Decode(text.bytes, at, length);
    const bool upper = to == Case::kUpper || (to != Case::kLower && word_start);
    std::string changed;
    if (upper && code == 0xdf) {
      changed = to == Case::kUpper ? "SS" : "Ss";
    } else {
      Utf8Append(upper ? UpperOf(code) : LowerOf(code), changed);
    }
    for (const char c : changed) out.AddByte(c, mark);
    if (to == Case::kTitle) {
      word_start = UpperOf(code) == code && LowerOf(code) == code;
    } else {
      word_start = false;
    }
    at += length;
  }
  return out;
}

}  // namespace exo::model::jinja
